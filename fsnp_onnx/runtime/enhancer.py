"""The runtime as one object: noisy samples in, enhanced samples out."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from fsnp_onnx.errors import AudioError
from fsnp_onnx.runtime.arguments import as_file, check_limit, check_rate, check_samples
from fsnp_onnx.runtime.mask import lowest_gain
from fsnp_onnx.runtime.mask_model import MaskModel
from fsnp_onnx.runtime.ort import Provider
from fsnp_onnx.runtime.outputs import require_free
from fsnp_onnx.runtime.plot import require_matplotlib
from fsnp_onnx.runtime.session import ModelFile
from fsnp_onnx.runtime.speech_model import SpeechModel
from fsnp_onnx.runtime.stream import Stream
from fsnp_onnx.runtime.stream_model import StreamModel
from fsnp_onnx.spec import ModelSpec

if TYPE_CHECKING:
    from fsnp_onnx.runtime.recording import Done

DEFAULT_MODEL = Path(__file__).parents[1] / "models" / "default.onnx"

PathLike = str | os.PathLike[str]


class Enhancer:
    """Removes noise from speech with one exported file.

    Safe to use from many threads; can be pickled and survives a fork.

    Example:
        >>> from fsnp_onnx import Enhancer
        >>> enhancer = Enhancer(provider="cpu")
        >>> enhancer.provider, enhancer.spec.stft.sample_rate_hz
        ('cpu', 16000)
    """

    def __init__(
        self,
        model: PathLike | bytes | None = None,
        provider: Provider = "auto",
        *,
        threads: int | None = None,
        device_id: int = 0,
    ) -> None:
        """Open a model.

        Args:
            model: Path of an exported file or its bytes, default the bundled model.
            provider: "auto" (CUDA where it starts, else CPU), "cpu" or "cuda" (or an error).
            threads: CPU threads of one run, default all CPUs that this process may use.
            device_id: Number of the CUDA device.

        Raises:
            ArgumentError: An argument is out of range.
            MissingFileError: No file can be read there.
            ModelFileError: The file is foreign, damaged or too new.
            ProviderError: The provider does not start.
            InstallError: No ONNX Runtime is installed, or two are.
        """
        model = DEFAULT_MODEL if model is None else model
        self._model = open_model(model, provider, threads=threads, device_id=device_id)
        self._path = None if isinstance(model, bytes) else Path(model).resolve()

    @property
    def spec(self) -> ModelSpec:
        """What the model file says about itself."""
        return self._model.spec

    @property
    def provider(self) -> Literal["cpu", "cuda"]:
        """Where the model really runs."""
        return self._model.provider

    def enhance(
        self,
        samples: NDArray[np.floating],
        sample_rate: float,
        *,
        attenuation_limit_db: float | None = None,
    ) -> NDArray[np.floating]:
        """Enhance one recording, every channel by itself.

        The level is kept: nothing is rescaled or clipped. What lies above half of the model's
        sample rate is removed, or attenuated by the limit if one is given.

        Args:
            samples: float32 or float64 [N] or [N, channels], any level, usually within +-1.
            sample_rate: In Hz, 100 to 10 million; other rates than the model's are resampled
                there and back.
            attenuation_limit_db: Strongest attenuation of any bin of the spectrum in dB, 0 or more,
                also above the model's band; None for no limit.

        Returns:
            Same shape and dtype.

        Raises:
            ArgumentError: The shape or dtype of ``samples``, the rate or the limit is wrong.
            AudioError: The recording is empty, or holds NaN, infinite or too large samples.
            RunError: The run failed, usually for lack of memory.

        Example:
            >>> import soundfile
            >>> from fsnp_onnx import Enhancer
            >>> noisy, sample_rate = soundfile.read("samples/hum_5db_noisy.flac")
            >>> enhancer = Enhancer(provider="cpu")
            >>> enhanced = enhancer.enhance(noisy, sample_rate, attenuation_limit_db=20)
            >>> enhanced.shape == noisy.shape
            True
        """
        check_samples(samples)
        check_rate(sample_rate)
        check_limit(attenuation_limit_db)
        samples = np.asarray(samples)  # subclasses such as matrices have shapes of their own
        enhanced = np.empty_like(samples)
        columns = (a.reshape(len(samples), -1).T for a in (samples, enhanced))
        with np.errstate(over="ignore", invalid="ignore"):  # found in the result and reported
            for noisy, out in zip(*columns, strict=True):
                out[:] = self._enhance_channel(noisy, sample_rate, attenuation_limit_db)
        return enhanced

    def enhance_file(
        self,
        input: PathLike | BinaryIO,
        output: PathLike | BinaryIO,
        *,
        attenuation_limit_db: float | None = None,
        plot: PathLike | None = None,
        force: bool = False,
    ) -> Done:
        """Enhance one file; the output is written whole or not at all.

        Args:
            input: Path of a sound file (WAV, FLAC, OGG, MP3, ...) or a readable binary file.
            output: Path of the enhanced file, or a writable binary file, which gets a WAV. The
                format is kept, and changes only as far as the ending of the path asks.
            attenuation_limit_db: As for `enhance`.
            plot: Path of a PNG with the spectrograms of both; needs matplotlib.
            force: Replace an output or a plot that exists.

        Returns:
            What was done.

        Raises:
            OutputError: The output exists, is the input or the model, or cannot be written.
            MissingFileError: The input does not exist or cannot be read.
            AudioError: The input is damaged or empty, or the output's format cannot hold it.
            ArgumentError, RunError: As for `enhance`.
            InstallError: A plot is asked for and matplotlib is not installed.

        Example:
            >>> import pathlib, tempfile
            >>> from fsnp_onnx import Enhancer
            >>> output = pathlib.Path(tempfile.mkdtemp()) / "clean.wav"
            >>> done = Enhancer(provider="cpu").enhance_file("samples/hum_5db_noisy.flac", output)
            >>> done.sample_rate, done.channels, output.exists()
            (16000, 1, True)
        """
        from fsnp_onnx.runtime.recording import enhance_recording  # noqa: PLC0415 - libsndfile

        check_limit(attenuation_limit_db)
        source, target = as_file("input", input, "read"), as_file("output", output, "write")
        picture = None if plot is None else Path(plot)
        kept = [path for path in (source, self._path) if isinstance(path, Path)]
        for path in (target, picture):
            if isinstance(path, Path):
                require_free(path, kept, force=force)
                kept.append(path)
        if picture:
            require_matplotlib()
        return enhance_recording(
            self, source, target, attenuation_limit_db=attenuation_limit_db, plot=picture
        )

    def stream(self, sample_rate: float, channels: int = 1, *, strength: float = 1.0) -> Stream:
        """Begin a live recording; any number of streams may run at once, each in one thread.

        Args:
            sample_rate: In Hz, 100 to 10 million; other rates than the model's need the extra ``live``.
            channels: Number of channels, 1 to 1024, each enhanced by itself.
            strength: 0 (the input, late) to 1 (enhanced).

        Returns:
            The stream, which takes chunks of any size.

        Raises:
            ArgumentError: An argument is out of range.
            ModelFileError: The file is not a stream; only causal networks can be exported as one.
            InstallError: The rate needs a package that is missing.

        Example:
            >>> from fsnp_onnx import Enhancer
            >>> stream = Enhancer("tests/data/delay.onnx").stream(16000)
            >>> f"{1000 * stream.latency_s:.0f} ms"
            '48 ms'
        """
        check_rate(sample_rate)
        check_channels(channels)
        check_strength(strength)
        if not isinstance(self._model, StreamModel):
            raise ModelFileError(
                f"this file has the interface {self.spec.interface!r} and cannot run live; export a "
                "causal checkpoint with --interface stream"
            )
        return Stream(self._model, sample_rate, channels, strength)

    def _enhance_channel(
        self, samples: NDArray[np.floating], sample_rate: float, limit_db: float | None
    ) -> NDArray[np.float32]:
        if not samples.any():  # silence stays silence, whatever a network makes of it
            return np.zeros(samples.size, np.float32)
        model_rate = self.spec.stft.sample_rate_hz
        given = np.asarray(samples, np.float32)
        noisy = _resample(given, sample_rate, model_rate)
        shortest = (self.spec.min_frames - 1) * self.spec.stft.hop_length
        if noisy.size < shortest:
            noisy = np.pad(noisy, (0, shortest - noisy.size))
        enhanced = self._model.enhance(noisy, attenuation_limit_db=limit_db)
        enhanced = _resample(enhanced, model_rate, sample_rate)[: samples.size]
        if limit_db is not None and sample_rate != model_rate:
            kept = _resample(noisy, model_rate, sample_rate)[: samples.size]
            enhanced = enhanced + np.float32(lowest_gain(limit_db)) * (given - kept)
        if not np.isfinite(enhanced).all():
            raise AudioError(
                f"samples up to {np.abs(samples).max():.3g} overflow float32; scale them to +-1"
            )
        return enhanced


def open_model(
    model: ModelFile,
    provider: Provider = "auto",
    *,
    threads: int | None = None,
    device_id: int = 0,
) -> SpeechModel:
    """Open a file as `Enhancer` does, by its interface; `ModelSpec` refuses all but "mask"."""
    return MaskModel(model, provider, threads=threads, device_id=device_id)


def _resample(samples: NDArray[np.float32], from_hz: float, to_hz: float) -> NDArray[np.float32]:
    """Resample without a time shift; the end is padded so that a return trip loses no sample."""
    if from_hz == to_hz:
        return samples
    import soxr  # noqa: PLC0415 - not needed at the model's own rate

    padded = np.pad(samples, (0, math.ceil(from_hz / to_hz)))
    resampled: NDArray[np.float32] = soxr.resample(padded, from_hz, to_hz, quality="VHQ")
    return resampled
