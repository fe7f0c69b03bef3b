"""Models in miniature, as files and as bytes changed without onnx; tests/data/make_models.py makes the files."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

from fsnp_onnx.spec import METADATA_KEY, ModelSpec, StateSpec, StftSpec

DATA = Path(__file__).parents[1] / "data"
UNITY = DATA / "unity.onnx"  # its mask changes nothing
WAVY = DATA / "wavy.onnx"  # its mask differs from bin to bin and frame to frame, whatever comes in
FROZEN = DATA / "frozen.onnx"  # unity for 100 frames, no more, no less
DELAY = DATA / "delay.onnx"  # a stream: what comes in, half as loud and two hops later
HALVES = DATA / "halves.onnx"  # a file of the interface "waveform": every sample is halved

SPEC = ModelSpec(
    StftSpec(),
    min_frames=8,
    look_ahead=2,
    provenance={"exporter": "tests/data/make_models.py", "opset": 17},
)
DELAY_SPEC = ModelSpec(
    StftSpec(),
    interface="stream",
    state=StateSpec("state", "next_state", 512),
    latency_samples=512,
    causal=True,
    horizon_frames=125,
    look_ahead=1,
    provenance={"exporter": "tests/data/make_models.py", "opset": 17},
)
WAVEFORM_SPEC = replace(SPEC, interface="waveform")
ONE = 10.0 * 0.04995837495787998  # K tanh(c / 2), which decompresses to 1


def with_mask(value: float) -> bytes:
    """Return unity with another real part of its mask, the same in every bin."""
    one, other = struct.pack("<f", ONE), struct.pack("<f", value)
    model = UNITY.read_bytes()
    assert model.count(one) == 1
    return model.replace(one, other)


def with_metadata(text: str | None, model: bytes | None = None) -> bytes:
    """Return a model, by default unity, with another metadata text or with none.

    An entry is appended, as protobuf allows; the one that is there gets a name that nobody reads.
    """
    model = UNITY.read_bytes() if model is None else model
    key = METADATA_KEY.encode()
    anonymous = model.replace(_field(1, key), _field(1, b"elsewhere"))
    assert anonymous != model
    if text is None:
        return anonymous
    return anonymous + _field(14, _field(1, key) + _field(2, text.encode()))


def _field(number: int, content: bytes) -> bytes:
    """Return a field of protobuf that has a length."""
    size, varint = len(content), []
    while size > 0x7F:
        varint.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([number << 3 | 2, *varint, size]) + content
