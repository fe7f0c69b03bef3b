"""From the network's compressed mask to a complex ratio mask, and how much of the noise it leaves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fsnp_onnx.spec import MaskSpec


def decompress(mask: NDArray[np.float32], spec: MaskSpec) -> NDArray[np.complex64]:
    """Expand a compressed mask, float32 [2, F, T], to complex64 [F, T] (Williamson et al., 2016).

    ``-1/c log((K - m) / (K + m))`` written as ``2/c artanh(m / K)``, which keeps more digits of
    small values, after ``m`` is clamped to the limit.
    """
    scaled = np.clip(mask, -spec.limit, spec.limit)
    scaled /= np.float32(spec.k)
    crm = np.empty(mask.shape[1:], np.complex64)
    crm.real, crm.imag = np.arctanh(scaled, out=scaled)
    crm *= np.float32(2 / spec.c)
    return crm


@dataclass(frozen=True, slots=True)
class Mix:
    """How much of the noisy signal stays in the enhanced one; by itself none.

    Attributes:
        strength: ``s``, 0 to 1; ``1 - s`` of what a mask removes stays.
        attenuation_limit_db: No bin is attenuated by more, 0 dB or more; None for no limit.
    """

    strength: float = 1.0
    attenuation_limit_db: float | None = None

    @property
    def noisy_share(self) -> float:
        """The share of the noisy signal, ``g + (1 - g)(1 - s)``: the gain where a mask is 0.

        ``g`` is the gain that the limit leaves, ``10^(-limit/20)``, without one 0.
        """
        return self._lowest_gain + (1 - self._lowest_gain) * (1 - self.strength)

    def of(self, crm: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """Mix into a mask, complex64 [F, T]: with the share ``k`` it becomes ``k + (1 - k) crm``.

        With a limit, a bin whose gain is still below ``g``, for lack of the same phase, is raised to
        ``g`` and keeps its phase. That is continuous in ``crm`` except at the one point that the mix
        takes to 0, which becomes ``g``.
        """
        share = np.float32(self.noisy_share)
        if share == 0:
            return crm
        mixed: NDArray[np.complex64] = share + (1 - share) * crm
        if self.attenuation_limit_db is not None:
            lowest = np.float32(self._lowest_gain)
            low = np.abs(mixed) < lowest
            mixed[low] = lowest * np.exp(1j * np.angle(mixed[low]))  # the phase of 0 is 0
        return mixed

    def of_samples(
        self, noisy: NDArray[np.float32], enhanced: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Mix the noisy samples, float32 [N], into the enhanced ones, where there is no limit."""
        share = np.float32(self.noisy_share)
        return enhanced if share == 0 else share * noisy + (1 - share) * enhanced

    @property
    def _lowest_gain(self) -> float:
        limit_db = self.attenuation_limit_db
        return 0.0 if limit_db is None else float(10 ** (-limit_db / 20))


FULL = Mix()
