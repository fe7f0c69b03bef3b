"""Samples in, samples out: same shape, type, rate, length and level, for any input."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fsnp_onnx import Enhancer
from fsnp_onnx.errors import AudioError, SamplesTypeError
from fsnp_onnx.runtime.session import MaskModel
from tests.data.make_unity import SPEC
from tests.runtime.signals import noise, tone
from tests.runtime.test_stft import torch_istft, torch_stft

LENGTHS = (1, 2, 255, 256, 257, 511, 512, 1791, 1792, 1793, 2047, 2048, 2049, 16000, 16127, 16128)


@pytest.fixture(scope="module")
def unity(unity_path: Path) -> Enhancer:
    return Enhancer(unity_path, "cpu")


class WavyModel:
    """Stands in for a network: a mask that differs from bin to bin and frame to frame."""

    spec = SPEC

    def run(self, real: NDArray[np.float32], imag: NDArray[np.float32]) -> NDArray[np.float32]:
        batch, n_freqs, n_frames = real.shape
        assert imag.shape == real.shape
        shape = (batch, 2, n_freqs, n_frames)
        return np.random.default_rng(2).uniform(-11, 11, shape).astype(np.float32)


class LoudlyWrongModel(WavyModel):
    """Stands in for a network that makes noise of silence."""

    def run(self, real: NDArray[np.float32], imag: NDArray[np.float32]) -> NDArray[np.float32]:
        return super().run(real, imag) * np.float32(np.nan)


def enhancer_with(model: Any, unity: Enhancer) -> Enhancer:
    enhancer: Enhancer = pickle.loads(pickle.dumps(unity))
    enhancer._model = model
    return enhancer


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
    samples = noise(n_samples, channels).astype(dtype)
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


def test_channels_are_enhanced_by_themselves(unity: Enhancer) -> None:
    enhancer = enhancer_with(WavyModel(), unity)
    samples = noise(7000, 3)
    together = enhancer.enhance(samples, 16000)
    for channel in range(3):
        alone = enhancer.enhance(samples[:, channel], 16000)
        assert np.array_equal(together[:, channel], alone)


@pytest.mark.parametrize("extra", [0, 1, 128, 255])
def test_waveform_equals_the_published_pipeline(unity: Enhancer, extra: int) -> None:
    samples = noise(40 * 256 + extra)
    enhanced = enhancer_with(WavyModel(), unity).enhance(samples, 16000)
    spectrum = torch_stft(samples, SPEC.stft)
    mask = torch.from_numpy(WavyModel().run(spectrum.real[None], spectrum.imag[None])[0]).double()
    clamped = (
        9.9 * (mask >= 9.9).double()
        - 9.9 * (mask <= -9.9).double()
        + mask * (torch.abs(mask) < 9.9).double()
    )
    real, imag = -10 * torch.log((10 - clamped) / (10 + clamped))
    product = spectrum * torch.complex(real, imag).numpy()
    published = torch_istft(product.astype(np.complex64), SPEC.stft, samples.size)
    whole_hops = 40 * 256
    scale = np.abs(published[:whole_hops]).max()
    np.testing.assert_allclose(
        enhanced[:whole_hops], published[:whole_hops], rtol=0, atol=5e-6 * scale
    )


@pytest.mark.parametrize("shape", [(1,), (5000,), (5000, 2)])
@pytest.mark.parametrize("rate", [16000, 44100])
def test_silence_stays_silence_whatever_the_network_says(
    unity: Enhancer, shape: tuple[int, ...], rate: int
) -> None:
    enhancer = enhancer_with(LoudlyWrongModel(), unity)
    assert not enhancer.enhance(np.zeros(shape, np.float32), rate).any()


def test_attenuation_limit_keeps_what_a_mask_would_remove(unity: Enhancer) -> None:
    enhancer, samples = enhancer_with(Nothing(), unity), noise(8000)
    assert np.abs(enhancer.enhance(samples, 16000)).max() < 1e-7
    limited = enhancer.enhance(samples, 16000, attenuation_limit_db=20)
    np.testing.assert_allclose(limited, samples / 10, rtol=0, atol=1e-6)


class Nothing(WavyModel):
    """Stands in for a network that takes everything for noise."""

    def run(self, real: NDArray[np.float32], imag: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.zeros((1, 2, *real.shape[1:]), np.float32) * imag[:, None]


def test_attenuation_limit_holds_above_the_models_band(unity: Enhancer) -> None:
    samples = tone(48000, 48000, frequency_hz=12000)
    limited = unity.enhance(samples, 48000, attenuation_limit_db=20)
    np.testing.assert_allclose(limited, samples / 10, rtol=0, atol=1e-4)


@pytest.mark.parametrize("rate", [8000, 44100, 48000])
def test_attenuation_limit_holds_for_every_bin_of_other_rates(unity: Enhancer, rate: int) -> None:
    samples = noise(rate)
    limited = enhancer_with(Nothing(), unity).enhance(samples, rate, attenuation_limit_db=20)
    np.testing.assert_allclose(limited, samples / 10, rtol=0, atol=2e-5)


def test_a_limit_of_0_db_returns_the_input_at_any_rate(unity: Enhancer) -> None:
    samples = noise(44100)
    limited = enhancer_with(WavyModel(), unity).enhance(samples, 44100, attenuation_limit_db=0)
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


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    lengths=st.lists(st.sampled_from([1, 255, 3000, 3001]), max_size=5),
    channels=st.sampled_from([None, 2]),
    rate=st.sampled_from([16000, 44100]),
)
def test_a_batch_is_its_recordings_one_by_one_in_order(
    unity: Enhancer, lengths: list[int], channels: int | None, rate: int
) -> None:
    batch = [noise(n, channels, seed=seed) for seed, n in enumerate(lengths)]
    together = unity.enhance_batch(batch, rate, 12)
    assert len(together) == len(batch)
    for samples, enhanced in zip(batch, together, strict=True):
        assert np.array_equal(enhanced, unity.enhance(samples, rate, 12))


def test_a_bad_recording_of_a_batch_is_named_before_any_is_enhanced(unity: Enhancer) -> None:
    enhancer = enhancer_with(None, unity)
    with pytest.raises(AudioError, match="recording 1: samples have shape"):
        enhancer.enhance_batch([noise(100), np.zeros(0, np.float32)], 16000)
    with pytest.raises(SamplesTypeError, match="recording 0: samples are list"):
        enhancer.enhance_batch([[0.1]], 16000)  # type: ignore[list-item]
    with pytest.raises(SamplesTypeError, match="give numpy arrays in a list"):
        enhancer.enhance_batch(None, 16000)  # type: ignore[arg-type]


def test_pickled_enhancer_does_the_same(unity: Enhancer) -> None:
    samples = noise(5000)
    copy = pickle.loads(pickle.dumps(unity))
    assert copy.provider == "cpu"
    assert np.array_equal(copy.enhance(samples, 16000), unity.enhance(samples, 16000))


def test_spec_is_the_models(unity: Enhancer, unity_path: Path) -> None:
    assert unity.spec == MaskModel(unity_path).spec


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
    with pytest.raises(SamplesTypeError, match="float32"):
        unity.enhance(np.ones(100, dtype), 16000)


def test_samples_and_channels_mistaken_for_each_other_are_refused(unity: Enhancer) -> None:
    with pytest.raises(AudioError, match=r"at most 1024 channels \(samples\.T\?\)"):
        unity.enhance(np.zeros((2, 16000), np.float32), 16000)


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_matrices_are_arrays_of_two_dimensions(unity: Enhancer) -> None:
    samples = noise(3000, 1)
    enhanced = unity.enhance(np.asmatrix(samples), 16000)
    assert np.array_equal(enhanced, unity.enhance(samples, 16000))


def test_a_batch_that_cannot_be_gone_through_is_refused(unity: Enhancer) -> None:
    with pytest.raises(SamplesTypeError, match="samples_list is ndarray"):
        unity.enhance_batch(np.array(1.0), 16000)


def test_lists_are_refused(unity: Enhancer) -> None:
    with pytest.raises(TypeError, match="list"):
        unity.enhance([0.1, 0.2], 16000)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(), (0,), (0, 2), (5, 0), (1, 2, 3)])
def test_other_shapes_are_refused(unity: Enhancer, shape: tuple[int, ...]) -> None:
    with pytest.raises(AudioError, match="shape"):
        unity.enhance(np.zeros(shape, np.float32), 16000)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_are_refused(unity: Enhancer, value: float) -> None:
    samples = noise(1000)
    samples[500] = value
    with pytest.raises(AudioError, match="NaN or infinite"):
        unity.enhance(samples, 16000)


@pytest.mark.parametrize(
    "rate", [0, -16000, 0.001, 99, 1.1e7, 1e300, 10**400, np.nan, np.inf, "16000", None, True]
)
def test_rates_that_are_no_rates_are_refused(unity: Enhancer, rate: Any) -> None:
    with pytest.raises(AudioError, match="sample_rate"):
        unity.enhance(noise(100), rate)


@pytest.mark.parametrize("limit_db", [-1, np.nan, "3"])
def test_limits_that_are_no_limits_are_refused(unity: Enhancer, limit_db: Any) -> None:
    with pytest.raises(AudioError, match="attenuation_limit_db"):
        unity.enhance(noise(100), 16000, limit_db)


def test_samples_beyond_float32_are_refused(unity: Enhancer) -> None:
    with pytest.raises(AudioError, match="overflow"):
        unity.enhance(np.array([1e300, 0.0]), 16000)
