"""The TCNs in passes over blocks of frames: blocks of any size, at any place, change nothing."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from fsnp_onnx.export.graph import full_band
from fsnp_onnx.export.graph.mask import assemble
from fsnp_onnx.export.graph.torch_export import trace_full_band, trace_sub_band
from fsnp_onnx.network.config import NetworkConfig
from fsnp_onnx.network.fullsubnet_plus import FullSubNetPlus, with_mulca
from fsnp_onnx.network.sequence import TcnBlock
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


@pytest.mark.parametrize("n_hidden", [96, 128])  # division by 96 rounds
@pytest.mark.parametrize("convolution", ["conv1x1", "depthwise_conv"])
@pytest.mark.parametrize("offset", [0, 1000])
@torch.no_grad()
def test_hidden_frames_far_from_zero_lose_no_more_digits_than_in_torch(
    n_hidden: int, convolution: str, offset: float
) -> None:
    torch.manual_seed(0)
    network = FullSubNetPlus(replace(SMALL, tcn_hidden_size=n_hidden, fb_activation=None)).eval()
    for block in network.fb_model.modules():
        if isinstance(block, TcnBlock):
            getattr(block, convolution).bias += offset
    graph = full_band.tcn_glue(network)
    x = torch.randn(300, 2, SMALL.n_freqs)
    for branch in full_band.BRANCHES:
        shape: list[str | int] = ["frames", "batch", SMALL.n_freqs]
        graph.input.append(
            helper.make_tensor_value_info(f"input{branch}", TensorProto.FLOAT, shape)
        )
    graph.output.append(helper.make_tensor_value_info("fb", TensorProto.FLOAT, None))
    opset = helper.make_opsetid("", 18)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=10)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(["fb"], {port.name: x.numpy() for port in graph.input})
    by_channel = x.permute(1, 2, 0)
    exact = copy.deepcopy(network.fb_model).double()(by_channel.double()).permute(2, 0, 1)
    torch_error = (network.fb_model(by_channel).permute(2, 0, 1) - exact).abs().max().item()
    assert np.abs(found[:300] - exact.numpy()).max() <= 3 * torch_error
