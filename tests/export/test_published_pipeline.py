"""The whole chain, spectrum to samples, against the published pipeline in torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from fsnp_onnx import Enhancer
from fsnp_onnx.export.pipeline import ExportReport
from fsnp_onnx.network.fullsubnet_plus import FullSubNetPlus
from fsnp_onnx.runtime.mask_model import MaskModel
from fsnp_onnx.runtime.session import Session
from tests.export.test_stft import torch_istft, torch_stft
from tests.golden import golden_network
from tests.runtime.models import SPEC, WAVY
from tests.runtime.signals import noise

Samples = NDArray[np.float32]
SAMPLE = Path(__file__).parents[2] / "samples" / "hum_5db_noisy.flac"


def published_pipeline(network: FullSubNetPlus, noisy: Samples) -> Samples:
    """Enhance as the published inference does, without its rescaling to a peak."""
    window = torch.hann_window(64)
    spectrum = torch.stft(torch.from_numpy(noisy), 64, 32, window=window, return_complex=True)
    with torch.no_grad():
        (mask,) = network(spectrum.real[None], spectrum.imag[None])
    limit = 9.9
    mask = limit * (mask >= limit) - limit * (mask <= -limit) + mask * (mask.abs() < limit)
    real, imag = -10 * torch.log((10 - mask) / (10 + mask))
    enhanced = torch.complex(real, imag) * spectrum
    samples: Samples = torch.istft(enhanced, 64, 32, window=window, length=len(noisy)).numpy()
    return samples


@pytest.mark.parametrize("remainder", [0, 1, 16, 31])
def test_an_exported_file_gives_the_published_pipelines_waveform(
    remainder: int, export_golden: Callable[[str], ExportReport]
) -> None:
    noisy = soundfile.read(SAMPLE, dtype="float32")[0][: 32 * 700 + remainder]
    expected = published_pipeline(golden_network("tsse_lstm"), noisy)
    enhanced = Enhancer(export_golden("tsse_lstm").exported[0].path).enhance(noisy, 16000)
    whole = len(noisy) - remainder
    scale = np.abs(expected[:whole]).max()
    np.testing.assert_allclose(enhanced[:whole], expected[:whole], rtol=0, atol=2e-5 * scale)
    assert np.abs(enhanced[whole:]).max(initial=0) <= scale  # theirs clicks there


@pytest.mark.parametrize("extra", [0, 1, 128, 255])
def test_any_mask_gives_the_published_pipelines_waveform(extra: int) -> None:
    samples = noise(40 * 256 + extra)
    enhanced = Enhancer(WAVY, "cpu").enhance(samples, 16000)
    spectrum = torch_stft(samples, SPEC.stft)
    (compressed,) = MaskModel(Session(WAVY, "cpu")).run(spectrum.real[None], spectrum.imag[None])
    mask = torch.from_numpy(compressed).double()
    assert mask.abs().max() > 9.9
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
