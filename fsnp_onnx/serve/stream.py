"""WebSocket /v1/stream: a hello, samples both ways, an end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from fsnp_onnx.errors import ArgumentError, AudioError, FsnpError, one_line
from fsnp_onnx.runtime.pcm import decoded, encoded, frame_bytes
from fsnp_onnx.runtime.stream import Stream
from fsnp_onnx.serve.hello import Hello, MessageError, read_hello, read_object
from fsnp_onnx.serve.logs import logger
from fsnp_onnx.serve.observer import Call, call_of
from fsnp_onnx.serve.service import Service, StreamLimitError

DONE, GOING_AWAY, BAD_DATA, POLICY, FAILED, TRY_LATER = 1000, 1001, 1007, 1008, 1011, 1013
LEFT: Final = 1005  # whatever code a client chooses, as each would be a time series of its own

_CUT: Final = {  # by the server, which tells the client why
    1002: "a message breaks the WebSocket protocol",
    1007: "a text message is not UTF-8",
    1009: "a message is longer than 1 MiB",
}
_PIECE_S: Final = 0.1  # of audio for a thread at a time, so that no client holds the others up


async def stream(websocket: WebSocket) -> None:
    """Enhance a stream until its client ends it; every error is told in JSON before the close."""
    service: Service = websocket.app.state.service
    call = call_of(websocket.scope)
    await websocket.accept()
    code, problem = FAILED, ""
    try:
        with service.stream_place():
            code = await _Conversation(websocket, service, call).hold()
    except StreamLimitError as error:
        code, problem = TRY_LATER, str(error)
    except (MessageError, ArgumentError, AudioError) as error:
        code, problem = BAD_DATA, one_line(error)
    except TimeoutError as error:
        code, problem = POLICY, str(error)
    except WebSocketDisconnect as end:
        code = end.code if end.code in _CUT else LEFT
        call.fields["error"] = _CUT.get(code, "the client has left without an end")
    except Exception as error:  # noqa: BLE001 - it concerns this stream alone
        problem = "the stream failed; the log of the service says why"
        if isinstance(error, FsnpError):
            problem = one_line(error)
        logger.error("failed", exc_info=error, extra={"fields": {"request_id": call.id}})
    if problem:
        call.fields["error"] = problem
    call.fields["code"] = code
    await _close(websocket, code, problem)


async def _close(websocket: WebSocket, code: int, problem: str) -> None:
    """Tell a problem and close, if anybody is there."""
    if websocket.client_state is not WebSocketState.CONNECTED:
        return
    with suppress(WebSocketDisconnect, RuntimeError):
        if problem:
            await websocket.send_json({"error": problem})
        await websocket.close(code)


class _Conversation:
    """One stream from hello to end."""

    def __init__(self, websocket: WebSocket, service: Service, call: Call) -> None:
        self._websocket, self._service, self._call = websocket, service, call
        self._n_samples, self._worked_s = 0, 0.0

    async def hold(self) -> int:
        """Return the code to close with."""
        async with aclosing(self._messages()) as messages:
            return await self._answer_all(messages)

    async def _answer_all(self, messages: AsyncIterator[dict[str, Any]]) -> int:
        first = await anext(messages, None)
        if first is None:
            return GOING_AWAY
        if first.get("text") is None:
            raise MessageError("the first message is not text; send the hello as JSON")
        hello = read_hello(first["text"])
        live = self._service.enhancers["live"]
        open_stream = partial(live.stream, strength=hello.strength)
        opened = await self._service.run_hops(open_stream, hello.sample_rate_hz, hello.channels)
        await self._answer(hello, opened)
        try:
            return await self._enhance(messages, hello, opened)
        finally:
            self._note(hello)

    async def _answer(self, hello: Hello, opened: Stream) -> None:
        latency = {
            "latency_s": opened.latency_s,
            "latency_samples": round(opened.latency_s * hello.sample_rate_hz),
        }
        rate = {"sample_rate_hz": hello.sample_rate_hz}
        await self._websocket.send_json(latency | rate | {"request_id": self._call.id})

    async def _enhance(
        self, messages: AsyncIterator[dict[str, Any]], hello: Hello, opened: Stream
    ) -> int:
        """Answer samples with samples until the end."""
        step = max(1, round(_PIECE_S * hello.sample_rate_hz))
        code = GOING_AWAY
        async for message in messages:
            started = time.perf_counter()
            if (data := message.get("bytes")) is None:
                _require_end(message["text"])
                code = DONE
                break
            _require_whole(data, hello)
            noisy = decoded(data, hello.format, hello.channels)
            for start in range(0, len(noisy), step):
                piece = noisy[start : start + step]
                enhanced = await self._work(opened, piece)
                await self._send(encoded(enhanced, hello.format))
            self._n_samples += len(noisy)
            self._service.metrics.reply.observe(time.perf_counter() - started)
        rest = await self._service.run_hops(opened.flush)
        await self._send(encoded(rest, hello.format))
        return code

    async def _work(self, opened: Stream, noisy: NDArray[np.float32]) -> NDArray[np.float32]:
        started = time.perf_counter()
        enhanced = await self._service.run_hops(opened.process, noisy)
        self._worked_s += time.perf_counter() - started
        return enhanced

    async def _send(self, data: bytes) -> None:
        if data:
            await self._websocket.send_bytes(data)

    async def _messages(self) -> AsyncGenerator[dict[str, Any]]:
        """Yield what the client sends, until the service ends.

        Raises:
            TimeoutError: The client is silent for too long.
            WebSocketDisconnect: It has left.
        """
        idle_s = self._service.settings.idle_s
        ending = asyncio.ensure_future(self._service.ending.wait())
        try:
            while not ending.done():
                received = asyncio.ensure_future(self._websocket.receive())
                await asyncio.wait(
                    (received, ending), timeout=idle_s, return_when="FIRST_COMPLETED"
                )
                if not received.done():
                    received.cancel()
                    if ending.done():
                        return
                    raise TimeoutError(f"nothing has come for {idle_s:g} s")
                message = dict(received.result())
                if message["type"] == "websocket.disconnect":
                    raise WebSocketDisconnect(message.get("code") or 1005)
                yield message
        finally:
            ending.cancel()

    def _note(self, hello: Hello) -> None:
        audio_s = self._n_samples / hello.sample_rate_hz
        fields = {"audio_s": round(audio_s, 3), "rate": hello.sample_rate_hz}
        if audio_s:
            rtf = self._worked_s / audio_s
            self._service.metrics.audio.labels("stream").inc(audio_s)
            self._service.metrics.rtf.labels("stream").observe(rtf)
            fields["rtf"] = round(rtf, 4)
        self._call.fields.update(fields, channels=hello.channels)


def _require_whole(data: bytes, hello: Hello) -> None:
    multiple = frame_bytes(hello.format, hello.channels)
    if len(data) % multiple:
        raise MessageError(
            f"a message has {len(data)} bytes; {hello.format} with {hello.channels} channels needs a "
            f"multiple of {multiple}"
        )


def _require_end(text: str) -> None:
    if read_object(text) != {"end": True}:
        raise MessageError('a text message is not {"end": true}; samples are binary messages')
