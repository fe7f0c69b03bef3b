"""One recording: read, enhance, write. What a process does that shares the work of a run."""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fsnp_onnx.batch import storage as remote
from fsnp_onnx.batch.plan import Job
from fsnp_onnx.errors import FsnpError, one_line
from fsnp_onnx.runtime import audio
from fsnp_onnx.runtime.enhancer import Enhancer
from fsnp_onnx.runtime.ort import Provider
from fsnp_onnx.runtime.plot import save_spectrograms

Samples = NDArray[np.float32]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Report:
    """What --json prints for one recording.

    Attributes:
        input: The noisy file, "-" for standard input.
        output: The enhanced file, "-" for standard output.
        seconds: Time that the enhancement took.
        rtf: Real-time factor, that time per second of audio.
        provider: Where the model ran, "cpu" or "cuda".
        sample_rate: Of both files in Hz.
        channels: Of both files.
        duration_s: Length of the recording.
        clipped: Number of samples beyond full scale that were clipped.
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


@dataclass(frozen=True, slots=True)
class Settings:
    """What all recordings of a run share; can be sent to another process or machine.

    Attributes:
        model: Path of an exported file or its bytes.
        provider: "auto", "cpu" or "cuda".
        threads: CPU threads of one process.
        device_id: Number of the CUDA device.
        attenuation_limit_db: No bin is attenuated by more; None for no limit.
        plot: Where to draw the spectrograms, if at all.
    """

    model: Path | bytes
    provider: Provider
    threads: int
    device_id: int
    attenuation_limit_db: float | None
    plot: Path | None

    def open(self) -> Enhancer:
        """Open the model."""
        return Enhancer(self.model, self.provider, threads=self.threads, device_id=self.device_id)


def enhance_recording(job: Job, enhancer: Enhancer, settings: Settings) -> Report | str:
    """Enhance one recording.

    Returns:
        What was done, or why it could not be.
    """
    try:
        return _enhance(job, enhancer, settings)
    except BrokenPipeError:
        raise  # nobody listens any more: not an error of this recording
    except (FsnpError, OSError, MemoryError) as error:
        return one_line(error)


def _enhance(job: Job, enhancer: Enhancer, settings: Settings) -> Report:
    noisy, audio_format = _read(job.source)
    target_format = _target_format(job, audio_format)
    started = time.perf_counter()
    enhanced = _interruptible(
        lambda: enhancer.enhance(
            noisy, audio_format.sample_rate, attenuation_limit_db=settings.attenuation_limit_db
        )
    )
    seconds = time.perf_counter() - started
    if settings.plot:  # first, as an output that is there means a recording that is done
        save_spectrograms(noisy, enhanced, audio_format.sample_rate, settings.plot)
    clipped = _write(job, enhanced, target_format)
    duration_s = len(noisy) / audio_format.sample_rate
    return Report(
        input=job.source_name,
        output=job.target_name,
        seconds=round(seconds, 4),
        rtf=round(seconds / duration_s, 4),
        provider=enhancer.provider,
        sample_rate=audio_format.sample_rate,
        channels=audio_format.channels,
        duration_s=round(duration_s, 4),
        clipped=clipped,
    )


def _read(source: str | None) -> tuple[Samples, audio.AudioFormat]:
    if source:
        with remote.fetched(source) as path:
            return audio.read(path, name=source)
    with tempfile.NamedTemporaryFile(prefix="fsnp-", suffix=".wav") as file:  # seekable
        shutil.copyfileobj(sys.stdin.buffer, file)
        file.flush()
        return audio.read(Path(file.name), name="standard input")


def _target_format(job: Job, source_format: audio.AudioFormat) -> audio.AudioFormat:
    target = Path(job.target) if job.target else sys.stdout.buffer
    return audio.output_format(Path(job.source or ""), target, source_format)


def _write(job: Job, samples: Samples, audio_format: audio.AudioFormat) -> int:
    if job.target:
        with remote.stored(job.target, job.token) as path:
            return audio.write(path, samples, audio_format, job.token)
    buffer = io.BytesIO()  # a WAV header is completed at the end, which needs a seek
    clipped = audio.write(buffer, samples, audio_format)
    with open(sys.stdout.fileno(), "wb", closefd=False) as stdout:
        stdout.write(buffer.getbuffer())  # whole, even where sys.stdout itself is not buffered
    return clipped


def _interruptible(work: Callable[[], T]) -> T:
    """Call ``work`` in another thread and wait where Ctrl-C is heard.

    A run of the model returns to Python only when it is finished; the main thread, which handles
    signals, must not be the one inside it.
    """
    future: Future[T] = Future()

    def call() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised again by result()
            future.set_exception(error)

    threading.Thread(target=call, daemon=True).start()
    return future.result()
