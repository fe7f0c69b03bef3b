"""A TCN block as a graph in which no hidden tensor of a whole utterance exists.

The block normalises twice over all channels and the whole utterance. So it runs in two passes over blocks
of frames. The first pass sums for the first norm. The second sums for the second norm and computes the
output without that norm, which is affine and so can follow the last convolution. The second pass computes
the hidden frames it needs again from the input, including the neighbours that the dilated convolution
reaches. That is exact, and a block of frames stays in the cache.

Sums of the norms are taken in float64: ONNX Runtime sums the operator that GroupNorm becomes in plain
float32, which is wrong by per cents after ten minutes of audio. Float64GroupNorm is the same for a TCN
that is exported from torch.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fsnp_onnx.export.graph.text import DOUBLE, FLOAT, prelu
from fsnp_onnx.network.sequence import TcnBlock, TcnModel


def tcn_block(model: TcnModel) -> str:
    """Return the nodes that compute ``next`` from ``carried``, both [blocks, frames, B, F].

    They read weights named as `tcn_block_weights` names them, and from the graph around them
    ``n_frames`` (T), ``block`` (frames per block), ``starts`` and ``stops`` (first frame and the one after
    the last, of every block), ``input_shape`` and ``hidden_shape`` (-1, B, F or C), ``input_rows`` and
    ``hidden_rows`` (-1, F or C), ``n_hidden_float``, ``n_entries`` (T C, float64), ``no_sum_yet`` (zeros,
    float64 [B, 1]) and constants. They do not use what comes after n_frames; ``next`` holds
    arbitrary numbers there.
    """
    frames = f"float[block_frames,batch,{tcn_blocks(model)[0].conv1x1.in_channels}]"
    frame_means = "float[block_frames,batch,1] frame_means"
    return f"""
          x = Reshape(carried, input_shape)
          total_1, energy_1 = {_sums_over_frames("hidden", _hidden(model, "start", "stop"))}
          {_statistics("1")}
          {_NORM_1}
          mixing = Mul(sconv_weight, norm2_weight)
          total_2, energy_2, mixed_blocks, mean_blocks = {
        _sums_over_frames("filtered", _filtered(model), _MIXED, f", {frames} mixed, {frame_means}")
    }
          {_statistics("2")}
          exact_scale_2 = Div(double_one, spread_2)
          next = Scan <
            num_scan_inputs: int = 3,
            body: graph = output ({frames} residual, {frames} mixed, {frame_means})
              => ({frames} output)
            {{
              exact_means = Cast<to: int = {DOUBLE}>(frame_means)
              exact_offsets = Sub(exact_means, mean_2)
              exact_scaled_offsets = Mul(exact_offsets, exact_scale_2)
              scaled_offsets = Cast<to: int = {FLOAT}>(exact_scaled_offsets)
              scale_2 = Cast<to: int = {FLOAT}>(exact_scale_2)
              mixed_offsets = Mul(scaled_offsets, mixing_sums)
              mixed_scaled = Mul(mixed, scale_2)
              mixed_normed = Add(mixed_scaled, mixed_offsets)
              mixed_shifted = Add(mixed_normed, mixing_bias)
              output = Add(residual, mixed_shifted)
            }}
          > (carried, mixed_blocks, mean_blocks)"""


def tcn_block_weights(block: TcnBlock) -> dict[str, NDArray[Any]]:
    """Return the arrays that a block reads."""
    conv = block.depthwise_conv
    taps = {f"depthwise_{k}": conv.weight[:, 0, k] for k in range(conv.kernel_size[0])}
    tensors = taps | {
        "conv1x1_weight": block.conv1x1.weight[..., 0],
        "conv1x1_bias": block.conv1x1.bias,
        "prelu1_slope": block.prelu1.weight,
        "norm1_weight": block.norm1.weight,
        "norm1_bias": block.norm1.bias,
        "depthwise_bias": conv.bias,
        "prelu2_slope": block.prelu2.weight,
        "norm2_weight": block.norm2.weight,
        "sconv_weight": block.sconv.weight[..., 0],
    }
    arrays = {name: array(tensor) for name, tensor in tensors.items()}
    sconv_weight, norm2_weight = arrays["sconv_weight"], arrays["norm2_weight"]
    mixing_bias = sconv_weight.astype(np.float64) @ array(block.norm2.bias)
    mixing_bias += array(block.sconv.bias)
    return arrays | {
        "mixing_sums": (sconv_weight * norm2_weight).sum(1, np.float64).astype(np.float32),
        "mixing_bias": mixing_bias.astype(np.float32),
        "dilation": np.array(conv.dilation),
        "reach": np.array(conv.padding),
        "norm_epsilon": np.array([block.norm1.eps]),
    }


def tcn_blocks(model: TcnModel) -> list[TcnBlock]:
    """Return the blocks of a TCN."""
    return [module for module in model.sequence_model if isinstance(module, TcnBlock)]


def array(tensor: Tensor | None) -> NDArray[Any]:
    """Return a weight as an array."""
    assert tensor is not None
    values: NDArray[Any] = tensor.detach().numpy()
    return values


# norm1 as a scale and a shift per channel, [B, C]
_NORM_1: Final = f"""
      weight_1 = Cast<to: int = {DOUBLE}>(norm1_weight)
      bias_1 = Cast<to: int = {DOUBLE}>(norm1_bias)
      exact_scale_1 = Div(weight_1, spread_1)
      scaled_mean_1 = Mul(mean_1, exact_scale_1)
      exact_shift_1 = Sub(bias_1, scaled_mean_1)
      scale_1 = Cast<to: int = {FLOAT}>(exact_scale_1)
      shift_1 = Cast<to: int = {FLOAT}>(exact_shift_1)"""

# sconv of what norm2 has not normalised yet, each frame about its own mean, so that no digits are lost
_MIXED: Final = """
          centred_rows = Reshape(centred, hidden_rows)
          mixed_rows = Gemm<transB: int = 1>(centred_rows, mixing)
          mixed = Reshape(mixed_rows, input_shape)"""


def _hidden(model: TcnModel, first: str, last: str) -> str:
    """Frames of conv1x1 and prelu1."""
    return f"""
          frames = Slice(x, {first}, {last}, time_axis)
          rows = Reshape(frames, input_rows)
          hidden_linear = Gemm<transB: int = 1>(rows, conv1x1_weight, conv1x1_bias)
          {_prelu(model, "prelu1", "hidden_linear", "hidden_flat")}
          hidden = Reshape(hidden_flat, hidden_shape)"""


def _filtered(model: TcnModel) -> str:
    """A whole block after norm1, depthwise_conv and prelu2: the convolution pads what norm1 gives."""
    taps = range(tcn_blocks(model)[0].depthwise_conv.kernel_size[0])
    products = "\n".join(
        f"""from_{k} = Mul(dilation, tap_{k})
          to_{k} = Add(from_{k}, block)
          frames_{k} = Slice(normed, from_{k}, to_{k}, time_axis)
          product_{k} = Mul(frames_{k}, depthwise_{k})
          sum_{k} = Add({f"sum_{k - 1}" if k else "depthwise_bias"}, product_{k})"""
        for k in taps
    )
    return f"""
          wanted_first = Sub(start, reach)
          end = Add(start, block)
          wanted_last = Add(end, reach)
          first = Max(wanted_first, zero)
          last = Min(wanted_last, n_frames)
          {_hidden(model, "first", "last")}
          hidden_scaled = Mul(hidden, scale_1)
          hidden_normed = Add(hidden_scaled, shift_1)
          before = Sub(first, wanted_first)
          after = Sub(wanted_last, last)
          around = Concat<axis: int = 0>(before, zero, zero, after, zero, zero)
          normed = Pad(hidden_normed, around)
          {products}
          {_prelu(model, "prelu2", f"sum_{taps[-1]}", "filtered")}"""


def _prelu(model: TcnModel, name: str, x: str, y: str) -> str:
    steepest = max(getattr(block, name).weight.max().item() for block in tcn_blocks(model))
    return prelu(y, x, f"{name}_slope", steepest)


def _sums_over_frames(name: str, before: str, behind: str = "", outputs: str = "") -> str:
    """A Scan that sums all entries of T frames, [B, C] each, and their squares: two of float64 [B, 1].

    The nodes ``before`` compute a block of frames of ``name``, those ``behind`` compute further ``outputs``
    from it. The squares of a frame are taken about its own mean, which loses no digits in float32.
    """
    return f"""Scan <
        num_scan_inputs: int = 2,
        body: graph = sums_of_{name}
          (double[batch,1] total, double[batch,1] energy, int64[1] start, int64[1] stop)
          => (double[batch,1] new_total, double[batch,1] new_energy{outputs})
        {{
          {before}
          frame_sums = ReduceSum({name}, channel_axis)
          frame_means = Div(frame_sums, n_hidden_float)
          centred = Sub({name}, frame_means)
          deviations = ReduceL2(centred, channel_axis)
          {behind}
          n_valid = Sub(stop, start)
          valid_sums = Slice(frame_sums, zero, n_valid, time_axis)
          valid_deviations = Slice(deviations, zero, n_valid, time_axis)
          exact_sums = Cast<to: int = {DOUBLE}>(valid_sums)
          exact_means = Div(exact_sums, n_hidden_double)
          exact_deviations = Cast<to: int = {DOUBLE}>(valid_deviations)
          energies_about_means = Mul(exact_deviations, exact_deviations)
          energies_of_means = Mul(exact_sums, exact_means)
          energies = Add(energies_about_means, energies_of_means)
          block_total = ReduceSum<keepdims: int = 0>(exact_sums, time_axis)
          block_energy = ReduceSum<keepdims: int = 0>(energies, time_axis)
          new_total = Add(total, block_total)
          new_energy = Add(energy, block_energy)
        }}
      > (no_sum_yet, no_sum_yet, starts, stops)"""


def _statistics(number: str) -> str:
    """Mean and spread of a norm, float64 [B, 1]."""
    return f"""
      mean_{number} = Div(total_{number}, n_entries)
      power_{number} = Div(energy_{number}, n_entries)
      squared_mean_{number} = Mul(mean_{number}, mean_{number})
      difference_{number} = Sub(power_{number}, squared_mean_{number})
      variance_{number} = Max(difference_{number}, double_zero)
      safe_variance_{number} = Add(variance_{number}, norm_epsilon)
      spread_{number} = Sqrt(safe_variance_{number})"""


class Float64GroupNorm(nn.Module):
    """GroupNorm of one group, [B, C, T] -> [B, C, T], its sums over time taken in float64."""

    def __init__(self, trained: nn.GroupNorm) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = trained.weight, trained.bias, trained.eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise over channels and time."""
        n_channels = x.shape[1]
        mean = x.sum(1).double().mean(-1)[:, None, None] / n_channels
        centred = x - mean.to(x.dtype)
        deviation = torch.linalg.vector_norm(centred, dim=1)  # of each frame
        variance = (deviation.double() ** 2).mean(-1)[:, None, None] / n_channels
        spread = torch.sqrt(variance + self.eps).to(x.dtype)
        return centred * (self.weight[:, None] / spread) + self.bias[:, None]
