"""Live speech: noisy samples in as they come, enhanced samples out as soon as they can be known."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsnp_onnx.errors import ArgumentError, AudioError, InstallError
from fsnp_onnx.runtime.arguments import check_array
from fsnp_onnx.spec import SAMPLE_RATES_HZ, ModelSpec

Run = Callable[
    [NDArray[np.float32], NDArray[np.float32]], tuple[NDArray[np.float32], NDArray[np.float32]]
]

HOPS_PER_RUN = 64  # at most: as fast as longer runs, and in little memory

_LOUDEST = 1e9  # full scale is 1; squares of much more would overflow, and stay in the state
_CONVERTER = "sinc_medium"  # of libsamplerate: 6 ms there and back, where soxr's blocks take 70
_MOST_RATIO = 256  # of two rates, for libsamplerate


class Stream:
    """One live recording. `Enhancer.stream` opens it; one thread at a time may use it.

    The output is the input, enhanced and late: `latency_s` at most lies between a sample's arrival
    and its return. Memory is constant, however long the stream is.

    Example:
        >>> import numpy as np
        >>> from fsnp_onnx import Enhancer
        >>> stream = Enhancer("tests/data/delay.onnx").stream(sample_rate=16000)
        >>> noisy = np.zeros(1000, np.float32)
        >>> early, rest = stream.process(noisy), stream.flush()
        >>> early.size, rest.size
        (256, 744)
    """

    def __init__(
        self, run: Run, spec: ModelSpec, sample_rate: float, *, channels: int, strength: float
    ) -> None:
        """Begin a stream with what runs a file; `Enhancer.stream` explains the other arguments."""
        self._run, self._spec, self._rate = run, spec, float(sample_rate)
        self._channels, self._strength = channels, np.float32(strength)
        self._hop, model_rate = spec.stft.hop_length, spec.stft.sample_rate_hz
        self._latency_samples = spec.latency_samples or 0
        self.latency_s = spec.latency_s + _resampling_s(self._rate, model_rate)
        self.reset()

    def process(self, samples: NDArray[np.floating]) -> NDArray[np.float32]:
        """Take the next samples of the input and return the next of the output.

        Args:
            samples: float32 or float64, [N] for one channel, [N, channels] for more; any N, also 0.

        Returns:
            float32 of the same rank, any length. Together with `flush`, as many samples come out
            as went in.

        Raises:
            ArgumentError: The shape or dtype is wrong.
            AudioError: A sample is NaN or beyond +-1e9; the stream has taken none of these samples.
            RunError: The run failed; the stream begins anew.
        """
        noisy = self._checked(samples)
        self._n_in += len(noisy)
        return self._returned(noisy, self._advance(noisy))

    def flush(self) -> NDArray[np.float32]:
        """Return the rest of the output, as if silence followed, and begin anew."""
        missing = self._n_in - self._n_out
        silence = np.zeros((math.ceil(self.latency_s * self._rate) + 1, self._channels), np.float32)
        parts = [np.empty((0, self._channels), np.float32)]
        while sum(map(len, parts)) < missing:
            parts.append(self._advance(silence))
        rest = self._returned(silence[:0], np.concatenate(parts)[:missing])
        self.reset()
        return rest

    def reset(self) -> None:
        """Forget the input so far and begin anew."""
        size = self._spec.state.size if self._spec.state else 0
        self._state = np.zeros((self._channels, size), np.float32)
        self._late = self._latency_samples  # of the model's output are before the recording's first
        self._partial = np.empty((0, self._channels), np.float32)
        self._waiting = np.empty((0, self._channels), np.float32)  # for their enhanced samples
        self._n_in = self._n_out = 0
        self._resample = _resamplers(self._rate, self._spec.stft.sample_rate_hz, self._channels)

    def _checked(self, samples: NDArray[np.floating]) -> NDArray[np.float32]:
        check_array(samples)
        found = np.asarray(samples)
        expected = (found.size // self._channels, self._channels)[: 1 if self._channels == 1 else 2]
        if found.shape != expected:
            shape = "[N]" if self._channels == 1 else f"[N, {self._channels}]"
            problem = f"has shape {found.shape}; this stream takes {shape}"
            raise ArgumentError("samples", problem)
        with np.errstate(over="ignore"):  # reported below
            noisy = found.astype(np.float32).reshape(-1, self._channels)
        good = np.abs(noisy) <= _LOUDEST  # NaN is not
        if not good.all():
            first = int(np.argmin(good))
            place, value = self._n_in + first // self._channels, found.flat[first]
            problem = f"sample {place} is {value:g}; a stream takes finite ones up to {_LOUDEST:g}"
            raise AudioError(f"{problem}; repair it, or scale all to +-1")
        return noisy

    def _advance(self, noisy: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what comes out of the chain, [n, channels], for what goes in."""
        try:
            return self._chained(noisy)
        except BaseException:  # some of these samples are in the chain, and some are lost
            self.reset()
            raise

    def _chained(self, noisy: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._resample is None:
            return self._enhance(noisy)
        to_model, from_model, ratio = self._resample
        there = _resampled(to_model, noisy, ratio)
        return _resampled(from_model, self._enhance(there), 1 / ratio)

    def _enhance(self, noisy: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what the model makes of the whole hops there are, without its latency."""
        noisy = np.concatenate([self._partial, noisy])
        whole = len(noisy) - len(noisy) % self._hop
        self._partial = noisy[whole:].copy()
        parts = [noisy[:0]]
        step = HOPS_PER_RUN * self._hop
        for start in range(0, whole, step):
            piece = noisy[start : min(start + step, whole)]
            enhanced, self._state = self._run(piece.T, self._state)
            parts.append(enhanced.T[self._late :])
            self._late = max(0, self._late - len(piece))
        return np.concatenate(parts)

    def _returned(
        self, noisy: NDArray[np.float32], enhanced: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Mix the input in by the strength and count what is returned."""
        if self._strength != 1:
            waiting = np.concatenate([self._waiting, noisy])
            given, self._waiting = waiting[: len(enhanced)], waiting[len(enhanced) :].copy()
            enhanced = given + self._strength * (enhanced - given)
        self._n_out += len(enhanced)
        return enhanced[:, 0] if self._channels == 1 else enhanced


def _resamplers(rate: float, model_rate: int, channels: int) -> tuple[Any, Any, float] | None:
    if rate == model_rate:
        return None
    if not 1 / _MOST_RATIO <= rate / model_rate <= _MOST_RATIO:
        lowest = max(model_rate / _MOST_RATIO, SAMPLE_RATES_HZ[0])
        problem = f"is {rate:.9g}; a stream takes {lowest:g} to {model_rate * _MOST_RATIO} Hz"
        raise ArgumentError("sample_rate", problem)
    try:
        import samplerate  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise InstallError(
            f"a stream at {rate:g} Hz needs a resampler ({error}); run pip install 'fsnp-onnx[live]', "
            f"or stream at the model's {model_rate} Hz"
        ) from error
    to_model, from_model = (samplerate.Resampler(_CONVERTER, channels) for _ in range(2))
    return to_model, from_model, model_rate / rate


def _resampled(resampler: Any, samples: NDArray[np.float32], ratio: float) -> NDArray[np.float32]:
    """Return what is ready of samples [n, channels] at the other rate.

    The package has room for ceil(n ratio) samples. Where n ratio is whole, rounding can make one more
    ready; the package then drops what it has not read. Two parts that are not whole leave room.
    """
    due = len(samples) * ratio
    parts = [samples[:1], samples[1:]] if abs(due - round(due)) < 1e-6 else [samples]
    return np.concatenate([resampler.process(part, ratio) for part in parts])


@lru_cache
def _resampling_s(rate: float, model_rate: int) -> float:
    """Return how late two resamplers are, measured from their start on."""
    resamplers = _resamplers(rate, model_rate, 1)
    if resamplers is None:
        return 0.0
    to_model, from_model, ratio = resamplers
    step = max(1, round(rate / 1000))
    n_in = n_out = late = 0
    while n_in < max(rate / 10, 3 * late):
        there = _resampled(to_model, np.zeros((step, 1), np.float32), ratio)
        n_in, n_out = n_in + step, n_out + len(_resampled(from_model, there, 1 / ratio))
        late = max(late, n_in - n_out)
    return late / rate
