"""Signals that the tests listen to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def noise(n_samples: int, channels: int | None = None, seed: int = 0) -> NDArray[np.float32]:
    """Return white noise at -20 dB, [N] or [N, channels]."""
    shape = (n_samples,) if channels is None else (n_samples, channels)
    return (0.1 * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def tone(n_samples: int, sample_rate: float, frequency_hz: float = 440.0) -> NDArray[np.float32]:
    """Return a sine of amplitude 0.3 that fades in and out."""
    time_s = np.arange(n_samples) / sample_rate
    fade = np.hanning(n_samples)
    return (0.3 * fade * np.sin(2 * np.pi * frequency_hz * time_s)).astype(np.float32)
