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
    """Return every option of `NetworkConfig` that the tensors tell.

    Raises:
        CheckpointError: A tensor that sizes are read from is missing or mis-shaped.
        ConfigError: The network has MulCA kernels that are not supported.
    """
    block = "fb_model.sequence_model.0"
    sizes: dict[str, Any] = {
        "n_freqs": _shape(tensors, "fb_model.fc_output_layer.weight", 2)[0],
        "tcn_hidden_size": _shape(tensors, f"{block}.conv1x1.weight", 3)[0],
        "tcn_kernel_size": _shape(tensors, f"{block}.depthwise_conv.weight", 3)[-1],
        "tcn_blocks": _count(tensors, "fb_model.sequence_model.{}.conv1x1.weight"),
        **_sub_band(tensors),
        **_attention(tensors),
    }
    if sizes["tcn_kernel_size"] % 2 == 0:
        raise CheckpointError(
            f"the TCN's depthwise kernels have {sizes['tcn_kernel_size']} taps; expected an odd number"
        )
    return sizes


def _shape(tensors: Mapping[str, Tensor], name: str, rank: int) -> tuple[int, ...]:
    if name not in tensors:
        raise CheckpointError(f"tensor {name!r} is missing: this is not a FullSubNet+ checkpoint")
    shape = tuple(tensors[name].shape)
    if len(shape) != rank or 0 in shape:
        raise CheckpointError(
            f"tensor {name!r} is mis-shaped: {list(shape)}; expected {rank} axes, none of them empty"
        )
    return shape


def _sub_band(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    prefix = "sb_model.sequence_model"
    if f"{prefix}.0.conv1x1.weight" in tensors:
        return {
            "sub_band_model": "TCN",
            "sub_band_hidden_size": _shape(tensors, f"{prefix}.0.conv1x1.weight", 3)[0],
            "sub_band_layers": _count(tensors, prefix + ".{}.conv1x1.weight"),
        }
    gates, hidden = _shape(tensors, f"{prefix}.weight_hh_l0", 2)
    model = {4 * hidden: "LSTM", 3 * hidden: "GRU"}.get(gates)
    if model is None:
        raise CheckpointError(
            f"tensor '{prefix}.weight_hh_l0' is mis-shaped: [{gates}, {hidden}]; "
            "expected [4 H, H] (LSTM) or [3 H, H] (GRU)"
        )
    return {
        "sub_band_model": model,
        "sub_band_hidden_size": hidden,
        "sub_band_layers": _count(tensors, prefix + ".weight_hh_l{}"),
    }


def _count(tensors: Mapping[str, Tensor], pattern: str) -> int:
    number = 0
    while pattern.format(number) in tensors:
        number += 1
    return number


def _attention(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    prefix = "channel_attention."
    if not any(name.startswith(prefix) for name in tensors):
        return {"attention": None}
    if f"{prefix}conv.weight" in tensors:
        kernel_size = _shape(tensors, f"{prefix}conv.weight", 3)[-1]
        if kernel_size % 2 == 0:
            raise CheckpointError(f"ECA's kernel has {kernel_size} taps; expected an odd number")
        return {"attention": "ECA", "kernel_sizes": (kernel_size,)}
    hidden = {"attention_hidden_size": _shape(tensors, f"{prefix}fc1.weight", 2)[0]}
    if f"{prefix}weight_sum" in tensors:
        return {"attention": "TSSE", "mulca": "simplified", **hidden}
    scales = [f"{prefix}{scale}.0.weight" for scale in MulCA.scale_names()]
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


def sub_band_width(tensors: Mapping[str, Tensor]) -> int:
    """Return the number of features that the sub-band model takes."""
    prefix = "sb_model.sequence_model"
    if f"{prefix}.0.conv1x1.weight" in tensors:
        return _shape(tensors, f"{prefix}.0.conv1x1.weight", 3)[1]
    return _shape(tensors, f"{prefix}.weight_ih_l0", 2)[1]


def check_tensors(tensors: Mapping[str, Tensor], network: NetworkConfig) -> None:
    """Compare names and shapes with those of the network.

    Raises:
        CheckpointError: Tensors are missing, unexpected or mis-shaped; names them.
    """
    with torch.device("meta"):  # shapes only
        reference = FullSubNetPlus(network).state_dict()
    expected = {name: tuple(value.shape) for name, value in reference.items()}
    complaints = [
        ("missing", [name for name in expected if name not in tensors]),
        ("unexpected", [name for name in tensors if name not in expected]),
        (
            "mis-shaped",
            [
                f"{name} {list(tensors[name].shape)} for {list(shape)}"
                for name, shape in expected.items()
                if name in tensors and tuple(tensors[name].shape) != shape
            ],
        ),
    ]
    found = [f"{what}: {_first(names)}" for what, names in complaints if names]
    if found:
        raise CheckpointError(f"the tensors are not those of a FullSubNet+; {'; '.join(found)}")


def _first(names: list[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
