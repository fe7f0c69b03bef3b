"""What every exported file is to `Enhancer`, whatever goes in and out of its graph."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fsnp_onnx.errors import ArgumentError
from fsnp_onnx.runtime.mask import FULL, NO_MASK, Mix
from fsnp_onnx.runtime.session import Session

Enhance = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class SpeechModel(ABC):
    """A file that enhances one channel at its own rate; one module per interface implements it.

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

    @abstractmethod
    def enhance(self, noisy: NDArray[np.float32], mix: Mix = FULL) -> NDArray[np.float32]:
        """Enhance one channel, float32 [N] at the model's rate, of spec.min_frames frames or more.

        The mix says how much of the noisy signal stays.
        """

    def linked(self, guide: NDArray[np.float32], mix: Mix = FULL) -> Enhance:  # noqa: ARG002
        """Return what does to any channel, float32 [N], what `enhance` does to the guide, [N] as well.

        A file that returns samples shows no mask: it raises ArgumentError about ``channels``.
        """
        raise ArgumentError("channels", f"is 'linked', but {NO_MASK.format(self._session.name)}")
