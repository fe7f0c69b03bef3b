"""Linked channels get one mask, so that their levels and times keep their relation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fsnp_onnx import Enhancer
from fsnp_onnx.runtime.mask_model import MaskModel
from tests.runtime.models import UNITY, with_mask
from tests.runtime.signals import noise, tone

SPEECH = Path(__file__).parents[2] / "samples" / "hum_5db_noisy.flac"


@pytest.fixture(scope="module")
def enhancer() -> Enhancer:
    """The bundled network, whose mask depends on what it hears."""
    return Enhancer(provider="cpu")


@pytest.fixture(scope="module")
def speech() -> NDArray[np.float32]:
    samples: NDArray[np.float32] = sf.read(SPEECH, frames=24000, dtype="float32")[0]
    return samples


def rms(samples: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    gain=st.sampled_from([1.0, -1.0, 0.0, -0.999, 1e-3]) | st.floats(-4, 4),
    n_samples=st.integers(2, 9000),
    rate=st.sampled_from([16000, 44100]),
)
def test_the_ratio_of_the_channels_is_kept(
    enhancer: Enhancer, speech: NDArray[np.float32], gain: float, n_samples: int, rate: int
) -> None:
    one = speech[:n_samples]
    both = np.stack([one, np.float32(gain) * one], axis=1)
    first, second = enhancer.enhance(both, rate, channels="linked").T
    tolerance = 1e-6 * max(1, abs(gain)) * np.abs(one).max()
    np.testing.assert_allclose(second, np.float32(gain) * first, rtol=0, atol=tolerance)


@pytest.mark.parametrize("rate", [16000, 44100])
def test_the_mask_is_that_of_the_mean(
    enhancer: Enhancer, speech: NDArray[np.float32], rate: int
) -> None:
    """A mask is linear: what it makes of the mean is the mean of what it makes of the channels."""
    both = speech[:, None] * [1, 0.3] + noise(speech.size, 2)
    both = both.astype(np.float32)
    mean = enhancer.enhance(both.mean(axis=1), rate)
    linked = enhancer.enhance(both, rate, channels="linked")
    np.testing.assert_allclose(linked.mean(axis=1), mean, rtol=0, atol=2e-6)
    each = enhancer.enhance(both, rate)
    assert np.abs(each.mean(axis=1) - mean).max() > 1e-3


def test_the_network_runs_once_for_all_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[tuple[int, ...]] = []
    run = MaskModel.run

    def counted(self: MaskModel, *spectra: NDArray[np.float32]) -> NDArray[np.float32]:
        runs.append(spectra[0].shape)
        return run(self, *spectra)

    monkeypatch.setattr(MaskModel, "run", counted)
    Enhancer(UNITY, "cpu").enhance(noise(3000, 5), 16000, channels="linked")
    assert len(runs) == 1


@pytest.mark.parametrize("channels", [None, 1])
@pytest.mark.parametrize("rate", [16000, 22050])
def test_one_channel_is_the_same_linked_or_not(
    enhancer: Enhancer, channels: int | None, rate: int
) -> None:
    samples = noise(9000, channels)
    linked = enhancer.enhance(samples, rate, channels="linked")
    assert linked.tobytes() == enhancer.enhance(samples, rate).tobytes()


def test_equal_channels_are_the_same_linked_or_not(enhancer: Enhancer) -> None:
    samples = np.repeat(noise(9000, 1), 2, axis=1)
    linked = enhancer.enhance(samples, 16000, channels="linked")
    assert linked.tobytes() == enhancer.enhance(samples, 16000).tobytes()


@pytest.mark.parametrize("level", [0.0, 1e-5])
def test_opposite_channels_lose_no_speech(
    enhancer: Enhancer, speech: NDArray[np.float32], level: float
) -> None:
    """Their mean is silence, or noise alone, whose mask would remove the speech."""
    both = speech[:, None] * np.array([1, -1], np.float32) + np.float32(level) * noise(
        speech.size, 2
    )
    alone = enhancer.enhance(speech, 16000)
    linked = enhancer.enhance(both, 16000, channels="linked")
    np.testing.assert_allclose(linked, np.stack([alone, -alone], axis=1), atol=0.01 * rms(alone))


def test_silent_channels_stay_silent(enhancer: Enhancer, speech: NDArray[np.float32]) -> None:
    both = np.stack([speech, np.zeros_like(speech)], axis=1)
    linked = enhancer.enhance(both, 16000, channels="linked")
    assert linked[:, 0].any()
    assert not linked[:, 1].any()
    loudly_wrong = Enhancer(with_mask(np.nan), "cpu")
    assert not loudly_wrong.enhance(np.zeros((5000, 2)), 16000, channels="linked").any()


@pytest.mark.parametrize("rate", [16000, 48000])
def test_strength_and_limit_apply_to_linked_channels(rate: int) -> None:
    nothing = Enhancer(with_mask(0.0), "cpu")
    samples = noise(rate, 2)
    found = nothing.enhance(samples, rate, channels="linked", strength=0.5, attenuation_limit_db=20)
    np.testing.assert_allclose(found, 0.55 * samples, rtol=0, atol=2e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("level", [1e-30, 1.0, 1e15])
def test_any_level_is_linked(enhancer: Enhancer, dtype: type, level: float) -> None:
    one = tone(5000, 16000)
    both = np.stack([one, -one], axis=1).astype(dtype) * dtype(level)
    first, second = enhancer.enhance(both, 16000, channels="linked").T
    assert np.isfinite(first).all()
    np.testing.assert_array_equal(first, -second)
