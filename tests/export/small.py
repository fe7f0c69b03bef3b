"""A FullSubNet+ small enough to be saved, broken and exported in a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fsnp_onnx.network.config import NetworkConfig
from fsnp_onnx.network.fullsubnet_plus import FullSubNetPlus

CONFIG = NetworkConfig(
    n_freqs=17, sb_num_neighbors=15, tcn_hidden_size=8, tcn_blocks=3, sub_band_hidden_size=6
)


def small_network(config: NetworkConfig = CONFIG, seed: int = 0) -> FullSubNetPlus:
    torch.manual_seed(seed)
    return FullSubNetPlus(config).eval()


def state_dict(config: NetworkConfig = CONFIG) -> dict[str, Tensor]:
    return small_network(config).state_dict()


def save(path: Path, content: Any, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path
