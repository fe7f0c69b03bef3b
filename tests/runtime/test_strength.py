"""Strength: from the input, bit for bit, to all that the model removes, in a straight line."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsnp_onnx import Enhancer
from tests.runtime.models import UNITY, WAVY, with_mask
from tests.runtime.signals import noise, tone

RATES = [8000, 16000, 22050, 44100, 48000]


@pytest.fixture(scope="module")
def wavy() -> Enhancer:
    return Enhancer(WAVY, "cpu")


@pytest.fixture(scope="module")
def nothing() -> Enhancer:
    """A network that takes everything for noise."""
    return Enhancer(with_mask(0.0), "cpu")


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    samples=st.sampled_from([noise(1), noise(2, 2), noise(5999), noise(6000, 2)]),
    dtype=st.sampled_from([np.float32, np.float64]),
    rate=st.sampled_from(RATES),
    attenuation_limit_db=st.none() | st.floats(0, 40),
    channels=st.sampled_from(["each", "linked"]),
)
def test_strength_0_returns_the_input_bit_for_bit(
    wavy: Enhancer, samples: Any, dtype: Any, rate: int, **options: Any
) -> None:
    samples = (samples / 3).astype(dtype)
    enhanced = wavy.enhance(samples, rate, strength=0, **options)
    assert enhanced.tobytes() == samples.tobytes()
    assert (enhanced.dtype, enhanced.shape) == (samples.dtype, samples.shape)
    assert not np.shares_memory(enhanced, samples)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(n_samples=st.integers(1, 9000), rate=st.sampled_from(RATES), strength=st.floats(0, 1))
def test_strength_is_a_straight_line_from_the_input_to_the_full_effect(
    wavy: Enhancer, n_samples: int, rate: int, strength: float
) -> None:
    samples = noise(n_samples)
    full = wavy.enhance(samples, rate).astype(np.float64)
    wanted = (1 - strength) * samples + strength * full
    found = wavy.enhance(samples, rate, strength=strength)
    peak = max(np.abs(samples).max(), np.abs(full).max())
    roundings = (
        16 * np.finfo(np.float32).eps
    )  # of two transforms and two resamplings, by their peak
    np.testing.assert_allclose(found, wanted, rtol=0, atol=roundings * peak)


@pytest.mark.parametrize("limit_db", [None, 12.0])
@pytest.mark.parametrize("rate", RATES)
def test_strength_1_is_the_full_effect_bit_for_bit(
    wavy: Enhancer, rate: int, limit_db: float | None
) -> None:
    samples = noise(7000, 2)
    full = wavy.enhance(samples, rate, attenuation_limit_db=limit_db)
    found = wavy.enhance(samples, rate, attenuation_limit_db=limit_db, strength=1)
    assert found.tobytes() == full.tobytes()


@pytest.mark.parametrize("strength", [0.25, 0.75, 1.0])
def test_what_lies_above_the_models_band_is_kept_as_far_as_the_strength_keeps_it(
    strength: float,
) -> None:
    samples = tone(48000, 48000, frequency_hz=12000)
    enhanced = Enhancer(UNITY, "cpu").enhance(samples, 48000, strength=strength)
    np.testing.assert_allclose(enhanced, (1 - strength) * samples, rtol=0, atol=1e-4)


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("strength", [0.25, 0.99, 1.0])
@pytest.mark.parametrize("limit_db", [6, 20])
def test_the_limit_holds_for_every_bin_at_any_strength_and_rate(
    nothing: Enhancer, rate: int, strength: float, limit_db: float
) -> None:
    samples, lowest = noise(rate), 10 ** (-limit_db / 20)
    found = nothing.enhance(samples, rate, strength=strength, attenuation_limit_db=limit_db)
    gain = lowest + (1 - lowest) * (1 - strength)
    assert gain >= lowest
    np.testing.assert_allclose(found, gain * samples, rtol=0, atol=2e-5)


@pytest.mark.parametrize("rate", [16000, 44100])
def test_silence_stays_silence_at_any_strength(rate: int) -> None:
    loudly_wrong = Enhancer(with_mask(np.nan), "cpu")
    assert not loudly_wrong.enhance(np.zeros(5000, np.float32), rate, strength=0.5).any()
