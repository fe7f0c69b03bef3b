"""One recording: read, enhance, write."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Unpack

import numpy as np
from numpy.typing import NDArray

from fsnp_onnx.errors import RunError, one_line
from fsnp_onnx.runtime import decode, encode
from fsnp_onnx.runtime.arguments import SignalOptions
from fsnp_onnx.runtime.outputs import entry
from fsnp_onnx.runtime.plot import save_spectrograms

if TYPE_CHECKING:
    from fsnp_onnx.runtime.enhancer import Enhancer


@dataclass(frozen=True, slots=True)
class Done:
    """A recording that is enhanced.

    Attributes:
        input: Path or URL of the noisy file, "-" for a stream.
        output: Path or URL of the enhanced file, "-" for a stream.
        seconds: Time that the enhancement took.
        rtf: Real-time factor, that time per second of audio.
        provider: Where the model ran, "cpu" or "cuda".
        sample_rate: Of both files in Hz.
        channels: Of both files.
        duration_s: Length of the recording.
        clipped: Number of samples beyond full scale that were clipped, of the residual as well.
        skipped: Whether an earlier run of the journal did it.
        truncated: Whether samples are missing that the noisy file announces.
        warning: One line about what is odd about the noisy file; None if nothing is.
    """

    input: str
    output: str
    seconds: float
    rtf: float
    provider: str
    sample_rate: int
    channels: int
    duration_s: float
    clipped: int
    skipped: bool = False
    truncated: bool = False
    warning: str | None = None


@contextmanager
def _short_of_memory() -> Iterator[None]:
    try:
        yield
    except MemoryError as error:
        remedy = "give shorter audio or fewer jobs"
        raise RunError(f"memory is short ({one_line(error)}); {remedy}") from error


@_short_of_memory()
def enhance_recording(  # noqa: PLR0913 - options, all given by keyword
    enhancer: Enhancer,
    source: Path | BinaryIO,
    target: Path | BinaryIO,
    *,
    name: str | None = None,
    plot: Path | None = None,
    residual: Path | None = None,
    strict: bool = False,
    token: str | None = None,
    **options: Unpack[SignalOptions],
) -> Done:
    """Enhance one recording as `Enhancer.enhance_file` does, and replace what is at the target.

    The name is what messages and `Done.input` call the source. `outputs.replacing` explains the token.
    """
    before = entry(target) if isinstance(target, Path) else None
    recording = decode.read(source, name, strict=strict)
    noisy, source_format = recording.samples, recording.format
    target_format = encode.output_format(target, source_format, len(noisy))
    residual_format = (
        encode.output_format(residual, target_format, len(noisy)) if residual else None
    )
    rate = source_format.sample_rate
    started = time.perf_counter()
    enhanced = _interruptible(lambda: enhance_samples(enhancer, noisy, rate, options))
    seconds = time.perf_counter() - started
    clipped = 0
    if plot:  # before the output, as an existing output means a finished recording
        save_spectrograms(noisy, enhanced, rate, plot)
    if residual and residual_format:
        removed = np.subtract(noisy, enhanced, out=noisy)
        clipped += encode.write(residual, removed, residual_format)
    clipped += encode.write(
        target, enhanced, target_format, recording.tags, token=token, before=before
    )
    duration_s = len(noisy) / rate
    names = [str(file) if isinstance(file, Path) else "-" for file in (source, target)]
    return Done(
        input=name or names[0],
        output=names[1],
        seconds=round(seconds, 4),
        rtf=round(seconds / duration_s, 4),
        provider=enhancer.provider,
        sample_rate=rate,
        channels=source_format.channels,
        duration_s=round(duration_s, 4),
        clipped=clipped,
        truncated=recording.truncated,
        warning=recording.warning,
    )


def enhance_samples(
    enhancer: Enhancer, noisy: NDArray[np.float32], rate: int, options: SignalOptions
) -> Any:
    """Enhance the samples of a file, which may have fewer samples than channels.

    `Enhancer.enhance` takes those for a mistake, so silence is added and removed.
    """
    missing = noisy.shape[1] - len(noisy)
    padded = np.pad(noisy, ((0, missing), (0, 0))) if missing > 0 else noisy
    return enhancer.enhance(padded, rate, **options)[: len(noisy)]


def _interruptible(work: Callable[[], Any]) -> Any:
    """Call ``work`` in another thread and wait where Ctrl-C is heard.

    A run of the model returns to Python only when it is finished; the main thread, which handles
    signals, must not be the one inside it.
    """
    future: Future[Any] = Future()

    def call() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised again by result()
            future.set_exception(error)

    threading.Thread(target=call, daemon=True).start()
    return future.result()
