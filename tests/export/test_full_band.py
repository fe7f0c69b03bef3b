"""The TCNs in passes over blocks of frames: blocks of any size, at any place, change nothing."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor

from fsnp_onnx.export.graph import full_band
from fsnp_onnx.network.config import NetworkConfig
from fsnp_onnx.network.fullsubnet_plus import FullSubNetPlus
from fsnp_onnx.network.norms import sums_over_time
from fsnp_onnx.network.sequence import TcnBlock
from tests.export.conftest import open_session

SMALL = NetworkConfig(
    n_freqs=9, sb_num_neighbors=2, tcn_hidden_size=6, tcn_blocks=4, sub_band_hidden_size=4
)
OTHER = replace(SMALL, tcn_kernel_size=5, fb_activation="Tanh", norm="offline_gaussian_norm")
OUTPUTS = ("fb", "fb_real", "fb_imag")


def run_tcns(network: FullSubNetPlus, *inputs: Tensor) -> dict[str, np.ndarray]:
    """Run the TCNs of a network on three inputs [T, B, F]; return outputs and their sums."""
    graph = full_band.tcn_glue(network)
    shape: list[str | int] = ["frames", "batch", network.config.n_freqs]
    for branch in full_band.BRANCHES:
        graph.input.append(
            helper.make_tensor_value_info(f"input{branch}", TensorProto.FLOAT, shape)
        )
    sums = [f"{name}_{kind}" for name in OUTPUTS for kind in sums_over_time(network.config.norm)]
    for names, kind in ((OUTPUTS, TensorProto.FLOAT), (sums, TensorProto.DOUBLE)):
        graph.output.extend(helper.make_tensor_value_info(name, kind, None) for name in names)
    opset = helper.make_opsetid("", 18)
    session = open_session(helper.make_model(graph, opset_imports=[opset], ir_version=10))
    values = [x.numpy() for x in inputs]
    found = session.run(None, dict(zip((p.name for p in graph.input), values, strict=True)))
    return dict(zip((*OUTPUTS, *sums), found, strict=True))


@pytest.mark.parametrize(("config", "slope"), [(SMALL, 0.25), (OTHER, 1.5)])
@torch.no_grad()
def test_blocks_shorter_than_the_reach_of_a_convolution_give_the_network(
    config: NetworkConfig, slope: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(full_band, "FRAMES_PER_BLOCK", 8)  # the dilations reach 9 frames and more
    torch.manual_seed(1)
    network = FullSubNetPlus(config).eval()
    blocks = [module for module in network.fb_model.modules() if isinstance(module, TcnBlock)]
    blocks[1].prelu2.weight.fill_(slope)
    for n_frames in (1, 7, 8, 9, 10, 15, 16, 17, 41):
        inputs = torch.randn(3, n_frames, 2, config.n_freqs) + 0.2
        found = run_tcns(network, *inputs)
        models = (network.fb_model, network.fb_model_real, network.fb_model_imag)
        for name, x, model in zip(OUTPUTS, inputs, models, strict=True):
            by_channel = x.permute(1, 2, 0)
            exact = copy.deepcopy(model).double()(by_channel.double())
            error = np.abs(found[name][:n_frames] - exact.permute(2, 0, 1).numpy()).max()
            assert error <= max(2e-6, 8 * (model(by_channel) - exact).abs().max().item())
            for power, kind in enumerate(sums_over_time(config.norm), 1):
                wanted = (exact**power).sum(-1).numpy()
                np.testing.assert_allclose(found[f"{name}_{kind}"], wanted, rtol=0, atol=1e-4)


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
    x = torch.randn(300, 2, SMALL.n_freqs)
    found = run_tcns(network, x, x, x)["fb"]
    by_channel = x.permute(1, 2, 0)
    exact = copy.deepcopy(network.fb_model).double()(by_channel.double()).permute(2, 0, 1)
    torch_error = (network.fb_model(by_channel).permute(2, 0, 1) - exact).abs().max().item()
    assert np.abs(found[:300] - exact.numpy()).max() <= 3 * torch_error
