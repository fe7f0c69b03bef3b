"""The TCNs in passes over blocks of frames: blocks of any size, at any place, change nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from fsnp_onnx.export import full_band
from fsnp_onnx.export.assemble import assemble
from fsnp_onnx.export.network import FullSubNetPlus, NetworkConfig, TcnBlock, with_mulca
from fsnp_onnx.export.trace import trace_full_band, trace_sub_band
from tests.export.conftest import open_session, run

SMALL = NetworkConfig(
    n_freqs=9, sb_num_neighbors=2, tcn_hidden_size=6, tcn_blocks=4, sub_band_hidden_size=4
)
OTHER = replace(SMALL, tcn_kernel_size=5, fb_activation="Tanh", norm="offline_gaussian_norm")


@pytest.mark.parametrize(("config", "slope"), [(SMALL, 0.25), (OTHER, 1.5)])
@torch.no_grad()
def test_blocks_shorter_than_the_reach_of_a_convolution_give_the_network(
    config: NetworkConfig, slope: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(full_band, "FRAMES_PER_BLOCK", 8)  # the dilations reach 9 frames and more
    torch.manual_seed(1)
    network = FullSubNetPlus(config).eval()
    blocks = [module for module in network.fb_model.modules() if isinstance(module, TcnBlock)]
    blocks[1].prelu2.weight.fill_(slope)
    path = tmp_path / "blocks.onnx"
    onnx.save(
        assemble(trace_full_band(network, 18), trace_sub_band(network, 16, 18), config, 16), path
    )
    session = open_session(path)
    rng = np.random.default_rng(0)
    for n_padded in (10, 15, 16, 17, 41):  # frames and look-ahead: whole blocks, one less, one more
        n_frames = n_padded - config.look_ahead
        parts = rng.standard_normal((2, 3, config.n_freqs, n_frames)).astype(np.float32) + 0.2
        real, imag = torch.from_numpy(parts)
        exact = with_mulca(network, None).double()(real.double(), imag.double())
        allowed = max(2e-5, 8 * (network(real, imag) - exact).abs().max().item())
        assert np.abs(run(session, *parts) - exact.numpy()).max() <= allowed
