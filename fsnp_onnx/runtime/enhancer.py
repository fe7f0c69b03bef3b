"""The runtime as one object: noisy samples in, enhanced samples out."""

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fsnp_onnx.errors import AudioError, FsnpError, SamplesTypeError
from fsnp_onnx.runtime.mask import decompress, limit_attenuation, lowest_gain
from fsnp_onnx.runtime.session import MaskModel, Provider
from fsnp_onnx.runtime.stft import istft, stft_blocks
from fsnp_onnx.spec import SAMPLE_RATES_HZ, ModelSpec

DEFAULT_MODEL = Path(__file__).parents[1] / "models" / "default.onnx"
_MAX_CHANNELS = 1024  # as in libsndfile; more are channels and samples mistaken for each other


class Enhancer:
    """Removes noise from speech with one exported file.

    Safe to use from many threads; can be pickled and survives a fork.

    Example:
        >>> enhancer = Enhancer()  # doctest: +SKIP
        >>> enhanced = enhancer.enhance(noisy, sample_rate=16000)  # doctest: +SKIP
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes | None = None,
        provider: Provider = "auto",
        threads: int | None = None,
        device_id: int = 0,
    ) -> None:
        """Open a model.

        Args:
            model: Path of an exported file or its bytes, default the bundled model.
            provider: "auto" (CUDA where it starts, else CPU), "cpu" or "cuda" (or an error).
            threads: CPU threads, default all CPUs that this process may use.
            device_id: Number of the CUDA device.

        Raises:
            MissingFileError: No file can be read there.
            ModelFileError: The file is no export of this package, damaged or too new.
            ProviderError: The provider does not start.
            InstallError: No ONNX Runtime is installed, or two are.
        """
        self._model = MaskModel(
            DEFAULT_MODEL if model is None else model, provider, device_id, threads
        )

    @property
    def spec(self) -> ModelSpec:
        """What the model file says about itself."""
        return self._model.spec

    @property
    def provider(self) -> str:
        """Where the model really runs, "cpu" or "cuda"."""
        return self._model.provider

    def enhance(
        self,
        samples: NDArray[np.floating],
        sample_rate: float,
        attenuation_limit_db: float | None = None,
    ) -> NDArray[np.floating]:
        """Enhance one recording, every channel by itself.

        The level is kept: nothing is rescaled or clipped. What lies above half of the model's
        sample rate is removed, or attenuated by the limit if one is given.

        Args:
            samples: float32 or float64 [N] or [N, channels], any level, usually within +-1.
            sample_rate: In Hz, 100 to 10 million; other rates than the model's are resampled
                there and back.
            attenuation_limit_db: No bin of the spectrum is attenuated by more than this, above the
                model's band neither; None for no limit.

        Returns:
            Same shape and dtype.

        Raises:
            SamplesTypeError: ``samples`` is no float array.
            AudioError: Wrong rank, no samples, NaN or infinite samples, rate or limit.
            ProviderError: The run failed, most often for want of memory.
        """
        _check(samples, sample_rate, attenuation_limit_db)
        return self._enhance_channels(samples, sample_rate, attenuation_limit_db)

    def enhance_batch(
        self,
        samples_list: Iterable[NDArray[np.floating]],
        sample_rate: float,
        attenuation_limit_db: float | None = None,
    ) -> list[NDArray[np.floating]]:
        """Enhance several recordings, each as `enhance` does; nothing is padded to another's length.

        All are checked before the first is enhanced. They run one after another: one recording's
        257 bins fill the matrix products already, and on the CPU 2 to 8 recordings of equal length
        as one batch took 0.9 to 1.6 times as long as alone.

        Args:
            samples_list: Recordings as `enhance` takes them, of any lengths.
            sample_rate: Of all of them, in Hz.
            attenuation_limit_db: As for `enhance`.

        Returns:
            The enhanced recordings in the same order.

        Raises:
            SamplesTypeError: There are no recordings to go through.
            SamplesTypeError, AudioError, ProviderError: As `enhance`, naming the recording by its
                index.
        """
        try:
            iterator = iter(samples_list)
        except TypeError as error:
            raise SamplesTypeError(
                f"samples_list is {type(samples_list).__name__}; give numpy arrays in a list"
            ) from error
        samples_list = list(iterator)  # a generator can be read but once
        for index, samples in enumerate(samples_list):
            with _naming(index):
                _check(samples, sample_rate, attenuation_limit_db)
        enhanced = []
        for index, samples in enumerate(samples_list):
            with _naming(index):
                enhanced.append(self._enhance_channels(samples, sample_rate, attenuation_limit_db))
        return enhanced

    def _enhance_channels(
        self, samples: NDArray[np.floating], sample_rate: float, limit_db: float | None
    ) -> NDArray[np.floating]:
        samples = np.asarray(samples)  # subclasses such as matrices have shapes of their own
        enhanced = np.empty_like(samples)
        columns = (a.reshape(len(samples), -1).T for a in (samples, enhanced))
        with np.errstate(over="ignore", invalid="ignore"):  # found in the result and reported
            for noisy, out in zip(*columns, strict=True):
                out[:] = self._enhance_channel(noisy, sample_rate, limit_db)
        return enhanced

    def _enhance_channel(
        self, samples: NDArray[np.floating], sample_rate: float, limit_db: float | None
    ) -> NDArray[np.float32]:
        if not samples.any():  # silence stays silence, whatever a network makes of it
            return np.zeros(samples.size, np.float32)
        spec = self.spec.stft
        given = np.asarray(samples, np.float32)
        noisy = _resample(given, sample_rate, spec.sample_rate_hz)
        shortest = (self.spec.min_frames - 1) * spec.hop_length
        if noisy.size < shortest:
            noisy = np.pad(noisy, (0, shortest - noisy.size))
        enhanced = self._enhance_at_model_rate(noisy, limit_db)
        enhanced = _resample(enhanced, spec.sample_rate_hz, sample_rate)[: samples.size]
        if limit_db is not None and sample_rate != spec.sample_rate_hz:
            kept = _resample(noisy, spec.sample_rate_hz, sample_rate)[: samples.size]
            enhanced = enhanced + np.float32(lowest_gain(limit_db)) * (given - kept)
        if not np.isfinite(enhanced).all():
            raise AudioError(
                f"samples up to {np.abs(samples).max():.3g} overflow float32; scale them to +-1"
            )
        return enhanced

    def _enhance_at_model_rate(
        self, noisy: NDArray[np.float32], limit_db: float | None
    ) -> NDArray[np.float32]:
        """The chain: transform, mask, multiply, invert; the transform twice, which is cheap."""
        spec = self.spec.stft
        n_frames = spec.n_frames(noisy.size)
        real, imag = np.empty((2, 1, spec.n_freqs, n_frames), np.float32)
        for frames, block in stft_blocks(noisy, spec, n_frames):
            real[0, :, frames], imag[0, :, frames] = block.real, block.imag
        (mask,) = self._model.run(real, imag)  # [2, F, T]
        del real, imag
        return istft(self._masked(noisy, mask, limit_db), spec, noisy.size)

    def _masked(
        self, noisy: NDArray[np.float32], mask: NDArray[np.float32], limit_db: float | None
    ) -> Iterator[NDArray[np.complex64]]:
        """Yield the enhanced spectrum in blocks, with one more frame for the tail: [F, n]."""
        n_frames = mask.shape[-1]
        for frames, block in stft_blocks(noisy, self.spec.stft, n_frames + 1):
            under = np.minimum(np.arange(frames.start, frames.stop), n_frames - 1)
            crm = decompress(mask[..., under], self.spec.mask)  # [F, n]
            if limit_db is not None:
                crm = limit_attenuation(crm, limit_db)
            yield block * crm


@contextmanager
def _naming(index: int) -> Iterator[None]:
    """Say in an error which recording of a batch it is about."""
    try:
        yield
    except FsnpError as error:
        raise type(error)(f"recording {index}: {error}") from error


def _resample(samples: NDArray[np.float32], from_hz: float, to_hz: float) -> NDArray[np.float32]:
    """Resample without a time shift; the end is padded so that a return trip loses no sample."""
    if from_hz == to_hz:
        return samples
    import soxr  # noqa: PLC0415 - not needed at the model's own rate

    padded = np.pad(samples, (0, math.ceil(from_hz / to_hz)))
    resampled: NDArray[np.float32] = soxr.resample(padded, from_hz, to_hz, quality="VHQ")
    return resampled


def _check(samples: object, sample_rate: object, limit_db: float | None) -> None:
    if not isinstance(samples, np.ndarray):
        raise SamplesTypeError(
            f"samples are {type(samples).__name__}; give a numpy array of float32 or float64"
        )
    if samples.dtype.kind != "f" or samples.dtype.itemsize not in (4, 8):
        raise SamplesTypeError(
            f"samples have dtype {samples.dtype}; give float32 or float64 "
            "(16-bit integers: samples / np.float32(32768))"
        )
    if samples.ndim not in (1, 2) or samples.size == 0:
        raise AudioError(
            f"samples have shape {samples.shape}; give [samples] or [samples, channels], not empty"
        )
    if samples.ndim == 2 and samples.shape[1] > _MAX_CHANNELS:
        raise AudioError(
            f"samples have shape {samples.shape}; give [samples, channels], at most "
            f"{_MAX_CHANNELS} channels (samples.T?)"
        )
    if not np.isfinite(samples).all():
        raise AudioError("samples contain NaN or infinite values; remove them first")
    lowest, highest = SAMPLE_RATES_HZ
    if not (_is_number(sample_rate) and lowest <= sample_rate <= highest):  # type: ignore[operator]
        raise AudioError(
            f"sample_rate is {sample_rate!r}; give a number of {lowest} to {highest} Hz"
        )
    if limit_db is not None and not (_is_number(limit_db) and limit_db >= 0):
        raise AudioError(f"attenuation_limit_db is {limit_db!r}; give 0 dB or more, or None")


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
