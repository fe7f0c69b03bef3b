"""Noisy speech to verify with, and the measure of a difference: signal-to-noise ratio in dB."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from fsnp_onnx.runtime import decode


def noisy_speech(sample_rate_hz: int) -> NDArray[np.float32]:
    """Return seven seconds of read speech over a printer at 3 dB, float32 [N]."""
    read = decode.read(Path(__file__).with_name("speech.flac"))
    samples, stored = read.samples, read.format
    speech: NDArray[np.float32] = soxr.resample(samples[:, 0], stored.sample_rate, sample_rate_hz)
    return speech


def recordings(sample_rate_hz: int) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield name and samples of noisy speech: as it is, quieter, and with more noise."""
    speech = noisy_speech(sample_rate_hz)
    yield "speech over a printer, 3 dB", speech
    yield "speech over a printer, 30 dB quieter", speech * np.float32(10 ** (-30 / 20))
    hiss = np.random.default_rng(0).standard_normal(speech.size).astype(np.float32)
    hiss *= np.sqrt(np.mean(np.square(speech)))
    yield "speech over a printer in white noise, 0 dB", speech + hiss


def snr_db(signal: NDArray[np.floating], error: NDArray[np.floating]) -> float:
    """Return the energy of a signal over that of an error, in dB, finite for zeros."""
    tiny = np.finfo(np.float64).tiny
    levels = [np.log10(max(np.square(a, dtype=np.float64).sum(), tiny)) for a in (signal, error)]
    return float(10 * (levels[0] - levels[1]))
