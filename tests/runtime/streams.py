"""Recordings through live streams, in chunks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fsnp_onnx.runtime.stream import Stream

Samples = NDArray[np.float32]


def streamed(stream: Stream, noisy: Samples, sizes: Iterator[int]) -> Samples:
    """Return the output of a stream that gets chunks of these sizes."""
    parts, at = [], 0
    while at < len(noisy):
        size = next(sizes)
        parts.append(stream.process(noisy[at : at + size]))
        at += size
    return np.concatenate([*parts, stream.flush()])


def constant(size: int) -> Iterator[int]:
    while True:
        yield size
