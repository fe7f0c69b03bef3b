"""Raw samples of a stream, interleaved: bytes to float32 and back."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

SampleFormat = Literal["s16le", "f32le"]
DTYPES: Final[dict[SampleFormat, str]] = {"s16le": "<i2", "f32le": "<f4"}

_FULL_SCALE: Final = 32768


def decoded(data: bytes, sample_format: SampleFormat, channels: int) -> NDArray[np.float32]:
    """Return samples, float32 [N] for one channel, else [N, channels], integers scaled to +-1.

    Raises:
        ValueError: The bytes are not whole samples of all channels.
    """
    frame_bytes = channels * np.dtype(DTYPES[sample_format]).itemsize
    if len(data) % frame_bytes:
        raise ValueError(
            f"a message has {len(data)} bytes; {sample_format} with {channels} channels needs a "
            f"multiple of {frame_bytes}"
        )
    samples = np.frombuffer(data, DTYPES[sample_format]).astype(np.float32)
    if sample_format == "s16le":
        samples /= _FULL_SCALE
    return samples if channels == 1 else samples.reshape(-1, channels)


def encoded(samples: NDArray[np.float32], sample_format: SampleFormat) -> bytes:
    """Return the bytes of samples; integers are rounded, and clipped to full scale."""
    if sample_format == "s16le":
        samples = np.clip(np.rint(samples * _FULL_SCALE), -_FULL_SCALE, _FULL_SCALE - 1)
    return samples.astype(DTYPES[sample_format]).tobytes()
