"""A file that takes and returns samples is run as it is; what needs a mask is refused."""

from __future__ import annotations

import json
import pickle
from typing import Any

import numpy as np
import pytest

from fsnp_onnx import Enhancer
from fsnp_onnx.errors import ArgumentError, ModelFileError
from fsnp_onnx.runtime.session import Session
from fsnp_onnx.runtime.waveform_model import WaveformModel
from tests.runtime.models import HALVES, UNITY, WAVEFORM_SPEC, with_metadata
from tests.runtime.signals import noise, tone


@pytest.fixture(scope="module")
def halves() -> Enhancer:
    return Enhancer(HALVES, "cpu")


def test_the_interface_comes_from_the_file(halves: Enhancer) -> None:
    assert halves.spec == WAVEFORM_SPEC
    assert pickle.loads(pickle.dumps(halves)).spec == WAVEFORM_SPEC


@pytest.mark.parametrize("n_samples", [2, 255, 1793, 16001])
def test_samples_go_through_the_file(halves: Enhancer, n_samples: int) -> None:
    samples = noise(n_samples, 2)
    assert np.array_equal(halves.enhance(samples, 16000), samples / 2)


@pytest.mark.parametrize("rate", [8000, 44100])
def test_other_rates_are_resampled_there_and_back(halves: Enhancer, rate: int) -> None:
    samples = tone(rate, rate)
    np.testing.assert_allclose(halves.enhance(samples, rate), samples / 2, rtol=0, atol=1e-4)


def test_rows_of_a_batch_go_through_the_file() -> None:
    batch = noise(500, 3).T
    assert np.array_equal(WaveformModel(Session(HALVES, "cpu")).run(batch), batch / 2)


@pytest.mark.parametrize(
    "options", [{"attenuation_limit_db": 20}, {"channels": "linked"}], ids=lambda o: next(iter(o))
)
def test_what_needs_a_mask_is_refused(halves: Enhancer, options: dict[str, Any]) -> None:
    (argument,) = options
    problem = (
        rf"{argument} is .*halves\.onnx returns samples and no mask; use a file of the interface"
    )
    with pytest.raises(ArgumentError, match=problem):
        halves.enhance(noise(500, 2), 16000, **options)


@pytest.mark.parametrize("rate", [16000, 48000])
def test_strength_mixes_the_samples(halves: Enhancer, rate: int) -> None:
    samples = noise(rate, 2)
    full = halves.enhance(samples, rate)
    mixed = halves.enhance(samples, rate, strength=0.25)
    np.testing.assert_allclose(mixed, 0.75 * samples + 0.25 * full, rtol=0, atol=1e-6)


def test_a_mask_graph_that_claims_to_take_samples_is_refused() -> None:
    model = with_metadata(WAVEFORM_SPEC.to_metadata(), UNITY.read_bytes())
    with pytest.raises(ModelFileError, match=r"noisy_real.*its metadata needs.*'noisy'"):
        Enhancer(model, "cpu")


def test_a_stream_whose_graph_has_no_state_is_refused() -> None:
    document = json.loads(WAVEFORM_SPEC.to_metadata())
    del document["inputs"], document["outputs"]
    document |= {
        "interface": "stream",
        "state": {"input": "state", "output": "next_state", "size": 8},
        "latency_samples": 512,
        "causal": True,
        "horizon_frames": 125,
    }
    with pytest.raises(ModelFileError, match=r"its metadata needs.*'state': \['batch', 8\]"):
        Enhancer(with_metadata(json.dumps(document), HALVES.read_bytes()), "cpu")
