"""The full-band TCNs of a causal network, its three branches side by side: [batch, 3, frames, bins]."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fsnp_onnx.export.graph.tcn import array, tcn_blocks
from fsnp_onnx.export.graph.text import prelu
from fsnp_onnx.network.config import NetworkConfig
from fsnp_onnx.network.fullsubnet_plus import FullSubNetPlus
from fsnp_onnx.network.norms import RUNNING_VARIANCE_EPSILON
from fsnp_onnx.network.sequence import DILATIONS

Weights = dict[str, NDArray[Any]]


def running_mean(name: str, x: str) -> str:
    """Return the nodes of the running mean ``name`` of ``x`` [batch, _, n, _], whose last frame is kept.

    The mean before takes part as what frames deviate from. So a steady signal stays what it is, however
    the weights are rounded.
    """
    return f"""
      {name}_deviation = Sub({x}, was_{name})
      {name}_moved = MatMul(weights, {name}_deviation)
      {name} = Add({name}_moved, was_{name})
      now_{name} = Gather<axis: int = 2>({name}, last)"""


def branch_tcns(config: NetworkConfig, weights: Weights) -> str:
    """Return the nodes from ``attended`` to ``full_band_linear``, both [batch, 3, n, F]."""
    blocks = "\n".join(_block(k, config, weights) for k in range(config.tcn_blocks))
    return f"""
      x_0 = Identity(attended)
      {blocks}
      full_band_rectified = Relu(x_{config.tcn_blocks})
      full_band_product = MatMul(full_band_rectified, full_band_weight)
      full_band_linear = Add(full_band_product, full_band_bias)"""


def _block(k: int, config: NetworkConfig, weights: Weights) -> str:
    """A block, as `TcnBlock`; norm2 scales the weights of the layer behind it."""
    return f"""
      wide_product_{k} = MatMul(x_{k}, conv1x1_weight_{k})
      wide_linear_{k} = Add(wide_product_{k}, conv1x1_bias_{k})
      {_prelu("prelu1", k, f"wide_linear_{k}", weights)}
      {_normed(f"norm1_{k}", f"prelu1_{k}")}
      norm1_{k}_scaled = Mul(norm1_{k}_normed, norm1_weight_{k})
      norm1_{k}_shifted = Add(norm1_{k}_scaled, norm1_bias_{k})
      {_depthwise(k, config)}
      {_prelu("prelu2", k, f"filtered_{k}", weights)}
      {_normed(f"norm2_{k}", f"prelu2_{k}")}
      sconv_scaled_{k} = Mul(sconv_weight_{k}, norm2_weight_{k})
      sconv_shift_{k} = MatMul(norm2_bias_{k}, sconv_weight_{k})
      sconv_bias_all_{k} = Add(sconv_shift_{k}, sconv_bias_{k})
      narrow_product_{k} = MatMul(norm2_{k}_normed, sconv_scaled_{k})
      narrow_linear_{k} = Add(narrow_product_{k}, sconv_bias_all_{k})
      x_{k + 1} = Add(x_{k}, narrow_linear_{k})"""


def _normed(name: str, x: str) -> str:
    """GroupNorm by the running mean and running mean of squares, without its affine map."""
    return f"""
      {name}_mean = ReduceMean({x}, axis_3)
      {name}_squares = Mul({x}, {x})
      {name}_square = ReduceMean({name}_squares, axis_3)
      {name}_moments = Concat<axis: int = 3>({name}_mean, {name}_square)
      {running_mean(name, f"{name}_moments")}
      {name}_centre, {name}_power = Split<axis: int = 3, num_outputs: int = 2>({name})
      {name}_centre_power = Mul({name}_centre, {name}_centre)
      {name}_difference = Sub({name}_power, {name}_centre_power)
      {name}_variance = Max({name}_difference, float_zero)
      {name}_safe = Add({name}_variance, variance_epsilon)
      {name}_spread = Sqrt({name}_safe)
      {name}_centred = Sub({x}, {name}_centre)
      {name}_normed = Div({name}_centred, {name}_spread)"""


def _depthwise(k: int, config: NetworkConfig) -> str:
    """The depthwise convolution over the frames kept and these: ``filtered``."""
    n_taps, dilation = config.tcn_kernel_size, DILATIONS[k % len(DILATIONS)]
    reach, y = dilation * (n_taps - 1), f"norm1_{k}_shifted"
    extended = f"extended_{k} = Identity({y})"
    if reach:
        extended = f"""
      extended_{k} = Concat<axis: int = 2>(was_frames_{k}, {y})
      now_frames_{k} = Slice(extended_{k}, n_frames, beyond_all, axis_2)"""
    taps = []
    for tap in range(n_taps):
        start = f"offset_{tap * dilation}"
        added = f"sum_{k}_{tap - 1}" if tap else f"depthwise_bias_{k}"
        total = f"sum_{k}_{tap}" if tap < n_taps - 1 else f"filtered_{k}"
        taps.append(f"""
          end_{k}_{tap} = Add(n_frames, {start})
          frames_{k}_{tap} = Slice(extended_{k}, {start}, end_{k}_{tap}, axis_2)
          tap_{k}_{tap} = Mul(frames_{k}_{tap}, depthwise_{k}_{tap})
          {total} = Add({added}, tap_{k}_{tap})""")
    return extended + "".join(taps)


def tcn_constants(config: NetworkConfig) -> str:
    """Return the constants that the nodes need, beside those of causal_network.py."""
    steps = {d * tap for d in DILATIONS for tap in range(config.tcn_kernel_size)}
    offsets = ", ".join(f"int64[1] offset_{step} = {{{step}}}" for step in sorted(steps))
    return f"float variance_epsilon = {{{RUNNING_VARIANCE_EPSILON}}}, {offsets}"


def _prelu(name: str, k: int, x: str, weights: Weights) -> str:
    slope = f"{name}_slope_{k}"
    return prelu(f"{name}_{k}", x, slope, weights[slope].max())


def tcn_weights(network: FullSubNetPlus) -> Weights:
    """Return the weights of every block, the branches stacked, and those of the output layers."""
    models = [network.fb_model, network.fb_model_real, network.fb_model_imag]
    weights = {
        "full_band_weight": stacked(models, "fc_output_layer.weight").transpose(0, 2, 1).copy(),
        "full_band_bias": stacked(models, "fc_output_layer.bias")[:, None],
    }
    for k, blocks in enumerate(zip(*map(tcn_blocks, models), strict=True)):
        block_weights: Weights = {
            "conv1x1_weight": stacked(blocks, "conv1x1.weight")[..., 0].transpose(0, 2, 1).copy(),
            "sconv_weight": stacked(blocks, "sconv.weight")[..., 0].transpose(0, 2, 1).copy(),
            "norm2_weight": stacked(blocks, "norm2.weight")[:, :, None],
            "prelu1_slope": stacked(blocks, "prelu1.weight")[..., None],
            "prelu2_slope": stacked(blocks, "prelu2.weight")[..., None],
        }
        for name in ("conv1x1", "norm1", "norm2", "sconv"):
            block_weights[f"{name}_bias"] = stacked(blocks, f"{name}.bias")[:, None]
        block_weights["norm1_weight"] = stacked(blocks, "norm1.weight")[:, None]
        block_weights["depthwise_bias"] = stacked(blocks, "depthwise_conv.bias")[:, None]
        taps = stacked(blocks, "depthwise_conv.weight")[:, :, 0]  # [3, channels, taps]
        weights |= {f"{name}_{k}": values for name, values in block_weights.items()}
        for tap in range(taps.shape[-1]):
            weights[f"depthwise_{k}_{tap}"] = taps[:, None, :, tap].copy()
    return weights


def stacked(modules: Sequence[nn.Module], name: str) -> NDArray[Any]:
    """Return one parameter of several modules along a new first axis."""
    return np.stack([array(attrgetter(name)(module)) for module in modules])
