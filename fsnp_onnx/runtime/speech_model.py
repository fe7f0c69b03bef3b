"""What every exported file is to `Enhancer`, whatever goes in and out of its graph."""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from fsnp_onnx.spec import ModelSpec


class SpeechModel(Protocol):
    """A file that enhances one channel at its own rate; one module per interface implements it."""

    spec: ModelSpec

    @property
    def provider(self) -> Literal["cpu", "cuda"]:
        """Where the file really runs."""

    def enhance(
        self, noisy: NDArray[np.float32], *, attenuation_limit_db: float | None
    ) -> NDArray[np.float32]:
        """Enhance one channel, float32 [N] at the model's rate, of spec.min_frames frames or more.

        No bin of the spectrum is attenuated by more than the limit in dB; None is no limit.
        """
