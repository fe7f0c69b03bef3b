"""What every exported file is to `Enhancer`, whatever goes in and out of its graph."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fsnp_onnx.errors import ArgumentError
from fsnp_onnx.runtime.arguments import SignalOptions
from fsnp_onnx.runtime.mask import FULL, Mix
from fsnp_onnx.runtime.session import Session


class SpeechModel(ABC):
    """A file that enhances one channel at its own rate; one module per interface implements it.

    Safe to use from many threads; can be pickled and survives a fork.
    """

    def __init__(self, session: Session) -> None:
        """Take an opened file."""
        self._session = session
        self.spec, self.name = session.spec, session.name

    @property
    def provider(self) -> Literal["cpu", "cuda"]:
        """Where the file really runs."""
        return self._session.provider

    @abstractmethod
    def enhance(self, noisy: NDArray[np.float32], mix: Mix = FULL) -> NDArray[np.float32]:
        """Enhance one channel, float32 [N] at the model's rate, of spec.min_frames frames or more.

        The mix says how much of the noisy signal stays.
        """

    def check(self, signal: SignalOptions) -> None:
        """Raise ArgumentError about an option that needs a mask: most files return samples only."""
        problem = f"but {self.name} returns samples and no mask; use a file of the interface mask"
        limit_db = signal["attenuation_limit_db"]
        if limit_db is not None:
            raise ArgumentError("attenuation_limit_db", f"is {limit_db:g}, {problem}")
        if signal["channels"] == "linked":
            raise ArgumentError("channels", f"is 'linked', {problem}")
