"""POST /v1/enhance: a sound file in, a sound file out."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, BinaryIO, Final, cast

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from fsnp_onnx.errors import ArgumentError, AudioError, OutputError
from fsnp_onnx.runtime.arguments import SignalOptions, check_signal
from fsnp_onnx.runtime.enhancer import Enhancer
from fsnp_onnx.runtime.recording import Done, enhance_recording
from fsnp_onnx.serve.answers import answer_error
from fsnp_onnx.serve.formats import media_type_of, wanted_ending
from fsnp_onnx.serve.length import require_length
from fsnp_onnx.serve.observer import call_of
from fsnp_onnx.serve.service import Service
from fsnp_onnx.serve.settings import Settings
from fsnp_onnx.serve.upload import receive_file

PARAMETERS: Final = ("strength", "attenuation_limit", "model", "strict")
_CHUNK_BYTES: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class Wish:
    """What a request asks for.

    Attributes:
        model: "default" or "live".
        strict: Whether a truncated recording is refused.
        options: What is done to the samples.
        ending: Of the answer's kind of file, None for the input's.
    """

    model: str
    strict: bool
    options: SignalOptions
    ending: str | None


def read_wish(query: QueryParams, accept: str) -> Wish:
    """Read the query and the Accept header.

    Raises:
        HTTPException: 400 or 406, with what may be given instead.
        ArgumentError: A number is out of range.
    """
    for name in query:
        if name not in PARAMETERS:
            known = ", ".join(PARAMETERS)
            raise HTTPException(400, f"unknown parameter {name[:40]!r}; known are {known}")
    if len(query.multi_items()) > len(query):
        raise HTTPException(400, "a parameter is given twice; give it once")
    limit_db = _number(query, "attenuation_limit") if "attenuation_limit" in query else None
    strength = _number(query, "strength") if "strength" in query else 1.0
    options = SignalOptions(strength=strength, attenuation_limit_db=limit_db, channels="each")
    check_signal(options)
    model = _one_of(query, "model", ("default", "live"))
    strict = _one_of(query, "strict", ("false", "true")) == "true"
    return Wish(model, strict, options, wanted_ending(accept))


def _number(query: QueryParams, name: str) -> float:
    try:
        return float(query[name])
    except ValueError:
        raise HTTPException(400, f"{name} is {query[name][:40]!r}; give a number") from None


def _one_of(query: QueryParams, name: str, choices: tuple[str, ...]) -> str:
    """Return one of the choices, the first by default."""
    value = query.get(name, choices[0])
    if value not in choices:
        raise HTTPException(400, f"{name} is {value[:40]!r}; give {' or '.join(choices)}")
    return value


class Enhance:
    """The endpoint. A request holds its place until its answer is sent."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Receive, enhance, answer."""
        request = Request(scope, receive, send)
        with ExitStack() as held:
            try:
                answer = await self._enhanced(request, held)
            except Exception as error:  # noqa: BLE001 - it concerns this request alone
                held.close()
                answer = await answer_error(request, error)
            try:
                async with asyncio.timeout(self._service.settings.transfer_s):
                    await answer(scope, receive, send)
            except TimeoutError as error:  # the status is sent; the connection is cut
                raise ClientDisconnect from error

    async def _enhanced(self, request: Request, held: ExitStack) -> Response:
        settings = self._service.settings
        wish = read_wish(request.query_params, ", ".join(request.headers.getlist("Accept")))
        enhancer = self._service.enhancers[wish.model]
        if wish.options["attenuation_limit_db"] is not None and enhancer.spec.interface != "mask":
            problem = f"attenuation_limit is not possible with model={wish.model}; leave it out"
            raise HTTPException(400, problem)
        held.enter_context(self._service.place())
        upload = held.enter_context(await receive_file(request, settings))
        job = partial(_enhance, enhancer, upload, wish, settings)
        done, result, ending = await self._service.run(job, request.is_disconnected)
        held.enter_context(result)
        self._note(request.scope, wish, done)
        return StreamingResponse(_chunks(result), 200, _headers(done, ending, result))

    def _note(self, scope: Scope, wish: Wish, done: Done) -> None:
        metrics = self._service.metrics
        metrics.audio.labels("upload").inc(done.duration_s)
        metrics.rtf.labels("upload").observe(done.rtf)
        fields = {"model": wish.model, "audio_s": done.duration_s, "rtf": done.rtf}
        call_of(scope).fields.update(fields, rate=done.sample_rate, channels=done.channels)


def _enhance(
    enhancer: Enhancer, upload: IO[bytes], wish: Wish, settings: Settings
) -> tuple[Done, BinaryIO, str]:
    """Return what was done, and the enhanced file: open, without a name."""
    kind = require_length(upload, enhancer.spec.stft.sample_rate_hz, settings)
    ending = wish.ending or kind
    with tempfile.TemporaryDirectory(prefix="fsnp-serve-") as folder:
        target = Path(folder) / f"enhanced{ending}"
        try:
            done = enhance_recording(
                enhancer,
                cast("BinaryIO", upload),
                target,
                name="the upload",
                strict=wish.strict,
                **wish.options,
            )
        except ArgumentError as error:  # the wish is checked: this is about the recording
            raise AudioError(f"the upload's {error.argument} {error.problem}") from error
        except (AudioError, OutputError) as error:
            raise type(error)(str(error).replace(str(target), "the answer")) from error
        result = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115 - the answer closes it
        with target.open("rb") as enhanced:
            shutil.copyfileobj(enhanced, result)
    return done, result, ending


def _headers(done: Done, ending: str, result: BinaryIO) -> dict[str, str]:
    headers = {
        "Content-Type": media_type_of(ending),
        "Content-Length": str(result.tell()),
        "X-Audio-Seconds": f"{done.duration_s:g}",
        "X-RTF": f"{done.rtf:g}",
    }
    if done.warning:
        headers["X-Warning"] = done.warning.encode("ascii", "replace").decode()
    return headers


async def _chunks(result: BinaryIO) -> AsyncIterator[bytes]:
    result.seek(0)
    while chunk := await run_in_threadpool(result.read, _CHUNK_BYTES):
        yield chunk
