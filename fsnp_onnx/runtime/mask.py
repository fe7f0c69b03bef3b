"""From the network's compressed mask to a complex ratio mask, and how far it may attenuate."""

from __future__ import annotations

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


def limit_attenuation(
    crm: NDArray[np.complex64], attenuation_limit_db: float
) -> NDArray[np.complex64]:
    """Mix the noisy signal into a mask, complex64 [F, T], so that no bin loses more than a limit.

    With ``g = 10^(-limit/20)`` every bin becomes ``g + (1 - g) crm``; one whose gain is still
    below ``g``, for lack of the same phase, is raised to ``g`` and keeps its phase. That is
    continuous in ``crm`` except at the one point that the mix takes to 0, which becomes ``g``.
    """
    floor = np.float32(lowest_gain(attenuation_limit_db))
    limited: NDArray[np.complex64] = floor + (1 - floor) * crm
    low = np.abs(limited) < floor
    limited[low] = floor * np.exp(1j * np.angle(limited[low]))  # the phase of 0 is 0
    return limited


def lowest_gain(attenuation_limit_db: float) -> float:
    """Return the gain that a limit in dB leaves, ``10^(-limit/20)``."""
    return float(10 ** (-attenuation_limit_db / 20))
