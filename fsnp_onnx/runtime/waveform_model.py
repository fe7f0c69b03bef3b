"""Files of the interface "waveform": noisy samples in, enhanced samples out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fsnp_onnx.runtime.mask import FULL, Mix
from fsnp_onnx.runtime.speech_model import SpeechModel
from fsnp_onnx.spec import NOISY


class WaveformModel(SpeechModel):
    """An exported file that maps noisy samples to enhanced ones."""

    def run(self, noisy: NDArray[np.float32]) -> NDArray[np.float32]:
        """Enhance float32 [B, N], row by row; N is 1 or more."""
        (enhanced,) = self._session.run({NOISY: noisy})
        return enhanced

    def enhance(self, noisy: NDArray[np.float32], mix: Mix = FULL) -> NDArray[np.float32]:
        """Enhance one channel, as `SpeechModel` says."""
        (enhanced,) = self.run(noisy[None])
        return mix.of_samples(noisy, enhanced)
