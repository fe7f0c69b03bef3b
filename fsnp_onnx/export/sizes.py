"""Read a network's sizes from its tensors, and check that they are a network's tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fsnp_onnx.errors import CheckpointError, ConfigError
from fsnp_onnx.network.attention import MulCA
from fsnp_onnx.network.config import NetworkConfig
from fsnp_onnx.network.fullsubnet_plus import FullSubNetPlus


def read_sizes(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return every option of `NetworkConfig` that can be read from the tensors, and ``sub_band_features``."""
    blocks = "fb_model.sequence_model"
    n_taps = _shape(tensors, f"{blocks}.0.depthwise_conv.weight", 3)[-1]
    return {
        "n_freqs": _shape(tensors, "fb_model.fc_output_layer.weight", 2)[0],
        "tcn_hidden_size": _shape(tensors, f"{blocks}.0.conv1x1.weight", 3)[0],
        "tcn_kernel_size": _odd("the TCN's depthwise kernels have", n_taps),
        "tcn_blocks": _count(tensors, blocks + ".{}.conv1x1.weight"),
        **_sub_band(tensors),
        **_attention(tensors),
    }


def _shape(tensors: Mapping[str, Tensor], name: str, rank: int) -> tuple[int, ...]:
    if name not in tensors:
        raise CheckpointError(f"tensor {name!r} is missing: this is not a FullSubNet+ checkpoint")
    shape = tuple(tensors[name].shape)
    if len(shape) != rank or 0 in shape:
        raise CheckpointError(
            f"tensor {name!r} has the wrong shape {list(shape)}; expected {rank} axes, none of them empty"
        )
    return shape


def _odd(what: str, n_taps: int) -> int:
    if n_taps % 2 == 0:
        raise CheckpointError(f"{what} {n_taps} taps; expected an odd number")
    return n_taps


def _count(tensors: Mapping[str, Tensor], pattern: str) -> int:
    number = 0
    while pattern.format(number) in tensors:
        number += 1
    return number


def _sub_band(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    prefix = "sb_model.sequence_model"
    if f"{prefix}.0.conv1x1.weight" in tensors:
        model: str | None = "TCN"
        layers = prefix + ".{}.conv1x1.weight"
        hidden, features, _ = _shape(tensors, layers.format(0), 3)
    else:
        layers = prefix + ".weight_hh_l{}"
        gates, hidden = _shape(tensors, layers.format(0), 2)
        _, features = _shape(tensors, f"{prefix}.weight_ih_l0", 2)
        model = {4 * hidden: "LSTM", 3 * hidden: "GRU"}.get(gates)
        if model is None:
            raise CheckpointError(
                f"tensor {layers.format(0)!r} has the wrong shape [{gates}, {hidden}]; "
                "expected [4 H, H] (LSTM) or [3 H, H] (GRU)"
            )
    return {
        "sub_band_model": model,
        "sub_band_hidden_size": hidden,
        "sub_band_layers": _count(tensors, layers),
        "sub_band_features": features,
    }


def _attention(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    prefix = "channel_attention."
    if not any(name.startswith(prefix) for name in tensors):
        return {"attention": None}
    if f"{prefix}conv.weight" in tensors:
        kernel_size = _odd("ECA's kernel has", _shape(tensors, f"{prefix}conv.weight", 3)[-1])
        return {"attention": "ECA", "kernel_sizes": (kernel_size,)}
    hidden = {"attention_hidden_size": _shape(tensors, f"{prefix}fc1.weight", 2)[0]}
    if f"{prefix}weight_sum" in tensors:
        return {"attention": "TSSE", "mulca": "simplified", **hidden}
    scales = [f"{prefix}{scale}.0.weight" for scale in MulCA.SCALES]
    if not any(scale in tensors for scale in scales):
        return hidden  # SE and CBAM have the same tensors: the config or the default decides
    kernels = [_shape(tensors, scale, 3) for scale in scales]
    if any(channels != 1 for _, channels, _ in kernels):
        raise ConfigError(
            f"MulCA's kernels span {kernels[0][1]} channels, so it was built with subband_num "
            "other than 1, which the published code cannot run either; only 1 is supported"
        )
    sizes = tuple(size for _, _, size in kernels)
    return {"attention": "TSSE", "mulca": "original", "kernel_sizes": sizes, **hidden}


def check_tensors(tensors: Mapping[str, Tensor], network: NetworkConfig) -> None:
    """Compare names and shapes with those of the network; name what differs."""
    with torch.device("meta"):  # shapes only
        reference = FullSubNetPlus(network).state_dict()
    expected = {name: list(value.shape) for name, value in reference.items()}
    found = {name: list(value.shape) for name, value in tensors.items()}
    complaints = {
        "missing": [name for name in expected if name not in found],
        "unexpected": [name for name in found if name not in expected],
        "wrong shape": [
            f"{name} {found[name]} for {shape}"
            for name, shape in expected.items()
            if found.get(name, shape) != shape
        ],
    }
    texts = [f"{what}: {_first(names)}" for what, names in complaints.items() if names]
    if texts:
        raise CheckpointError(f"the tensors are not those of a FullSubNet+; {'; '.join(texts)}")


def _first(names: list[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
