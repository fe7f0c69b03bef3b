"""The runtime as one object: noisy samples in, enhanced samples out."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from fsnp_onnx.errors import AudioError, ModelFileError
from fsnp_onnx.runtime.arguments import (
    Channels,
    SignalOptions,
    as_file,
    check_channels,
    check_rate,
    check_samples,
    check_signal,
)
from fsnp_onnx.runtime.bundled import model_path
from fsnp_onnx.runtime.mask import Mix
from fsnp_onnx.runtime.mask_model import Enhance, MaskModel, guide_of
from fsnp_onnx.runtime.open_model import open_model
from fsnp_onnx.runtime.ort import Provider
from fsnp_onnx.runtime.outputs import require_free
from fsnp_onnx.runtime.plot import check_plot
from fsnp_onnx.runtime.resample import resample
from fsnp_onnx.runtime.stream import Stream
from fsnp_onnx.runtime.stream_model import StreamModel
from fsnp_onnx.spec import ModelSpec

if TYPE_CHECKING:
    from fsnp_onnx.runtime.recording import Done

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
            model: "default" (offline, also None) or "live", the bundled models, or the path of an
                exported file, or its bytes.
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
        opened = model if isinstance(model, bytes) else model_path(model)
        self._model = open_model(opened, provider, threads=threads, device_id=device_id)
        self._path = None if isinstance(opened, bytes) else opened.resolve()

    @property
    def spec(self) -> ModelSpec:
        """What the model file says about itself."""
        return self._model.spec

    @property
    def provider(self) -> Literal["cpu", "cuda"]:
        """Where the model really runs."""
        return self._model.provider

    def check(
        self,
        *,
        attenuation_limit_db: float | None = None,
        strength: float = 1.0,
        channels: Channels = "each",
    ) -> None:
        """Raise ArgumentError unless this file can enhance with these options of `enhance`."""
        signal = SignalOptions(
            strength=strength, attenuation_limit_db=attenuation_limit_db, channels=channels
        )
        check_signal(signal)
        self._model.check(signal)

    def enhance(
        self,
        samples: NDArray[np.floating],
        sample_rate: float,
        *,
        attenuation_limit_db: float | None = None,
        strength: float = 1.0,
        channels: Channels = "each",
    ) -> NDArray[np.floating]:
        """Enhance one recording.

        The level is kept: nothing is rescaled or clipped. What lies above half of the model's
        sample rate is noise: it is removed as far as the strength and the limit let it.

        Args:
            samples: float32 or float64 [N] or [N, channels], any level, usually within +-1.
            sample_rate: In Hz, 100 to 10 million; other rates than the model's are resampled
                there and back.
            attenuation_limit_db: Strongest attenuation of any bin of the spectrum in dB, 0 or more,
                also above the model's band; None for no limit.
            strength: 0 to 1. 0 returns the input bit for bit, 1 removes all that is found to be
                noise; between them the result is ``(1 - strength) * input + strength * full``.
                A limit holds for the result.
            channels: "each" enhances every channel by itself. "linked" computes one mask from the
                mean of the channels and applies it to all, so that a stereo image does not move.
                Where the channels cancel each other, so that the mean is 40 dB or more below
                the loudest one, the mask is that channel's.

        Returns:
            Same shape and dtype.

        Raises:
            ArgumentError: The shape or dtype of ``samples``, the rate or an option is wrong.
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
        self.check(strength=strength, attenuation_limit_db=attenuation_limit_db, channels=channels)
        samples = np.asarray(samples)  # subclasses such as matrices have shapes of their own
        if strength == 0:
            return samples.copy()
        enhanced = np.empty_like(samples)
        noisy, out = (a.reshape(len(samples), -1).T for a in (samples, enhanced))  # [channels, N]
        mix = Mix(strength, attenuation_limit_db)
        with np.errstate(over="ignore", invalid="ignore"):  # found in the result and reported
            run: Enhance = partial(self._model.enhance, mix=mix)
            if channels == "linked" and len(noisy) > 1 and isinstance(self._model, MaskModel):
                run = self._model.linked(self._at_model_rate(guide_of(noisy), sample_rate), mix)
            for index, channel in enumerate(noisy):
                out[index] = self._enhance_channel(channel, sample_rate, run, mix.noisy_share)
        return enhanced

    def enhance_file(  # noqa: PLR0913 - one argument for each choice
        self,
        input: PathLike | BinaryIO,
        output: PathLike | BinaryIO,
        *,
        attenuation_limit_db: float | None = None,
        strength: float = 1.0,
        channels: Channels = "each",
        plot: PathLike | None = None,
        residual: PathLike | None = None,
        strict: bool = False,
        force: bool = False,
    ) -> Done:
        """Enhance one file; every output is written whole or not at all.

        Args:
            input: Path of a sound file (WAV, FLAC, OGG, MP3, ...) or a readable binary file.
            output: Path of the enhanced file, or a writable binary file, which gets a WAV. The
                format is kept, and changes only as far as the ending of the path asks.
            attenuation_limit_db: As for `enhance`.
            strength: As for `enhance`.
            channels: As for `enhance`.
            plot: Path of a PNG with the spectrograms of both; needs matplotlib.
            residual: Path of a sound file with what was removed, input minus output, in the
                output's format.
            strict: Refuse a truncated input; else what is there is enhanced, and ``truncated`` and
                ``warning`` of the result tell.
            force: Replace outputs that exist.

        Returns:
            What was done.

        Raises:
            OutputError: An output exists, is the input or the model, or cannot be written.
            MissingFileError: The input does not exist or cannot be read.
            AudioError: The input is damaged or empty, truncated with ``strict``, or the output's
                format cannot hold it.
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

        options = SignalOptions(
            strength=strength, attenuation_limit_db=attenuation_limit_db, channels=channels
        )
        self.check(**options)
        source, target = as_file("input", input, "read"), as_file("output", output, "write")
        picture, removed = (None if path is None else Path(path) for path in (plot, residual))
        kept = [path for path in (source, self._path) if isinstance(path, Path)]
        for path in (target, picture, removed):
            if isinstance(path, Path):
                require_free(path, kept, force=force)
                kept.append(path)
        if picture:
            check_plot(picture)
        return enhance_recording(
            self, source, target, plot=picture, residual=removed, strict=strict, **options
        )

    def stream(self, sample_rate: float, channels: int = 1, *, strength: float = 1.0) -> Stream:
        """Begin a live recording; any number of streams may run at once, each in one thread.

        Args:
            sample_rate: In Hz, 100 or more, and up to 256 times the model's; other rates than the
                model's need the extra ``live``.
            channels: Number of channels, 1 to 1024, each enhanced by itself.
            strength: 0 (the input, late) to 1 (enhanced).

        Returns:
            The stream, which takes chunks of any size.

        Raises:
            ArgumentError: An argument is out of range.
            ModelFileError: The file is not a stream, as the bundled model "live" is; only causal
                networks can be exported as one.
            InstallError: The rate needs a package that is missing.

        Example:
            >>> from fsnp_onnx import Enhancer
            >>> stream = Enhancer("live", provider="cpu").stream(16000)
            >>> f"{1000 * stream.latency_s:.0f} ms"
            '64 ms'
        """
        check_rate(sample_rate)
        check_channels(channels)
        check_signal({"strength": strength, "attenuation_limit_db": None, "channels": "each"})
        if not isinstance(self._model, StreamModel):
            raise ModelFileError(
                f"{self._model.name} has the interface {self.spec.interface!r} and cannot run live; "
                "use the bundled model 'live', or export a causal checkpoint with --interface stream"
            )
        return self._model.stream(sample_rate, int(channels), strength)

    def _enhance_channel(
        self, samples: NDArray[np.floating], sample_rate: float, run: Enhance, share: float
    ) -> NDArray[np.float32]:
        if not samples.any():  # silence stays silence, whatever a network makes of it
            return np.zeros(samples.size, np.float32)
        model_rate = self.spec.stft.sample_rate_hz
        noisy = self._at_model_rate(samples, sample_rate)
        enhanced = resample(run(noisy), model_rate, sample_rate)[: samples.size]
        if share and sample_rate != model_rate:  # what the model's rate does not hold
            within = resample(noisy, model_rate, sample_rate)[: samples.size]
            enhanced = enhanced + np.float32(share) * (np.asarray(samples, np.float32) - within)
        if not np.isfinite(enhanced).all():
            raise AudioError(
                f"samples up to {np.abs(samples).max():.3g} overflow float32; scale them to +-1"
            )
        return enhanced

    def _at_model_rate(
        self, samples: NDArray[np.floating], sample_rate: float
    ) -> NDArray[np.float32]:
        """Resample a channel, and add the silence that follows a recording."""
        spec = self.spec.stft
        noisy = resample(np.asarray(samples, np.float32), sample_rate, spec.sample_rate_hz)
        missing = self.spec.filled(noisy.size) - noisy.size
        return np.pad(noisy, (0, missing)) if missing else noisy
