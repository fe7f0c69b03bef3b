"""What crosses the file boundary comes back as it was, and damage is named."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from fsnp_onnx.errors import ModelFileError
from fsnp_onnx.spec import ModelSpec, Probe, StftSpec

SPEC = ModelSpec(
    StftSpec(48000, 1024, 960, 480),
    min_frames=8,
    mulca="original",
    provenance={"epoch": None, "opset": 18},
    parity=(Probe(8, 1, 1e-7, 2e-5, 120.5), Probe(90, 2, 3e-7, 2e-5, 118.0)),
)


def test_metadata_comes_back_as_it_was() -> None:
    assert ModelSpec.from_metadata(SPEC.to_metadata()) == SPEC


def test_a_stranger_finds_the_names_of_the_tensors() -> None:
    document = json.loads(SPEC.to_metadata())
    assert document["format"] == 1
    assert document["inputs"] == ["noisy_real", "noisy_imag"]
    assert document["output"] == "mask"


@pytest.mark.parametrize("version", [2, 0, "1", None, 1.5])
def test_another_format_is_refused_by_number(version: Any) -> None:
    text = json.dumps(json.loads(SPEC.to_metadata()) | {"format": version})
    with pytest.raises(ModelFileError, match="reads format 1"):
        ModelSpec.from_metadata(text)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"stft": {}}'])
def test_other_text_is_damage(text: str) -> None:
    with pytest.raises(ModelFileError):
        ModelSpec.from_metadata(text)


@pytest.mark.parametrize(
    "stft",
    [{}, {"hop_length": 0}, {"hop_length": 2048}, {"n_fft": "512"}, {"surprise": 1}, None, 3],
    ids=str,
)
def test_a_damaged_transform_is_refused(stft: Any) -> None:
    document = json.loads(SPEC.to_metadata())
    document["stft"] = document["stft"] | stft if isinstance(stft, dict) and stft else stft
    if stft == {}:
        del document["stft"]
    with pytest.raises(ModelFileError, match="damaged"):
        ModelSpec.from_metadata(json.dumps(document))


def test_the_window_is_periodic_hann_in_the_middle_of_the_transform() -> None:
    window = StftSpec(16000, 8, 4, 2).window()
    np.testing.assert_allclose(window, [0, 0, 0, 0.5, 1, 0.5, 0, 0], atol=1e-15)
