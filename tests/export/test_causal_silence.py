"""Files of causal networks leave digital silence out of their means, row by row, as their networks do."""

from __future__ import annotations

from dataclasses import replace
from itertools import cycle

import numpy as np
import pytest
import torch
from torch import Tensor

from fsnp_onnx.errors import VerificationError
from fsnp_onnx.export.build import stamp
from fsnp_onnx.export.graph.waveform import waveform_model
from fsnp_onnx.export.verify import WAVEFORM_TOLERANCE as TOLERANCE
from fsnp_onnx.export.verify import probe_samples, verify, verify_waveform
from fsnp_onnx.export.verify_stream import stream, verify_stream
from fsnp_onnx.network.config import NetworkConfig
from fsnp_onnx.network.past import Past
from fsnp_onnx.probes import Probe
from fsnp_onnx.runtime.session import Session
from fsnp_onnx.runtime.waveform_model import WaveformModel
from fsnp_onnx.spec import ModelSpec
from tests.export.conftest import open_session, run
from tests.export.test_causal import (
    every_network,
    mask_file,
    noise,
    opened,
    pipeline,
    spec_of,
    stream_file,
    transform,
)
from tests.golden import Array
from tests.network.causal import LSTM, causal_network

N_HOPS = 150


def muted(samples: Array, hop: int = 1) -> Array:
    """Mute the first row [..., 2, N] at the start and both in the middle, the second for longer."""
    samples = samples.copy()
    samples[..., 0, : 10 * hop] = samples[..., 0, 50 * hop : 90 * hop] = 0
    samples[..., 1, 40 * hop : 100 * hop] = 0
    return samples


def spec(config: NetworkConfig, interface: str) -> ModelSpec:
    return replace(spec_of(config), interface=interface, state=None, latency_samples=None)


@every_network
@torch.no_grad()
def test_a_mask_file_leaves_silence_out(config: NetworkConfig) -> None:
    by_row = muted(noise((2, config.n_freqs, 2, N_HOPS)))
    real, imag = by_row.swapaxes(1, 2)
    exact = causal_network(config).double()(*(torch.from_numpy(x).double() for x in (real, imag)))
    mask = run(open_session(mask_file(config)), real, imag)
    np.testing.assert_allclose(mask, exact, rtol=0, atol=2e-5)


@every_network
def test_a_stream_leaves_silence_out_in_any_pieces(config: NetworkConfig) -> None:
    stft = transform(config)
    noisy = muted(noise((2, N_HOPS * stft.hop_length + 5)), stft.hop_length)
    exact = pipeline(causal_network(config).double(), noisy, stft)
    for seed in range(3):
        pieces = np.random.default_rng(seed).integers(1, 50, 200).tolist()
        enhanced = stream(opened(config), noisy, cycle(pieces))
        np.testing.assert_allclose(enhanced, exact, rtol=0, atol=TOLERANCE)


@every_network
def test_a_waveform_file_leaves_silence_out(config: NetworkConfig) -> None:
    stft = transform(config)
    noisy = muted(noise((2, N_HOPS * stft.hop_length + 5)), stft.hop_length)
    exact = pipeline(causal_network(config).double(), noisy, stft)[:, : N_HOPS * stft.hop_length]
    enhanced = WaveformModel(Session(content(config, "waveform"), "cpu")).run(noisy)
    np.testing.assert_allclose(enhanced[:, : exact.shape[1]], exact, rtol=0, atol=TOLERANCE)


def content(config: NetworkConfig, interface: str) -> bytes:
    if interface == "stream":
        return stamp(stream_file(config), spec_of(config))
    core, of_file = mask_file(config), spec(config, interface)
    return stamp(waveform_model(core, of_file) if interface == "waveform" else core, of_file)


def verified(interface: str) -> tuple[Probe, ...]:
    file, network = content(LSTM, interface), causal_network(LSTM)
    if interface == "stream":
        return verify_stream(file, network)
    if interface == "mask":
        return verify(file, network, [(38, 2)])
    return verify_waveform(file, network, [(1600, 3)])


@pytest.mark.parametrize("interface", ["mask", "waveform", "stream"])
def test_verification_refuses_means_that_take_silence_in(
    interface: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fsnp_onnx.export.verify_stream._LONG_S", 2)
    assert verified(interface)
    listen = Past.listen

    def take_all_in(past: Past, heard: Tensor) -> None:
        listen(past, torch.ones_like(heard))

    monkeypatch.setattr(Past, "listen", take_all_in)
    with pytest.raises(VerificationError, match="no file was written"):
        verified(interface)


def test_each_row_of_a_probe_has_silences_of_its_own() -> None:
    silent = probe_samples(transform(LSTM), 800, 2, muted=True) == 0
    starts_and_ends = [
        np.flatnonzero(np.diff(np.pad(row, 1).astype(int))).tolist() for row in silent
    ]
    assert starts_and_ends == [[0, 100, 400, 500], [100, 200, 500, 600]]
