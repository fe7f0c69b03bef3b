"""Small causal networks with weights of a trained network's size."""

from __future__ import annotations

from dataclasses import replace

import torch

from fsnp_onnx.network.config import NetworkConfig
from fsnp_onnx.network.fullsubnet_plus import FullSubNetPlus

LSTM = NetworkConfig(
    n_freqs=33, sb_num_neighbors=5, tcn_hidden_size=16, tcn_blocks=4, sub_band_hidden_size=8,
    mulca="simplified", complex_norm="magnitude", causal=True, horizon_frames=20,
)  # fmt: skip
GRU = replace(
    LSTM, n_freqs=65, sub_band_model="GRU", look_ahead=1, fb_num_neighbors=1, fb_activation="ReLU6",
    sb_activation="Tanh", horizon_frames=125, attention_hidden_size=10,
)  # fmt: skip
NOW = replace(LSTM, look_ahead=0, attention=None, tcn_kernel_size=5, sub_band_layers=1)
CONFIGS = {"LSTM": LSTM, "GRU, look-ahead 1": GRU, "no look-ahead, no attention": NOW}


def causal_network(config: NetworkConfig, seed: int = 0) -> FullSubNetPlus:
    """Return a network none of whose weights is neutral, with masks between -10 and 10."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    network = FullSubNetPlus(config).eval()
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if weight.dim() == 1 or "weight_sum" in name or name.endswith("attention.bias"):
                weight.add_(0.2 * torch.randn(weight.shape, generator=generator))
        network.sb_model.fc_output_layer.weight.mul_(5)
    return network
