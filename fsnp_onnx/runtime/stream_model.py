"""Files of the interface "stream": hops of samples and a state in, samples and the next state out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fsnp_onnx.runtime.mask import FULL, Mix
from fsnp_onnx.runtime.speech_model import SpeechModel
from fsnp_onnx.spec import StateSpec

HOPS_PER_RUN = 64  # at most: as fast as longer runs, and in little memory


class StreamModel(SpeechModel):
    """An exported file that enhances hop by hop."""

    def first_state(self, batch: int) -> NDArray[np.float32]:
        """Return the state before the first hop, zeros [batch, S]."""
        return np.zeros((batch, self._state.size), np.float32)

    def run(
        self, noisy: NDArray[np.float32], state: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Enhance whole hops, float32 [B, N], and return them, late by the latency, and the next state."""
        noisy_input, _ = self.spec.inputs
        enhanced, next_state = self._session.run(
            {noisy_input.name: noisy, self._state.input: state}
        )
        return enhanced, next_state

    def enhance(self, noisy: NDArray[np.float32], mix: Mix = FULL) -> NDArray[np.float32]:
        """Enhance one channel, as `SpeechModel` says: the recording, then silence for the latency."""
        mix.require_no_limit(self._session.name)
        step, late = HOPS_PER_RUN * self.spec.stft.hop_length, self.spec.latency_samples or 0
        enhanced, state = np.empty(noisy.size, np.float32), self.first_state(1)
        for start in range(0, noisy.size + late, step):
            block = np.zeros((1, step), np.float32)
            part = noisy[start : start + step]
            block[0, : part.size] = part
            (out,), state = self.run(block, state)
            at = start - late
            kept = out[max(0, -at) :][: max(0, noisy.size - max(0, at))]
            enhanced[max(0, at) :][: kept.size] = kept
        return mix.of_samples(noisy, enhanced)

    @property
    def _state(self) -> StateSpec:
        assert self.spec.state
        return self.spec.state
