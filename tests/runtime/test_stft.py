"""The transform and its inverse give a signal back, and the end of a signal is sound."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fsnp_onnx.runtime.stft import istft, stft, stft_blocks
from fsnp_onnx.spec import StftSpec
from tests.runtime.signals import noise

SPECS = {
    "published": StftSpec(),
    "quarter hop": StftSpec(hop_length=128),
    "short window": StftSpec(n_fft=512, win_length=400, hop_length=160),
    "odd hop": StftSpec(n_fft=256, win_length=256, hop_length=100),
    "small": StftSpec(sample_rate_hz=8000, n_fft=64, win_length=64, hop_length=32),
}
every_spec = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())


def random_mask(n_freqs: int, n_frames: int) -> NDArray[np.complex64]:
    parts = np.random.default_rng(1).uniform(-1, 1, (2, n_freqs, n_frames)).astype(np.float32)
    return np.asarray(parts[0] + 1j * parts[1], np.complex64)


@every_spec
@settings(max_examples=25, deadline=None, derandomize=True)
@given(extra=st.integers(0, 300), n_hops=st.integers(8, 600))
def test_spectrum_and_its_inverse_give_the_samples_back(
    spec: StftSpec, extra: int, n_hops: int
) -> None:
    samples = noise(n_hops * spec.hop_length + extra)
    spectrum = stft(samples, spec, spec.n_frames(samples.size) + 1)
    np.testing.assert_allclose(istft([spectrum], spec, samples.size), samples, rtol=0, atol=1e-6)


@pytest.mark.parametrize("extra", range(256))
def test_the_end_does_not_click_for_any_length(extra: int) -> None:
    spec = StftSpec()
    samples = noise(12 * spec.hop_length + extra)
    n_frames = spec.n_frames(samples.size)
    mask = random_mask(spec.n_freqs, n_frames)
    spectrum = stft(samples, spec, n_frames + 1) * np.concatenate([mask, mask[:, -1:]], axis=1)
    enhanced = istft([spectrum], spec, samples.size)
    body, end = enhanced[: -spec.hop_length], enhanced[-spec.hop_length :]
    assert np.abs(end).max() < 2 * np.abs(body).max()


@pytest.mark.parametrize("n_samples", [1, 2, 3, 100, 255, 256, 257])
def test_signals_shorter_than_the_window_are_transformed(n_samples: int) -> None:
    spec = StftSpec()
    samples = noise(n_samples)
    spectrum = stft(samples, spec, spec.n_frames(n_samples) + 1)
    np.testing.assert_allclose(istft([spectrum], spec, n_samples), samples, rtol=0, atol=1e-6)


@every_spec
@settings(max_examples=25, deadline=None, derandomize=True)
@given(n_hops=st.integers(8, 1200), block_frames=st.integers(1, 700))
def test_blocks_of_frames_of_any_length_give_one_and_the_same_signal(
    spec: StftSpec, n_hops: int, block_frames: int
) -> None:
    samples = noise(n_hops * spec.hop_length + 1)
    spectrum = stft(samples, spec, spec.n_frames(samples.size) + 1)
    starts = range(0, spectrum.shape[1], block_frames)
    blocks = (spectrum[:, start : start + block_frames] for start in starts)
    assert np.array_equal(istft(blocks, spec, samples.size), istft([spectrum], spec, samples.size))


@pytest.mark.slow
def test_hours_are_transformed_in_the_memory_of_a_minute() -> None:
    spec = StftSpec()
    n_samples = 20 * 60 * spec.sample_rate_hz
    samples = np.zeros(n_samples, np.float32)
    tracemalloc.start()
    enhanced = istft(
        (block for _, block in stft_blocks(samples, spec, spec.n_frames(n_samples) + 1)),
        spec,
        n_samples,
    )
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < enhanced.nbytes + 20e6
