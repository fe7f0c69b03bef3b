"""Sound files that libsndfile does not read, through PyAV."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from fsnp_onnx.errors import AudioError

if TYPE_CHECKING:
    from fsnp_onnx.runtime.decode import Recording


def decode_with_av(file: BinaryIO, name: str) -> Recording:  # noqa: ARG001 - another part brings it
    """Decode the first audio stream."""
    raise AudioError(f"{name} cannot be decoded")
