"""fsnp-enhance --live: raw samples on standard input, enhanced ones on standard output as they come."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from fsnp_onnx.cli.console import say, writing_output
from fsnp_onnx.errors import ArgumentError, AudioError, MissingFileError
from fsnp_onnx.runtime.enhancer import Enhancer
from fsnp_onnx.runtime.kinds import container
from fsnp_onnx.runtime.pcm import SampleFormat, decoded, encoded, frame_bytes

_CHUNK_BYTES = 1 << 16  # at most; a pipe gives what it has


def check_live(names: Sequence[str | None], for_files: dict[str, Any]) -> None:
    """Raise ArgumentError on what goes with files alone."""
    if set(names) - {None, "-"}:
        raise ArgumentError(
            "live", "reads standard input and writes standard output; name no files"
        )
    for argument, value in for_files.items():
        if value is not None and value is not False:
            raise ArgumentError(argument, "needs files; --live reads and writes raw samples")
    for name, stream in (("input", sys.stdin), ("output", sys.stdout)):
        if stream is None or stream.isatty():
            raise ArgumentError("live", f"needs a pipe or a file as standard {name}")


def enhance_live(
    enhancer: Enhancer,
    rate: float | None,
    channels: str | int,
    sample_format: SampleFormat,
    strength: float,
) -> None:
    """Enhance until standard input ends; each chunk is written and flushed before the next is read."""
    rate = enhancer.spec.stft.sample_rate_hz if rate is None else rate
    if not str(channels).isdecimal():
        raise ArgumentError("channels", f"is {channels}; --live takes their number, such as 2")
    channels = int(channels)
    stream = enhancer.stream(rate, channels, strength=strength)
    late_ms = 1000 * stream.latency_s
    say(f"{sample_format} at {rate:g} Hz, channels: {channels}, latency: {late_ms:.0f} ms")
    target = sys.stdout.buffer
    rest, n_samples, worked_s = b"", 0, 0.0
    multiple = frame_bytes(sample_format, channels)
    for received in _received():
        started = time.perf_counter()
        chunk = rest + received
        whole = len(chunk) - len(chunk) % multiple
        rest = chunk[whole:]
        noisy = decoded(chunk[:whole], sample_format, channels)
        try:
            enhanced = encoded(stream.process(noisy), sample_format)
        except AudioError as error:
            raise AudioError(f"{error}; is the input really {sample_format}?") from error
        worked_s += time.perf_counter() - started  # not the time that a slow reader takes
        n_samples += len(noisy)
        _write(target, enhanced)
    _write(target, encoded(stream.flush(), sample_format))
    if rest:
        say(f"warning: the last {len(rest)} bytes are not a whole sample and were left out")
    if n_samples:
        duration_s = n_samples / rate
        say(f"{duration_s:.1f} s of audio, real-time factor {worked_s / duration_s:.3f}")


def _received() -> Iterator[bytes]:
    """Yield what comes, as it comes; the header of a sound file would be heard as a click."""
    kind = container(received := _read())
    if kind:
        raise AudioError(
            f"standard input is a {kind} file; --live takes raw samples: leave --live out, or give "
            "what precedes it -t raw (arecord), -f s16le (ffmpeg) or -t s16 (sox)"
        )
    while received:
        yield received
        received = _read()


def _read() -> bytes:
    try:
        return os.read(sys.stdin.fileno(), _CHUNK_BYTES)
    except OSError as error:
        raise MissingFileError(f"cannot read standard input ({error.strerror})") from error


def _write(target: BinaryIO, data: bytes) -> None:
    with writing_output():
        while data:  # with PYTHONUNBUFFERED, a part may be taken
            data = data[target.write(data) :]
        target.flush()
