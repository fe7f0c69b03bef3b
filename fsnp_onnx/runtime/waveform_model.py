"""Files of the interface "waveform": noisy samples in, enhanced samples out."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fsnp_onnx.errors import ArgumentError
from fsnp_onnx.runtime.mask import FULL, NO_MASK, Mix
from fsnp_onnx.runtime.session import Session
from fsnp_onnx.runtime.speech_model import Enhance
from fsnp_onnx.spec import NOISY


class WaveformModel:
    """An exported file that maps noisy samples to enhanced ones.

    Safe to use from many threads; can be pickled and survives a fork.
    """

    def __init__(self, session: Session) -> None:
        """Take an opened file."""
        self._session = session
        self.spec = session.spec

    @property
    def provider(self) -> Literal["cpu", "cuda"]:
        """Where the file really runs."""
        return self._session.provider

    def run(self, noisy: NDArray[np.float32]) -> NDArray[np.float32]:
        """Enhance float32 [B, N], row by row; N is 1 or more."""
        (enhanced,) = self._session.run({NOISY: noisy})
        return enhanced

    def enhance(self, noisy: NDArray[np.float32], mix: Mix = FULL) -> NDArray[np.float32]:
        """Enhance one channel, as `SpeechModel` says."""
        mix.require_no_limit(self._session.name)
        (enhanced,) = self.run(noisy[None])
        return mix.of_samples(noisy, enhanced)

    def linked(self, guide: NDArray[np.float32], mix: Mix = FULL) -> Enhance:  # noqa: ARG002
        """Raise ArgumentError, as there is no mask."""
        raise ArgumentError("channels", f"is 'linked', but {NO_MASK.format(self._session.name)}")
