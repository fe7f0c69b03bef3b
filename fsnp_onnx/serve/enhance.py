"""POST /v1/enhance: a sound file in, a sound file out."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, suppress
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

from fsnp_onnx.errors import ArgumentError, AudioError
from fsnp_onnx.runtime import decode, encode
from fsnp_onnx.runtime.arguments import SignalOptions, check_signal
from fsnp_onnx.runtime.audio import AudioFormat, ending_of
from fsnp_onnx.runtime.enhancer import Enhancer
from fsnp_onnx.runtime.recording import enhance_samples
from fsnp_onnx.serve.answers import answer_error
from fsnp_onnx.serve.formats import media_type_of, wanted_ending
from fsnp_onnx.serve.observer import call_of
from fsnp_onnx.serve.service import Service
from fsnp_onnx.serve.settings import Settings
from fsnp_onnx.serve.upload import receive_file

PARAMETERS: Final = ("strength", "attenuation_limit", "model", "strict")
_CHUNK_BYTES: Final = 1 << 16


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
            with suppress(TimeoutError, ClientDisconnect):  # the server cuts what is not whole
                async with asyncio.timeout(self._service.settings.transfer_s):
                    await answer(scope, receive, send)

    async def _enhanced(self, request: Request, held: ExitStack) -> Response:
        if request.method != "POST":
            raise HTTPException(405, "send the sound file with POST", {"Allow": "POST"})
        settings = self._service.settings
        wish = read_wish(request.query_params, ", ".join(request.headers.getlist("Accept")))
        enhancer = self._service.enhancers[wish.model]
        if wish.options["attenuation_limit_db"] is not None and enhancer.spec.interface != "mask":
            problem = f"attenuation_limit is not possible with model={wish.model}; leave it out"
            raise HTTPException(400, problem)
        held.enter_context(self._service.place())
        upload = cast("BinaryIO", held.enter_context(await receive_file(request, settings)))
        # Without a name, so that no crash leaves it behind, and without a buffer, so that it closes on a full disk.
        answer = held.enter_context(tempfile.TemporaryFile(buffering=0))  # noqa: SIM115
        job = partial(
            _enhance, enhancer, upload, cast("BinaryIO", answer), wish=wish, settings=settings
        )
        result = await self._service.run(job, request.is_disconnected)
        self._note(request.scope, wish, result)
        headers = _headers(result) | {"Content-Length": str(answer.tell())}
        return StreamingResponse(_chunks(answer), 200, headers)

    def _note(self, scope: Scope, wish: Wish, result: _Result) -> None:
        metrics = self._service.metrics
        metrics.audio.labels("upload").inc(result.duration_s)
        metrics.rtf.labels("upload").observe(result.rtf)
        fields = {"model": wish.model, "audio_s": result.duration_s, "rtf": result.rtf}
        stored = result.format
        call_of(scope).fields.update(fields, rate=stored.sample_rate, channels=stored.channels)


@dataclass(frozen=True, slots=True)
class _Result:
    """What was done to a recording."""

    ending: str
    format: AudioFormat
    duration_s: float
    rtf: float
    warning: str | None


def _enhance(
    enhancer: Enhancer, upload: BinaryIO, answer: BinaryIO, *, wish: Wish, settings: Settings
) -> _Result:
    watch = partial(_require_length, settings, enhancer.spec.stft.sample_rate_hz)
    recording = decode.read_seekable(upload, "the upload", strict=wish.strict, watch=watch)
    noisy, rate = recording.samples, recording.format.sample_rate
    ending = wish.ending or ending_of(recording.format.container)
    stored = encode.output_format(Path(f"answer{ending}"), recording.format, len(noisy))
    started = time.perf_counter()
    try:
        enhanced = enhance_samples(enhancer, noisy, rate, wish.options)
    except ArgumentError as error:  # the wish is checked: this is about the recording
        raise AudioError(f"the upload's {error.argument} {error.problem}") from error
    duration_s, rtf = len(noisy) / rate, (time.perf_counter() - started) * rate / len(noisy)
    encode.write(answer, enhanced, stored, recording.tags)
    return _Result(ending, stored, round(duration_s, 4), round(rtf, 4), recording.warning)


def _require_length(
    settings: Settings, model_rate: int, n_samples: int, rate: int, channels: int
) -> None:
    """Raise HTTPException where a recording is too long so far.

    Samples count at the model's rate where that is higher, because the work does: 20 MB can hold
    100 s of 1024 channels at 100 Hz, which are 28 hours of sound.
    """
    at_hz = max(rate, model_rate)
    n_values = n_samples * channels * at_hz // rate
    if n_samples > settings.max_seconds * rate:
        found, limit = f"is {n_samples / rate:.0f} s long or longer", f"{settings.max_seconds:g} s"
    elif n_values > settings.max_samples:
        found = f"holds {n_values} samples or more in {channels} channels at {at_hz} Hz"
        limit = str(settings.max_samples)
    else:
        return
    raise HTTPException(413, f"the recording {found}; the limit is {limit}")


def _headers(result: _Result) -> dict[str, str]:
    headers = {
        "Content-Type": media_type_of(result.ending),
        "X-Audio-Seconds": f"{result.duration_s:g}",
        "X-RTF": f"{result.rtf:g}",
    }
    if result.warning:
        headers["X-Warning"] = result.warning.encode("ascii", "replace").decode()
    return headers


async def _chunks(answer: IO[bytes]) -> AsyncIterator[bytes]:
    answer.seek(0)
    while chunk := await run_in_threadpool(answer.read, _CHUNK_BYTES):
        yield chunk
