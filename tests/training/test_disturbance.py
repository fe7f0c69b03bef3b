"""PESQ's disturbance as a loss."""

import numpy as np
import pytest
import torch
from pesq import pesq
from torch import Tensor

from fsnp_onnx.export.speech import noisy_speech
from training.bank import SAMPLE_RATE
from training.disturbance import disturbance
from training.loss import keep_bins, stft

TARGET = torch.from_numpy(noisy_speech(SAMPLE_RATE))[None]
HISS = torch.randn(TARGET.shape, generator=torch.Generator().manual_seed(0)) * TARGET.std()


def of(samples: Tensor, target: Tensor = TARGET, groups: int = 1) -> float:
    """The mean disturbance of samples, of all groups."""
    spectra = [stft(some.expand(groups, -1)) for some in (samples, target)]
    enhanced, wanted = (keep_bins(spectrum, groups) for spectrum in spectra)
    scale = spectra[0].abs().mean((1, 2), keepdim=True)
    return disturbance(enhanced, wanted, scale, groups).mean().item()


def test_what_equals_its_target_has_no_disturbance_at_any_level() -> None:
    assert of(TARGET) < 1e-3
    assert of(0.01 * TARGET) < 1e-3


def test_a_silent_target_counts_nothing() -> None:
    assert of(HISS, torch.zeros_like(TARGET)) == 0
    assert of(HISS, 1e-3 * TARGET) == 0


def test_what_was_added_weighs_more_than_what_was_taken() -> None:
    spectrum = stft(TARGET)
    scale = spectrum.abs().mean((1, 2), keepdim=True)
    less, more = spectrum.clone(), spectrum.clone()
    cells = torch.rand(spectrum.shape, generator=torch.Generator().manual_seed(0)) < 0.3
    less[cells] *= 0.2
    more[cells] *= 5.0
    taken, added = (disturbance(some, spectrum, scale, 1).item() for some in (less, more))
    assert added > 1.5 * taken


@pytest.mark.parametrize(("groups", "least"), [(1, 0.98), (4, 0.98), (8, 0.95)])
def test_it_follows_pesq_with_all_bins_and_with_some(groups: int, least: float) -> None:
    clipped = [TARGET.clamp(-peak, peak) for peak in (0.02, 0.05, 0.1)]
    noisy = [TARGET + 10 ** (-snr_db / 20) * HISS for snr_db in range(-5, 41, 5)]
    degraded = [*clipped, *noisy]
    scores = [pesq(SAMPLE_RATE, TARGET[0].numpy(), some.numpy().ravel(), "wb") for some in degraded]
    raw = [4.5 - of(some, groups=groups) for some in degraded]
    mapped = 0.999 + 4 / (1 + np.exp(-1.3669 * np.array(raw) + 3.8224))  # P.862.2
    assert np.corrcoef(scores, mapped)[0, 1] > least


def test_its_gradient_is_finite_where_the_estimate_is_silent() -> None:
    estimate = torch.zeros_like(TARGET, requires_grad=True)
    spectrum = stft(TARGET)
    scale = spectrum.abs().mean((1, 2), keepdim=True)
    disturbance(stft(estimate), spectrum, scale, 1).sum().backward()  # type: ignore[no-untyped-call]
    assert estimate.grad is not None
    assert torch.isfinite(estimate.grad).all()
