"""Samples in, samples out: same shape, type, rate, length and level, for any input."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsnp_onnx import Enhancer
from fsnp_onnx.errors import ArgumentError, ArgumentTypeError, AudioError
from tests.runtime.models import SPEC, UNITY, WAVY, with_mask
from tests.runtime.signals import noise, tone

LENGTHS = (1, 2, 255, 256, 257, 511, 512, 1791, 1792, 1793, 2047, 2048, 2049, 16000, 16127, 16128)


@pytest.fixture(scope="module")
def unity() -> Enhancer:
    return Enhancer(UNITY, "cpu")


@pytest.fixture(scope="module")
def wavy() -> Enhancer:
    return Enhancer(WAVY, "cpu")


@pytest.fixture(scope="module")
def nothing() -> Enhancer:
    """A network that takes everything for noise."""
    return Enhancer(with_mask(0.0), "cpu")


@pytest.fixture(scope="module")
def loudly_wrong() -> Enhancer:
    """A network that makes noise of silence."""
    return Enhancer(with_mask(np.nan), "cpu")


@pytest.mark.parametrize("n_samples", LENGTHS)
def test_unity_mask_returns_the_input(unity: Enhancer, n_samples: int) -> None:
    samples = noise(n_samples)
    enhanced = unity.enhance(samples, 16000)
    assert enhanced.shape == samples.shape
    np.testing.assert_allclose(enhanced, samples, rtol=0, atol=1e-6)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    n_samples=st.integers(1, 6000),
    channels=st.sampled_from([None, 1, 2, 3]),
    dtype=st.sampled_from([np.float32, np.float64]),
    rate=st.sampled_from([16000, 8000, 22050, 44100, 48000]) | st.floats(2000, 200_000),
)
def test_shape_and_type_are_kept(
    unity: Enhancer, n_samples: int, channels: int | None, dtype: Any, rate: float
) -> None:
    samples = noise(max(n_samples, channels or 1), channels).astype(dtype)
    before = samples.copy()
    enhanced = unity.enhance(samples, rate)
    assert enhanced.shape == samples.shape
    assert enhanced.dtype == samples.dtype
    assert np.isfinite(enhanced).all()
    assert np.array_equal(samples, before)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 32000, 44100, 48000, 96000, 192000])
@pytest.mark.parametrize("n_hops", [10, 37.77])
def test_other_rates_neither_shift_nor_scale(unity: Enhancer, rate: int, n_hops: float) -> None:
    samples = tone(int(n_hops * 256 * rate / 16000), rate)
    np.testing.assert_allclose(unity.enhance(samples, rate), samples, rtol=0, atol=1e-4)


def test_what_lies_above_the_models_band_is_removed(unity: Enhancer) -> None:
    enhanced = unity.enhance(tone(48000, 48000, frequency_hz=12000), 48000)
    assert np.abs(enhanced).max() < 1e-4


@pytest.mark.parametrize("level", [1e-6, 1.0, 40.0])
def test_level_is_kept_and_never_clipped(unity: Enhancer, level: float) -> None:
    samples = np.float32(level) * tone(8000, 16000)
    np.testing.assert_allclose(unity.enhance(samples, 16000), samples, rtol=0, atol=level * 1e-6)


def test_channels_are_enhanced_by_themselves(wavy: Enhancer) -> None:
    samples = noise(7000, 3)
    together = wavy.enhance(samples, 16000)
    for channel in range(3):
        alone = wavy.enhance(samples[:, channel], 16000)
        assert np.array_equal(together[:, channel], alone)


@pytest.mark.parametrize("shape", [(1,), (5000,), (5000, 2)])
@pytest.mark.parametrize("rate", [16000, 44100])
def test_silence_stays_silence_whatever_the_network_says(
    loudly_wrong: Enhancer, shape: tuple[int, ...], rate: int
) -> None:
    assert not loudly_wrong.enhance(np.zeros(shape, np.float32), rate).any()


def test_attenuation_limit_keeps_what_a_mask_would_remove(nothing: Enhancer) -> None:
    samples = noise(8000)
    assert np.abs(nothing.enhance(samples, 16000)).max() < 1e-7
    limited = nothing.enhance(samples, 16000, attenuation_limit_db=20)
    np.testing.assert_allclose(limited, samples / 10, rtol=0, atol=1e-6)


def test_attenuation_limit_holds_above_the_models_band(unity: Enhancer) -> None:
    samples = tone(48000, 48000, frequency_hz=12000)
    limited = unity.enhance(samples, 48000, attenuation_limit_db=20)
    np.testing.assert_allclose(limited, samples / 10, rtol=0, atol=1e-4)


@pytest.mark.parametrize("rate", [8000, 44100, 48000])
def test_attenuation_limit_holds_for_every_bin_of_other_rates(nothing: Enhancer, rate: int) -> None:
    samples = noise(rate)
    limited = nothing.enhance(samples, rate, attenuation_limit_db=20)
    np.testing.assert_allclose(limited, samples / 10, rtol=0, atol=2e-5)


def test_a_limit_of_0_db_returns_the_input_at_any_rate(wavy: Enhancer) -> None:
    samples = noise(44100)
    limited = wavy.enhance(samples, 44100, attenuation_limit_db=0)
    np.testing.assert_allclose(limited, samples, rtol=0, atol=2e-6)


@pytest.mark.parametrize("rate", [100, 10_000_000])
def test_the_extreme_rates_are_enhanced(unity: Enhancer, rate: int) -> None:
    assert np.isfinite(unity.enhance(noise(2000), rate)).all()


def test_many_threads_get_what_one_thread_gets(unity: Enhancer) -> None:
    recordings = [noise(3000 + 517 * seed, seed=seed) for seed in range(8)]
    alone = [unity.enhance(samples, 22050) for samples in recordings]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda samples: unity.enhance(samples, 22050), recordings))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


def test_pickled_enhancer_does_the_same(unity: Enhancer) -> None:
    samples = noise(5000)
    copy = pickle.loads(pickle.dumps(unity))
    assert copy.provider == "cpu"
    assert np.array_equal(copy.enhance(samples, 16000), unity.enhance(samples, 16000))


def test_spec_is_the_models(unity: Enhancer) -> None:
    assert unity.spec == SPEC


def test_strided_and_big_endian_samples_are_accepted(unity: Enhancer) -> None:
    samples = noise(8000)
    assert np.array_equal(
        unity.enhance(samples[::2], 16000), unity.enhance(samples[::2].copy(), 16000)
    )
    swapped = samples.astype(">f4")
    enhanced = unity.enhance(swapped, 16000)
    assert enhanced.dtype == swapped.dtype
    assert np.array_equal(enhanced, unity.enhance(samples, 16000))


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.bool_, np.float16, np.complex64, object])
def test_other_types_are_refused(unity: Enhancer, dtype: Any) -> None:
    with pytest.raises(ArgumentTypeError, match="float32"):
        unity.enhance(np.ones(100, dtype), 16000)


@pytest.mark.parametrize("shape", [(1, 2), (1, 512), (2, 3), (2, 16000)])
def test_samples_and_channels_mistaken_for_each_other_are_refused(
    unity: Enhancer, shape: tuple[int, int]
) -> None:
    samples = noise(*shape)
    with pytest.raises(ArgumentError, match=r"more channels than samples; give .*samples\.T"):
        unity.enhance(samples, 16000)
    assert unity.enhance(samples.T, 16000).shape == shape[::-1]


def test_as_many_channels_as_samples_are_accepted(unity: Enhancer) -> None:
    assert unity.enhance(noise(2, 2), 16000).shape == (2, 2)


def test_more_channels_than_a_file_can_have_are_refused(unity: Enhancer) -> None:
    with pytest.raises(ArgumentError, match="at most 1024 channels"):
        unity.enhance(np.zeros((1025, 1025), np.float32), 16000)


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_matrices_are_arrays_of_two_dimensions(unity: Enhancer) -> None:
    samples = noise(3000, 1)
    enhanced = unity.enhance(np.asmatrix(samples), 16000)
    assert np.array_equal(enhanced, unity.enhance(samples, 16000))


class Tensor:
    """What matters here of torch's: an array is one call away."""

    def cpu(self) -> Tensor:
        return self

    def numpy(self) -> Any:
        return noise(100)


class EagerTensor:
    """What matters here of TensorFlow's."""

    def numpy(self) -> Any:
        return noise(100)


@pytest.mark.parametrize(
    ("samples", "remedy"),
    [
        (Tensor(), r"^samples is Tensor; give .*: samples\.cpu\(\)\.numpy\(\)$"),
        (EagerTensor(), r"^samples is EagerTensor; give .*: samples\.numpy\(\)$"),
        ([0.1, 0.2], r"^samples is list; give .*: np\.array\(samples, np\.float32\)$"),
        ((0.1, 0.2), r"^samples is tuple; give .*: np\.array\(samples, np\.float32\)$"),
        ("talk.wav", r"^samples is str; give a numpy array of float32 or float64$"),
    ],
)
def test_what_is_not_an_array_is_refused_with_the_way_to_one(
    unity: Enhancer, samples: Any, remedy: str
) -> None:
    with pytest.raises(ArgumentTypeError, match=remedy):
        unity.enhance(samples, 16000)


@pytest.mark.parametrize("shape", [(), (1, 2, 3), (0, 2, 3)])
def test_other_shapes_are_refused(unity: Enhancer, shape: tuple[int, ...]) -> None:
    with pytest.raises(ArgumentError, match="samples has shape"):
        unity.enhance(np.zeros(shape, np.float32), 16000)


@pytest.mark.parametrize("shape", [(0,), (0, 2), (5, 0)])
def test_empty_recordings_are_refused(unity: Enhancer, shape: tuple[int, ...]) -> None:
    with pytest.raises(
        AudioError, match=r"samples has shape .*; give a recording of one sample or more"
    ):
        unity.enhance(np.zeros(shape, np.float32), 16000)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_refused(unity: Enhancer, value: float) -> None:
    samples = noise(1000)
    samples[500] = value
    with pytest.raises(AudioError, match="NaN or infinite"):
        unity.enhance(samples, 16000)


@pytest.mark.parametrize(
    "rate", [0, -16000, 0.001, 99, 1.1e7, 1e300, 10**400, np.nan, np.inf, "16000", None, True]
)
def test_rates_out_of_range_are_refused(unity: Enhancer, rate: Any) -> None:
    with pytest.raises(ArgumentError, match=r"^sample_rate is .*; give"):
        unity.enhance(noise(100), rate)


@pytest.mark.parametrize("limit_db", [-1, np.nan, "3"])
def test_limits_out_of_range_are_refused(unity: Enhancer, limit_db: Any) -> None:
    with pytest.raises(ArgumentError, match=r"^attenuation_limit_db is .*; give"):
        unity.enhance(noise(100), 16000, attenuation_limit_db=limit_db)


@pytest.mark.parametrize("strength", [-0.1, 1.01, np.nan, "1", None, True])
def test_strengths_out_of_range_are_refused(unity: Enhancer, strength: Any) -> None:
    with pytest.raises(ArgumentError, match=r"^strength is .*; give a number from 0"):
        unity.enhance(noise(100), 16000, strength=strength)


@pytest.mark.parametrize("channels", ["both", None, 2])
def test_other_ways_with_channels_are_refused(unity: Enhancer, channels: Any) -> None:
    with pytest.raises(ArgumentError, match=r"^channels is .*; give 'each' or 'linked'"):
        unity.enhance(noise(100), 16000, channels=channels)


def test_samples_beyond_float32_are_refused(unity: Enhancer) -> None:
    with pytest.raises(AudioError, match="overflow"):
        unity.enhance(np.array([1e300, 0.0]), 16000)
