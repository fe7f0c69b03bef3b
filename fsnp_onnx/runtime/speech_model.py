"""What every exported file is to `Enhancer`, whatever goes in and out of its graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from fsnp_onnx.runtime.mask import FULL, Mix
from fsnp_onnx.spec import ModelSpec

Enhance = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class SpeechModel(Protocol):
    """A file that enhances one channel at its own rate; one module per interface implements it."""

    spec: ModelSpec

    @property
    def provider(self) -> Literal["cpu", "cuda"]:
        """Where the file really runs."""

    def enhance(self, noisy: NDArray[np.float32], mix: Mix = FULL) -> NDArray[np.float32]:
        """Enhance one channel, float32 [N] at the model's rate, of spec.min_frames frames or more.

        The mix says how much of the noisy signal stays.
        """

    def linked(self, guide: NDArray[np.float32], mix: Mix = FULL) -> Enhance:
        """Return what does to any channel, float32 [N], what `enhance` does to the guide, [N] as well.

        A file that returns samples shows no mask: its class raises ArgumentError about ``channels``.
        """
