"""One recording: fetch, enhance, store. What every process of a run does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from fsnp_onnx.batch import storage
from fsnp_onnx.batch.jobs import Job
from fsnp_onnx.errors import FsnpError, RunError
from fsnp_onnx.runtime.arguments import SignalOptions
from fsnp_onnx.runtime.enhancer import Enhancer
from fsnp_onnx.runtime.ort import Provider
from fsnp_onnx.runtime.recording import Done, enhance_recording


@dataclass(frozen=True, slots=True)
class Failed:
    """A recording that could not be enhanced.

    Attributes:
        input: Path or URL of the noisy file, or of a folder that cannot be read.
        output: Path or URL of the enhanced file; None where the work did not begin.
        error: What went wrong.

    Example:
        >>> from fsnp_onnx.errors import AudioError
        >>> failed = Failed("talk.wav", "clean.wav", AudioError("talk.wav contains no samples"))
        >>> print(f"{failed.input}: {failed.error}")
        talk.wav: talk.wav contains no samples
    """

    input: str
    output: str | None
    error: Exception


@dataclass(frozen=True, slots=True)
class Settings:
    """What all recordings of a run share; can be sent to another process or machine."""

    model: Path | bytes
    provider: Provider
    threads: int | None
    device_id: int
    signal: SignalOptions
    plot: Path | None
    residual: Path | None
    strict: bool

    def beside(self) -> dict[str, Path]:
        """Return the files that are written beside the output, by the argument that names them."""
        files = {"plot": self.plot, "residual": self.residual}
        return {argument: path for argument, path in files.items() if path}

    def open(self) -> Enhancer:
        """Open the model; ArgumentError where it cannot do what is asked."""
        enhancer = Enhancer(
            self.model, self.provider, threads=self.threads, device_id=self.device_id
        )
        enhancer.check(**self.signal)
        return enhancer

    def model_bytes(self) -> bytes:
        """Return the content of the model's file."""
        return self.model if isinstance(self.model, bytes) else self.model.read_bytes()


def enhance_job(job: Job, enhancer: Enhancer, settings: Settings) -> Done | Failed:
    """Enhance one recording and return what was done, or why it could not be."""
    try:
        with storage.fetched(job.source) as source, storage.stored(job.target, job.token) as target:
            done = enhance_recording(
                enhancer,
                source,
                target,
                name=job.source,
                plot=settings.plot,
                residual=settings.residual,
                strict=settings.strict,
                token=job.token,
                **settings.signal,
            )
    except (FsnpError, OSError, MemoryError) as error:
        return Failed(job.source, job.target, error)
    except Exception as error:  # noqa: BLE001 - it concerns this recording alone
        problem = RunError(f"unexpected {error!r}")  # which every process can send to another
        problem.__cause__ = error
        return Failed(job.source, job.target, problem)
    return replace(done, input=job.source, output=job.target)
