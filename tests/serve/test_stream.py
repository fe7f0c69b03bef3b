"""WebSocket /v1/stream: the samples are those of Enhancer.stream, and every error is told."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Opcode
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from fsnp_onnx import Enhancer
from fsnp_onnx.runtime.pcm import decoded, encoded
from tests.runtime.models import DELAY
from tests.serve.running import SMALL, Running, running

URL = "/v1/stream"
Samples = NDArray[np.float32]


def streamed(client: TestClient, hello: dict[str, Any], messages: Sequence[bytes]) -> bytes:
    """Return all that comes back until the service closes."""
    with client.websocket_connect(URL) as stream:
        stream.send_json(hello)
        assert stream.receive_json()["sample_rate_hz"] == hello["sample_rate_hz"]
        for message in messages:
            stream.send_bytes(message)
        stream.send_json({"end": True})
        parts = []
        while (answer := stream.receive())["type"] != "websocket.close":
            parts.append(answer["bytes"])
    assert answer["code"] == 1000
    return b"".join(parts)


def until_closed(stream: ClientConnection) -> tuple[bytes, int | None]:
    """Return what still comes, and the code that the service closes with."""
    rest = b""
    try:
        while True:
            rest += stream.recv(decode=False)
    except ConnectionClosed:
        return rest, stream.close_code


@pytest.mark.parametrize("sample_format", ["s16le", "f32le"])
@pytest.mark.parametrize(("rate", "channels"), [(16000, 1), (16000, 2), (48000, 1)])
@pytest.mark.parametrize("size", [160, 1000, 20000])
def test_a_stream_gives_what_the_package_gives_in_messages_of_any_size(
    client: TestClient, noisy: Samples, sample_format: Any, rate: int, channels: int, size: int
) -> None:
    if rate != 16000:
        pytest.importorskip("samplerate")
    sent = np.stack([noisy, -noisy], axis=1)[:, :channels].reshape(-1)
    data = encoded(sent, sample_format)
    step = size * channels * (2 if sample_format == "s16le" else 4)
    hello = {"sample_rate_hz": rate, "channels": channels, "format": sample_format, "strength": 0.5}
    found = streamed(client, hello, [data[i : i + step] for i in range(0, len(data), step)])
    stream = Enhancer(DELAY).stream(rate, channels, strength=0.5)
    arrived = decoded(data, sample_format, channels)
    expected = np.concatenate([stream.process(arrived), stream.flush()])
    tolerance = 0.5 / 32768 + 1e-6 if sample_format == "s16le" else 1e-6
    np.testing.assert_allclose(
        decoded(found, sample_format, channels), expected, rtol=0, atol=tolerance
    )


@given(st.lists(st.integers(-32768, 32767)))
def test_integers_come_back_as_they_were(numbers: list[int]) -> None:
    data = np.array(numbers, "<i2").tobytes()
    assert encoded(decoded(data, "s16le", 1), "s16le") == data


def test_integers_are_clipped_at_full_scale_and_not_wrapped() -> None:
    assert encoded(np.array([2, -2], np.float32), "s16le") == b"\xff\x7f\x00\x80"


def test_the_hello_is_answered_with_the_latency_of_the_file(client: TestClient) -> None:
    with client.websocket_connect(URL) as stream:
        stream.send_json({"sample_rate_hz": 16000})
        answer = stream.receive_json()
    assert answer.pop("request_id")
    latency_s = Enhancer(DELAY).stream(16000).latency_s
    expected = {"latency_s": latency_s, "latency_samples": round(latency_s * 16000)}
    assert answer == expected | {"sample_rate_hz": 16000}


@pytest.mark.parametrize(
    ("first", "word"),
    [
        ("{", "not JSON"),
        ("[1]", "not an object"),
        ("{}", "sample_rate_hz"),
        ('{"sample_rate_hz": "fast"}', "give a number"),
        ('{"sample_rate_hz": true}', "give a number"),
        ('{"sample_rate_hz": 1}', "sample_rate"),
        ('{"sample_rate_hz": NaN}', "sample_rate"),
        ('{"sample_rate_hz": 5000000}', "takes 100 to 4096000 Hz"),
        ('{"sample_rate_hz": 16000, "channels": 9}', "channels"),
        ('{"sample_rate_hz": 16000, "channels": 1.5}', "channels"),
        ('{"sample_rate_hz": 16000, "format": "mp3"}', "format"),
        ('{"sample_rate_hz": 16000, "format": []}', "format"),
        ('{"sample_rate_hz": 16000, "strength": 2}', "strength"),
        ('{"sample_rate_hz": 16000, "chanels": 1}', "unknown key 'chanels'"),
        (b"\0\0", "not text"),
    ],
)
def test_a_wrong_hello_is_told_and_closed_with_1007(
    client: TestClient, first: str | bytes, word: str
) -> None:
    with client.websocket_connect(URL) as stream:
        stream.send_text(first) if isinstance(first, str) else stream.send_bytes(first)
        assert word in stream.receive_json()["error"]
        with pytest.raises(WebSocketDisconnect) as end:
            stream.receive_json()
    assert end.value.code == 1007


@pytest.mark.parametrize(
    ("message", "word"),
    [
        (b"\0", "multiple of 4"),
        (np.array([np.nan], np.float32).tobytes(), "sample 0 is nan"),
        ('{"end": 1.5}', '{"end": true}'),
        ("stop", "not JSON"),
    ],
)
def test_a_wrong_message_is_told_and_closed_with_1007(
    client: TestClient, message: str | bytes, word: str
) -> None:
    with client.websocket_connect(URL) as stream:
        stream.send_json({"sample_rate_hz": 16000, "format": "f32le"})
        stream.receive_json()
        stream.send_text(message) if isinstance(message, str) else stream.send_bytes(message)
        assert word in stream.receive_json()["error"]
        with pytest.raises(WebSocketDisconnect) as end:
            stream.receive_json()
    assert end.value.code == 1007


def test_a_fault_of_the_service_is_not_told_as_one_of_the_client(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("operands could not be broadcast")

    monkeypatch.setattr("fsnp_onnx.runtime.stream.Stream.process", fail)
    with client.websocket_connect(URL) as stream:
        stream.send_json({"sample_rate_hz": 16000})
        stream.receive_json()
        stream.send_bytes(bytes(2))
        assert "operands" not in stream.receive_json()["error"]
        with pytest.raises(WebSocketDisconnect) as end:
            stream.receive_json()
    assert end.value.code == 1011


def test_a_stream_above_the_limit_is_told_to_try_later(client: TestClient) -> None:
    hello = {"sample_rate_hz": 16000}
    with client.websocket_connect(URL) as first, client.websocket_connect(URL) as second:
        for stream in (first, second):
            stream.send_json(hello)
            stream.receive_json()
        with client.websocket_connect(URL) as third:
            assert "as many as may be" in third.receive_json()["error"]
            with pytest.raises(WebSocketDisconnect) as end:
                third.receive_json()
        assert end.value.code == 1013


def test_a_refused_stream_is_one_line_in_the_log(service: Running) -> None:
    headers = {"X-Request-Id": "refused"}
    url = f"ws://127.0.0.1:{service.port}{URL}"
    with pytest.raises(InvalidStatus) as refused:
        connect(url, origin=Origin("http://elsewhere"), additional_headers=headers).__enter__()
    assert refused.value.response.status_code == 403
    assert service.line_of("refused")["outcome"] == 403
    service.get("/v1/version")
    assert [line for line in service.lines() if "handshake" in line["event"]] == []


def test_a_silent_client_is_closed_with_1008(service: Running) -> None:
    with connect(f"ws://127.0.0.1:{service.port}{URL}") as stream:
        assert "nothing has come for 1 s" in json.loads(stream.recv())["error"]
        rest, code = until_closed(stream)
    assert (rest, code) == (b"", 1008)


@pytest.mark.slow
def test_a_client_whose_answer_to_a_ping_waits_behind_its_samples_is_not_cut(
    service: Running,
) -> None:
    with connect(f"ws://127.0.0.1:{service.port}{URL}", ping_interval=None) as stream:
        send_frame = stream.protocol.send_frame
        stream.protocol.send_frame = lambda frame: (  # type: ignore[method-assign]
            None if frame.opcode is Opcode.PONG else send_frame(frame)
        )
        stream.send('{"sample_rate_hz": 16000}')
        stream.recv()
        for _ in range(90):  # a ping comes after 20 s, and 20 s are usual to answer it
            stream.send(bytes(2))
            time.sleep(0.5)
        stream.send('{"end": true}')
        rest, code = until_closed(stream)
    assert (len(rest), code) == (180, 1000)


def test_a_message_above_a_megabyte_is_refused(service: Running) -> None:
    with connect(f"ws://127.0.0.1:{service.port}{URL}") as stream:
        stream.send('{"sample_rate_hz": 16000}')
        stream.recv()
        stream.send(bytes((1 << 20) + 2))
        _, code = until_closed(stream)
        line = service.line_of(stream.response.headers["X-Request-Id"])  # type: ignore[union-attr]
    assert code == line["outcome"] == 1009
    assert "longer than 1 MiB" in line["error"]


def test_the_code_of_a_client_that_leaves_is_not_counted(service: Running) -> None:
    with connect(f"ws://127.0.0.1:{service.port}{URL}") as stream:
        stream.send('{"sample_rate_hz": 16000}')
        stream.recv()
        stream.close(4321)
        line = service.line_of(stream.response.headers["X-Request-Id"])  # type: ignore[union-attr]
    assert line["outcome"] == 1005
    assert "4321" not in service.get("/metrics")[1]


def test_the_fastest_rate_of_the_interface_is_streamed(client: TestClient) -> None:
    pytest.importorskip("samplerate")
    fastest = client.get("/v1/openapi.json").json()["components"]["schemas"]["Hello"]["properties"]
    rate = fastest["sample_rate_hz"]["maximum"]
    assert len(streamed(client, {"sample_rate_hz": rate}, [bytes(2000)])) == 2000


def test_a_service_that_ends_sends_the_rest_of_its_streams(tmp_path: Any, noisy: Samples) -> None:
    data = encoded(noisy, "f32le")
    with running(tmp_path, *SMALL) as ending:
        with connect(f"ws://127.0.0.1:{ending.port}{URL}") as stream:
            stream.send('{"sample_rate_hz": 16000, "format": "f32le"}')
            stream.recv()
            stream.send(data)
            found = stream.recv(decode=False)
            ending.process.terminate()
            rest, code = until_closed(stream)
        assert ending.process.wait(30) == 0
    assert code == 1001
    assert len(found + rest) == len(data)


def test_no_stream_waits_for_another(service: Running) -> None:
    async def both() -> list[str]:
        from websockets.asyncio.client import connect as connect_async

        url = f"ws://127.0.0.1:{service.port}{URL}"
        async with connect_async(url) as first, connect_async(url) as second:
            for stream in (first, second):
                await stream.send('{"sample_rate_hz": 16000}')
            return [str(await stream.recv()) for stream in (second, first)]

    answers = asyncio.run(asyncio.wait_for(both(), 20))
    assert all("latency_s" in answer for answer in answers)
