"""What crosses the file boundary comes back as it was, and damage is named."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest

from fsnp_onnx.errors import ModelFileError
from fsnp_onnx.probes import Probe, SpeechProbe
from fsnp_onnx.spec import ModelSpec, StateSpec, StftSpec

SPEC = ModelSpec(
    StftSpec(48000, 1024, 960, 480),
    min_frames=8,
    mulca="original",
    provenance={"epoch": None, "opset": 18},
    verification=(Probe(8, 1, 1e-7, 2e-5, 120.5), Probe(90, 2, 3e-7, 2e-5, 118.0)),
)
WAVEFORM = replace(
    SPEC, interface="waveform", verification=(Probe(8, 3, 1e-7, 1e-5, 120.5, n_samples=255),)
)
STREAM = replace(
    SPEC,
    interface="stream",
    state=StateSpec("state", "next_state", 4096),
    latency_samples=1440,
    causal=True,
    horizon_frames=125,
)


def test_metadata_comes_back_as_it_was() -> None:
    assert ModelSpec.from_metadata(SPEC.to_metadata()) == SPEC


@pytest.mark.parametrize("spec", [WAVEFORM, STREAM], ids=["waveform", "stream"])
def test_files_of_samples_come_back_as_they_were(spec: ModelSpec) -> None:
    assert ModelSpec.from_metadata(spec.to_metadata()) == spec


def test_any_client_finds_the_tensors() -> None:
    document = json.loads(SPEC.to_metadata())
    assert (document["format"], document["interface"], document["state"]) == (2, "mask", None)
    assert document["inputs"] == [
        {"name": "noisy_real", "shape": ["batch", 513, "frames"]},
        {"name": "noisy_imag", "shape": ["batch", 513, "frames"]},
    ]
    assert document["outputs"] == [{"name": "mask", "shape": ["batch", 2, 513, "frames"]}]


@pytest.mark.parametrize(
    ("spec", "inputs", "outputs"),
    [
        (WAVEFORM, {"noisy": ["batch", "samples"]}, {"enhanced": ["batch", "samples"]}),
        (
            STREAM,
            {"noisy": ["batch", "samples"], "state": ["batch", 4096]},
            {"enhanced": ["batch", "samples"], "next_state": ["batch", 4096]},
        ),
    ],
    ids=["waveform", "stream"],
)
def test_any_client_finds_the_tensors_of_samples(
    spec: ModelSpec, inputs: dict[str, Any], outputs: dict[str, Any]
) -> None:
    document = json.loads(spec.to_metadata())
    assert {tensor["name"]: tensor["shape"] for tensor in document["inputs"]} == inputs
    assert {tensor["name"]: tensor["shape"] for tensor in document["outputs"]} == outputs


@pytest.mark.parametrize(
    ("spec", "change"),
    [
        (SPEC, {"interface": "samples"}),
        (SPEC, {"state": StateSpec("state", "next_state", 8)}),
        (WAVEFORM, {"latency_samples": 512}),
        (WAVEFORM, {"horizon_frames": 125}),
        (WAVEFORM, {"causal": True}),
        (STREAM, {"state": None}),
        (STREAM, {"latency_samples": None}),
        (STREAM, {"latency_samples": 0}),
        (STREAM, {"horizon_frames": None}),
        (STREAM, {"horizon_frames": 0}),
        (STREAM, {"causal": False, "horizon_frames": None}),
    ],
    ids=str,
)
def test_what_does_not_belong_together_is_refused(spec: ModelSpec, change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        replace(spec, **change)


FORMAT_1 = {
    "format": 1,
    "inputs": ["noisy_real", "noisy_imag"],
    "output": "mask",
    "stft": {"sample_rate_hz": 48000, "n_fft": 1024, "win_length": 960, "hop_length": 480},
    "mask": {"k": 10.0, "c": 0.1, "limit": 9.9},
    "min_frames": 8,
    "look_ahead": 2,
    "mulca": "original",
    "network": {},
    "provenance": {"epoch": None, "opset": 18},
    "parity": [
        {"n_frames": 8, "batch": 1, "max_abs_error": 1e-7, "allowed": 2e-5, "snr_db": 120.5},
        {"n_frames": 90, "batch": 2, "max_abs_error": 3e-7, "allowed": 2e-5, "snr_db": 118.0},
    ],
}


def test_a_document_of_format_1_is_read() -> None:
    assert ModelSpec.from_metadata(json.dumps(FORMAT_1)) == SPEC
    quantization = [{"recording": "speech", "snr_db": 40.5, "required_db": 30.0}]
    int8 = FORMAT_1 | {"precision": "int8", "quantization": quantization}
    expected = replace(SPEC, precision="int8", quantization=(SpeechProbe("speech", 40.5, 30.0),))
    assert ModelSpec.from_metadata(json.dumps(int8)) == expected


@pytest.mark.parametrize(
    "damage",
    [
        {"inputs": ["real", "imag"]},
        {"output": None},
        {"parity": 3},
        {"parity": [[]]},
        {"parity": [{}]},
        {"parity": ["n_frames"]},
        {"quantization": 3},
        {"mask": None},
    ],
    ids=str,
)
def test_damage_of_format_1_is_named(damage: dict[str, Any]) -> None:
    with pytest.raises(ModelFileError, match="damaged"):
        ModelSpec.from_metadata(json.dumps(FORMAT_1 | damage))


@pytest.mark.parametrize("version", [3, 0, "1", None, 1.5, True])
def test_another_format_is_refused_by_number(version: Any) -> None:
    text = json.dumps(json.loads(SPEC.to_metadata()) | {"format": version})
    with pytest.raises(ModelFileError, match=rf"has format {version!r}.*reads formats 1 and 2"):
        ModelSpec.from_metadata(text)


@pytest.mark.parametrize("interface", ["samples", None, 3])
def test_an_unknown_interface_is_refused_by_name(interface: Any) -> None:
    text = json.dumps(json.loads(SPEC.to_metadata()) | {"interface": interface})
    message = rf"has interface {interface!r}, this version knows mask, waveform, stream; upgrade fsnp-onnx"
    with pytest.raises(ModelFileError, match=message):
        ModelSpec.from_metadata(text)


@pytest.mark.parametrize("key", ["interface", "stft", "mask", "verification"])
def test_what_a_client_needs_may_not_be_missing(key: str) -> None:
    document = json.loads(SPEC.to_metadata())
    del document[key]
    with pytest.raises(ModelFileError, match=f"damaged.*{key}"):
        ModelSpec.from_metadata(json.dumps(document))


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


@pytest.mark.parametrize(
    "damage",
    [
        {"min_frames": "8"},
        {"min_frames": 0},
        {"min_frames": True},
        {"look_ahead": -1},
        {"look_ahead": 1.5},
        {"mulca": 3},
        {"network": []},
        {"provenance": "none"},
        {"mask": []},
        {"mask": {"c": 0}},
        {"mask": {"c": -0.1}},
        {"mask": {"c": float("inf")}},
        {"mask": {"k": 0}},
        {"mask": {"k": "a"}},
        {"mask": {"k": 10**400}},
        {"mask": {"k": 9.9}},
        {"mask": {"k": 9.900000001}},
        {"mask": {"limit": 0}},
        {"mask": {"limit": float("nan")}},
        {"verification": 3},
        {"verification": {}},
        {"verification": {"n_frames": 8}},
        {"verification": [[]]},
        {"quantization": 3},
        {"quantization": [{"recording": "speech", "snr_db": "40", "min_snr_db": 30.0}]},
        {"verification": [{**asdict(SPEC.verification[0]), "snr_db": "120"}]},
        {"verification": [{**asdict(SPEC.verification[0]), "n_frames": 8.5}]},
        {"verification": [{**asdict(SPEC.verification[0]), "max_abs_error": None}]},
        {"verification": [{**asdict(SPEC.verification[0]), "tolerance": float("nan")}]},
        {"inputs": ["noisy_real", "noisy_imag"]},
        {"inputs": []},
        {"outputs": None},
        {"precision": None},
        {"state": 3},
        {"state": {"input": "state", "output": "next_state"}},
        {"state": {"input": "state", "output": "next_state", "size": 4096.0}},
        {"state": {"input": "state", "output": "next_state", "size": 0}},
        {"causal": 1},
        {"latency_samples": 512},
        {"horizon_frames": "125"},
    ],
    ids=str,
)
def test_wrong_types_and_ranges_are_damage(damage: dict[str, Any]) -> None:
    document = json.loads(SPEC.to_metadata())
    mask = damage.get("mask")
    damage = {"mask": document["mask"] | mask} if isinstance(mask, dict) else damage
    with pytest.raises(ModelFileError, match="damaged") as caught:
        ModelSpec.from_metadata(json.dumps(document | damage))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"format": ' * 100_000])
def test_deep_nesting_is_damage(text: str) -> None:
    with pytest.raises(ModelFileError, match="damaged"):
        ModelSpec.from_metadata(text)


@pytest.mark.parametrize(("win_length", "hop_length"), [(512, 512), (512, 480), (400, 390)])
def test_frames_that_overlap_too_little_are_refused(win_length: int, hop_length: int) -> None:
    with pytest.raises(ValueError, match="overlap too little"):
        StftSpec(16000, 512, win_length, hop_length)


@pytest.mark.parametrize(("win_length", "hop_length"), [(512, 256), (512, 340), (400, 160)])
def test_frames_that_overlap_enough_are_accepted(win_length: int, hop_length: int) -> None:
    assert StftSpec(16000, 512, win_length, hop_length).hop_length == hop_length


@pytest.mark.parametrize(
    ("rate", "n_fft"), [(99, 512), (10_000_001, 512), (16000, 1 << 17), (16000, 10**15)]
)
def test_sizes_out_of_range_are_refused(rate: int, n_fft: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        StftSpec(rate, n_fft, 512, 256)


def test_the_window_is_periodic_hann_in_the_middle_of_the_transform() -> None:
    window = StftSpec(16000, 8, 4, 2).window()
    np.testing.assert_allclose(window, [0, 0, 0, 0.5, 1, 0.5, 0, 0], atol=1e-15)
