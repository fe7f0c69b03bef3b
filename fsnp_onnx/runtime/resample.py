"""Whole recordings at another sample rate."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def resample(samples: NDArray[np.float32], from_hz: float, to_hz: float) -> NDArray[np.float32]:
    """Resample without a time shift; the end is padded so that a return trip loses no sample."""
    if from_hz == to_hz:
        return samples
    import soxr  # noqa: PLC0415 - not needed at the model's own rate

    padded = np.pad(samples, (0, math.ceil(from_hz / to_hz)))
    resampled: NDArray[np.float32] = soxr.resample(padded, from_hz, to_hz, quality="VHQ")
    return resampled
