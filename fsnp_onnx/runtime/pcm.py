"""Raw samples of a stream, interleaved: bytes to float32 and back."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

SampleFormat = Literal["s16le", "f32le"]
_DTYPES: Final[dict[SampleFormat, str]] = {"s16le": "<i2", "f32le": "<f4"}

_FULL_SCALE: Final = 32768


def frame_bytes(sample_format: SampleFormat, channels: int) -> int:
    """Return the bytes of one sample of all channels."""
    return channels * np.dtype(_DTYPES[sample_format]).itemsize


def decoded(data: bytes, sample_format: SampleFormat, channels: int) -> NDArray[np.float32]:
    """Return samples, float32 [N] for one channel, else [N, channels], integers scaled to +-1.

    The bytes are whole samples of all channels.
    """
    samples = np.frombuffer(data, _DTYPES[sample_format]).astype(np.float32)
    if sample_format == "s16le":
        samples /= _FULL_SCALE
    return samples if channels == 1 else samples.reshape(-1, channels)


def encoded(samples: NDArray[np.float32], sample_format: SampleFormat) -> bytes:
    """Return the bytes of samples; integers are rounded, and clipped to full scale."""
    if sample_format == "s16le":
        samples = np.clip(np.rint(samples * _FULL_SCALE), -_FULL_SCALE, _FULL_SCALE - 1)
    return samples.astype(_DTYPES[sample_format]).tobytes()
