"""The transform and its inverse equal torch's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fsnp_onnx.runtime.stft import istft, stft
from fsnp_onnx.spec import StftSpec
from tests.runtime.signals import noise
from tests.runtime.test_stft import every_spec, random_mask


def torch_stft(samples: NDArray[np.float32], spec: StftSpec) -> NDArray[np.complex64]:
    spectrum = torch.stft(
        torch.from_numpy(samples),
        spec.n_fft,
        spec.hop_length,
        spec.win_length,
        torch.hann_window(spec.win_length),
        return_complex=True,
    )
    result: NDArray[np.complex64] = spectrum.numpy()
    return result


def torch_istft(
    spectrum: NDArray[np.complex64], spec: StftSpec, n_samples: int
) -> NDArray[np.float32]:
    samples = torch.istft(
        torch.from_numpy(np.ascontiguousarray(spectrum)),
        spec.n_fft,
        spec.hop_length,
        spec.win_length,
        torch.hann_window(spec.win_length),
        length=n_samples,
    )
    result: NDArray[np.float32] = samples.numpy()
    return result


@every_spec
@pytest.mark.parametrize("extra", [0, 1, 7, 31, 99, 255])
def test_spectrum_equals_torch(spec: StftSpec, extra: int) -> None:
    samples = noise(20 * spec.hop_length + extra)
    n_frames = spec.n_frames(samples.size)
    ours, theirs = stft(samples, spec, n_frames), torch_stft(samples, spec)
    assert ours.dtype == np.complex64
    assert ours.shape == theirs.shape == (spec.n_freqs, n_frames)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6 * np.abs(theirs).max())


@every_spec
@pytest.mark.parametrize("extra", [0, 1, 31, 99, 127, 255])
def test_inverse_equals_torch_before_the_last_partial_hop(spec: StftSpec, extra: int) -> None:
    samples = noise(30 * spec.hop_length + extra % spec.hop_length)
    n_frames = spec.n_frames(samples.size)
    spectrum = stft(samples, spec, n_frames + 1) * random_mask(spec.n_freqs, n_frames + 1)
    whole_hops = (n_frames - 1) * spec.hop_length
    ours = istft([spectrum], spec, samples.size)
    theirs = torch_istft(spectrum[:, :n_frames], spec, samples.size)
    assert ours.shape == samples.shape
    np.testing.assert_allclose(ours[:whole_hops], theirs[:whole_hops], rtol=0, atol=2e-6)


def test_torch_does_click_at_the_end_which_is_why_ours_differs() -> None:
    spec = StftSpec()
    samples = noise(12 * spec.hop_length + 255)
    n_frames = spec.n_frames(samples.size)
    spectrum = stft(samples, spec, n_frames) * random_mask(spec.n_freqs, n_frames)
    theirs = torch_istft(spectrum, spec, samples.size)
    assert np.abs(theirs[-3:]).max() > 4 * np.abs(theirs[:-256]).max()
