"""Files of the interface "stream": hops of samples and a state in, samples and the next state out."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from fsnp_onnx.runtime.mask import FULL, Mix
from fsnp_onnx.runtime.speech_model import SpeechModel
from fsnp_onnx.runtime.stream import HOPS_PER_RUN, Stream


class StreamModel(SpeechModel):
    """An exported file that enhances hop by hop."""

    def run(
        self, noisy: NDArray[np.float32], state: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Enhance whole hops, float32 [B, N], and return them, late by the latency, and the next state."""
        names = (tensor.name for tensor in self.spec.inputs)
        enhanced, next_state = self._session.run(dict(zip(names, (noisy, state), strict=True)))
        return enhanced, next_state

    def stream(
        self, sample_rate: float | None = None, channels: int = 1, strength: float = 1.0
    ) -> Stream:
        """Begin a stream, by default at the model's rate; `Enhancer.stream` explains the arguments."""
        rate = self.spec.stft.sample_rate_hz if sample_rate is None else sample_rate
        return Stream(self.run, self.spec, rate, channels=channels, strength=strength)

    def enhance(self, noisy: NDArray[np.float32], mix: Mix = FULL) -> NDArray[np.float32]:
        """Enhance one channel, as `SpeechModel` says: as a stream, in pieces that bound the memory."""
        stream, enhanced = self.stream(strength=mix.strength), np.empty_like(noisy)
        step, n_done = HOPS_PER_RUN * self.spec.stft.hop_length, 0
        for start in range(0, noisy.size, step):
            part = stream.process(noisy[start : start + step])
            enhanced[n_done : n_done + part.size] = part
            n_done += part.size
        enhanced[n_done:] = stream.flush()
        return enhanced

    def time_hops(self, noisy: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the seconds that each whole hop of live samples, float32 [N], takes."""
        stream, hop = self.stream(), self.spec.stft.hop_length
        started = [time.perf_counter()]
        for start in range(0, noisy.size - hop + 1, hop):
            stream.process(noisy[start : start + hop])
            started.append(time.perf_counter())
        return np.diff(started)
