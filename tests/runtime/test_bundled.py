"""The bundled models by name."""

from pathlib import Path
from typing import Any

import pytest

from fsnp_onnx import ArgumentError, Enhancer, ModelFileError
from fsnp_onnx.runtime.bundled import MODELS, NAMES, model_path
from fsnp_onnx.runtime.open_model import open_model


@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_model_opens_by_its_name(name: str) -> None:
    assert Enhancer(name, "cpu").spec == open_model(MODELS / f"{name}.onnx", "cpu").spec


def test_a_path_is_never_taken_for_a_name() -> None:
    assert model_path("./live") == model_path(Path("live")) == Path("live")


@pytest.mark.parametrize(
    ("model", "problem"),
    [("", "is an empty name; is a variable not set"), (5, "is int; give the path")],
)
def test_what_names_no_model_is_reported(model: Any, problem: str) -> None:
    with pytest.raises(ArgumentError, match=f"model {problem}"):
        Enhancer(model)


def test_the_default_model_and_its_waveform_file_hold_one_network() -> None:
    mask, waveform = (
        open_model(MODELS / f"{name}.onnx", "cpu").spec for name in ("default", "default-waveform")
    )
    assert (mask.interface, waveform.interface) == ("mask", "waveform")
    assert mask.provenance["checkpoint"] == waveform.provenance["checkpoint"]


def test_the_live_model_streams_with_at_most_64_ms_of_latency() -> None:
    assert Enhancer("live", "cpu").stream(16_000).latency_s <= 0.064


def test_the_default_model_cannot_stream_and_names_the_one_that_can() -> None:
    with pytest.raises(ModelFileError, match=r"default\.onnx has .*; use the bundled model 'live'"):
        Enhancer(provider="cpu").stream(16_000)
