"""Clients that lie, stall or leave: a clear status, a line in the log, nothing left on disk."""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.serve.conftest import encoded
from tests.serve.running import SMALL, Running, head, running


@pytest.fixture(autouse=True)
def nothing_is_left(service: Running) -> Iterator[None]:
    yield
    until = time.monotonic() + 10
    while service.left_files() and time.monotonic() < until:
        time.sleep(0.05)
    assert service.left_files() == []
    assert "fsnp_places_held 0.0" in service.get("/metrics")[1]


def answer_of(connection: socket.socket) -> bytes:
    """Return the answer until the service closes or its body is complete."""
    found = b""
    connection.settimeout(20)
    while chunk := connection.recv(65536):
        found += chunk
        if b"}" in found:
            break
    return found


def test_a_client_that_leaves_in_its_upload_is_logged(service: Running, wav: bytes) -> None:
    with service.connect() as connection:
        connection.sendall(head("cut", f"Content-Length: {len(wav)}") + wav[:1000])
    assert service.line_of("cut")["outcome"] == 499


def test_a_length_that_promises_more_than_comes_is_a_timeout(service: Running, wav: bytes) -> None:
    with service.connect() as connection:
        connection.sendall(head("long", f"Content-Length: {len(wav) + 10}") + wav)
        assert b" 408 " in answer_of(connection)
    assert "too slow" in service.line_of("long")["error"]


def test_a_length_that_promises_less_than_comes_ends_the_connection(
    service: Running, wav: bytes
) -> None:
    with service.connect() as connection:
        connection.sendall(head("short", "Content-Length: 1000") + wav)
        found = answer_of(connection)
    assert found.startswith(b"HTTP/1.1 200")  # of the first 1000 bytes
    assert b"truncated" in found
    assert service.line_of("short")["outcome"] == 200


@pytest.mark.parametrize("length", ["-1", "ten", "1, 2"])
def test_a_length_that_is_no_number_is_refused(service: Running, length: str) -> None:
    with service.connect() as connection:
        connection.sendall(head("odd", f"Content-Length: {length}"))
        assert b" 400 " in connection.recv(65536)


def test_a_slow_writer_is_stopped_by_the_time_for_the_upload(service: Running) -> None:
    started = time.monotonic()
    with service.connect() as connection:
        connection.sendall(head("slow", "Content-Length: 100000"))
        found = b""
        connection.settimeout(0.3)
        while not found and time.monotonic() < started + 15:
            connection.sendall(b"x")
            try:
                found = connection.recv(65536)
            except TimeoutError:
                continue
    assert b" 408 " in found
    assert 2.5 < time.monotonic() - started < 10
    assert service.line_of("slow")["outcome"] == 408


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("Content-Length: 5", "too long, or has a body"),
        (f"X-Long: {'x' * 9000}", "too long, or has a body"),
        ("Sec-WebSocket-Key: short", "Sec-WebSocket-Key"),
    ],
    ids=["body", "long", "key"],
)
def test_the_head_of_a_websocket_that_cannot_be_read_is_refused_and_logged(
    service: Running, line: str, told: str
) -> None:
    lines = (
        "GET /v1/stream HTTP/1.1",
        "Host: x",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        line,
    )
    n_lines = len(service.lines())
    with service.connect() as connection:
        connection.sendall("\r\n".join((*lines, "", "")).encode())
        found = b"".join(iter(lambda: connection.recv(65536), b""))
    assert b" 400 " in found
    assert told in found.decode()
    assert "WebSocket" in service.lines()[n_lines]["event"]


def test_two_gigabytes_are_refused_by_their_length_before_they_come(service: Running) -> None:
    with service.connect() as connection:
        connection.sendall(head("huge", "Content-Length: 2147483648"))
        assert b" 413 " in answer_of(connection)
    assert service.line_of("huge")["outcome"] == 413


def test_two_gigabytes_without_a_length_are_stopped_at_the_limit(service: Running) -> None:
    chunk = b"10000\r\n" + bytes(1 << 16) + b"\r\n"
    sent = 0
    with service.connect() as connection:
        connection.sendall(head("endless", "Transfer-Encoding: chunked"))
        try:
            while sent < 1 << 31 and not _has_answer(connection):
                connection.sendall(chunk)
                sent += 1 << 16
        except OSError:
            pass
        assert b" 413 " in answer_of(connection)
    assert sent < 1 << 26
    assert service.line_of("endless")["outcome"] == 413


def _has_answer(connection: socket.socket) -> bool:
    connection.settimeout(0)
    try:
        return bool(connection.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False
    finally:
        connection.settimeout(30)


def test_samples_too_loud_for_an_mp3_do_not_end_the_service(service: Running) -> None:
    loud = np.full((16000, 1), 3e38, np.float32)
    loud[::2] = -3e38
    file = io.BytesIO()
    sf.write(file, loud, 16000, "FLOAT", format="WAV")
    status, _, answer = service.post(file.getvalue(), "/v1/enhance?strength=0", Accept="audio/mpeg")
    assert status == 422
    assert b"too loud for MP3" in answer


def test_damaged_chunks_are_refused(service: Running) -> None:
    with service.connect() as connection:
        connection.sendall(head("chunks", "Transfer-Encoding: chunked") + b"zz\r\nnothing\r\n")
        assert b" 400 " in connection.recv(65536)


def test_a_damaged_form_is_refused(service: Running, wav: bytes) -> None:
    kind = "multipart/form-data; boundary=b"
    for body in (b"--b\r\nContent-Disposition: x\r\n\r\n", b"nonsense", b"--b--\r\n"):
        assert service.post(body, Content_Type=kind)[0] == 400
    assert service.post(wav, Content_Type="multipart/form-data")[0] == 400
    others = [line for line in service.log.read_text("utf-8").splitlines()[1:] if line[0] != "{"]
    assert others == [], "every line is JSON"


def test_a_client_that_does_not_finish_the_head_of_a_request_is_cut(service: Running) -> None:
    started = time.monotonic()
    with service.connect() as connection:
        connection.sendall(b"POST /v1/enhance HTTP/1.1\r\nHost:")
        assert b" 400 " in connection.recv(65536)
    assert 0.5 < time.monotonic() - started < 10
    assert "is not complete after 1 s" in service.log.read_text("utf-8")


@contextmanager
def deaf(service: Running) -> Iterator[socket.socket]:
    """Yield a connection that hardly takes anything by itself."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", service.port))
        yield connection


def test_a_client_that_does_not_take_its_answer_is_cut_and_does_not_hold_the_end_up(
    tmp_path: Path,
) -> None:
    upload = encoded(np.zeros((48000 * 29, 2), np.float32), 48000, "FLAC")
    # a WAV is more than the system keeps for a client
    lines = ("Accept: audio/wav", f"Content-Length: {len(upload)}")
    with running(tmp_path, *SMALL, "--idle-timeout", "1") as hasty, deaf(hasty) as first:
        first.sendall(head("deaf", *lines) + upload)
        assert hasty.line_of("deaf")["outcome"] == 499
        assert "fsnp_places_held 0.0" in hasty.get("/metrics")[1]
        with deaf(hasty) as second:
            second.sendall(b"GET /models/live.onnx HTTP/1.1\r\nHost: x\r\n\r\n")
            assert second.recv(12) == b"HTTP/1.1 200"
            assert hasty.end() == 0


def test_a_stream_whose_client_takes_nothing_is_cut(service: Running) -> None:
    url, headers = f"ws://127.0.0.1:{service.port}/v1/stream", {"X-Request-Id": "deafstream"}

    def send(stream: ClientConnection) -> None:
        stream.send('{"sample_rate_hz": 16000}')
        for _ in range(50):
            stream.send(bytes(1 << 20))

    with (
        deaf(service) as connection,
        connect(url, sock=connection, additional_headers=headers, max_queue=1) as stream,
        pytest.raises(ConnectionClosed),
    ):
        send(stream)
    assert service.line_of("deafstream")["outcome"] in (1005, 1006)


def test_a_stream_that_is_cut_is_logged(service: Running) -> None:
    headers = {"X-Request-Id": "cutstream"}
    url = f"ws://127.0.0.1:{service.port}/v1/stream"
    with connect(url, additional_headers=headers) as stream:
        stream.send('{"sample_rate_hz": 16000}')
        stream.recv()
        stream.socket.shutdown(socket.SHUT_RDWR)
        line = service.line_of("cutstream")
    assert line["outcome"] == 1005
    assert "without an end" in line["error"]


def test_lines_hold_no_name_query_or_sound_of_a_client(service: Running, wav: bytes) -> None:
    form = (
        b'--b\r\nContent-Disposition: form-data; name="f"; filename="private-talk.wav"\r\n\r\n'
        + wav
        + b"\r\n--b--\r\n"
    )
    path = "/v1/enhance?strength=0.625"
    kind = "multipart/form-data; boundary=b"
    status, headers, _ = service.post(form, path, Content_Type=kind)
    assert status == 200
    service.line_of(headers["x-request-id"])
    service.get("/private-path")
    text = service.log.read_text("utf-8")
    assert [word for word in ("private", "0.625", "127.0.0.1:") if word in text[200:]] == []


def test_a_full_queue_answers_429_and_says_when_to_try_again(tmp_path: Path, wav: bytes) -> None:
    options = (*SMALL, "--jobs", "1", "--queue", "0")
    with running(tmp_path, *options) as small, small.connect() as first:
        first.sendall(head("first", f"Content-Length: {len(wav)}") + wav[:100])
        until = time.monotonic() + 10
        while "fsnp_places_held 1.0" not in small.get("/metrics")[1]:
            assert time.monotonic() < until
        status, headers, _ = small.post(wav)
        assert status == 429
        assert int(headers["retry-after"]) >= 1
        first.sendall(wav[100:])
        assert first.recv(12) == b"HTTP/1.1 200"
        assert small.line_of("first")["outcome"] == 200
