"""Noisy speech of any length, from the recordings in this repository."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fsnp_onnx.runtime import decode

ROOT = Path(__file__).parents[1]
FILES = (
    "fsnp_onnx/export/speech.flac",
    "samples/hiss_0db_noisy.flac",
    "samples/hum_5db_noisy.flac",
)


def recordings(files: tuple[str, ...] = FILES) -> list[tuple[NDArray[np.float32], int]]:
    """Return samples, float32 [N], and sample rate in Hz of each file."""
    opened = [decode.read(ROOT / file) for file in files]
    return [(read.samples[:, 0], read.format.sample_rate) for read in opened]


def noisy_speech(seconds: float) -> tuple[NDArray[np.float32], int]:
    """Return the recordings one after another, repeated to a duration.

    Returns:
        float32 [N] and the sample rate in Hz.
    """
    parts = recordings()
    (rate,) = {rate for _, rate in parts}
    joined = np.concatenate([samples for samples, _ in parts])
    return np.resize(joined, round(seconds * rate)), rate
