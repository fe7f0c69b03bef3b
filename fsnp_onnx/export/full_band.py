"""The TCNs of the full-band stage in blocks of frames: no hidden tensor of a whole utterance exists.

A TCN block normalises twice over all channels and the whole utterance. So it runs in three passes over
blocks of frames: the sums of the first norm, the sums of the second, the output. Each pass computes the
hidden frames it needs again from the block's input, neighbours within reach of the dilated convolution
included. That is exact, and no slower than keeping them: a block of frames stays in the cache.

Tensors are time-major, [T, B, C]: a 1x1 convolution is one matrix product over T B rows, frames are
contiguous, and a Scan writes its blocks straight to their places. Sums of the norms are kept in float64:
ONNX Runtime sums the operator that GroupNorm becomes in plain float32, which is wrong by per cents
after ten minutes of audio. The glue is written in ONNX's text syntax.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper, parser
from torch import Tensor

from fsnp_onnx.export import norms
from fsnp_onnx.export.network import Branch, FullSubNetPlus, NetworkConfig, TcnBlock, TcnModel

BRANCHES: Final[tuple[Branch, ...]] = ("", "_real", "_imag")
FRAMES_PER_BLOCK: Final = 256  # half a megabyte per hidden tensor: what stays in a core's cache
_FLOAT, _DOUBLE = int(onnx.TensorProto.FLOAT), int(onnx.TensorProto.DOUBLE)


def tcn_glue(network: FullSubNetPlus) -> onnx.GraphProto:
    """Return the TCNs of the three branches with their weights.

    The graph reads ``input``, ``input_real`` and ``input_imag``, [T, B, F], and gives ``n_frames`` (T as
    int64 [1]), ``attended`` (the first input), ``fb``, ``fb_real`` and ``fb_imag``, all four filled up
    with zeros to whole blocks of frames, and the sums over time that the sub-band norm needs, ``fb_sums``
    and ``fb_squares``, float64 [B, F], and so on.
    """
    config = network.config
    models = (network.fb_model, network.fb_model_real, network.fb_model_imag)
    branches = [_branch(b, model, config) for b, model in zip(BRANCHES, models, strict=True)]
    graph = parser.parse_graph(f"""
    tcns () => () <{_constants(config)}>
    {{
      n_frames = Shape<start: int = 0, end: int = 1>(input)
      batch = Shape<start: int = 1, end: int = 2>(input)
      block = Min(most_frames, n_frames)
      n_frames_and_block = Add(n_frames, block)
      last_covered = Sub(n_frames_and_block, one)
      n_blocks = Div(last_covered, block)
      block_count = Squeeze(n_blocks)
      block_numbers = Range(first_number, block_count, next_number)
      flat_starts = Mul(block_numbers, block)
      starts = Unsqueeze(flat_starts, one)
      ends = Add(starts, block)
      stops = Min(ends, n_frames)
      n_padded = Mul(n_blocks, block)
      n_excess = Sub(n_padded, n_frames)
      to_whole_blocks = Concat<axis: int = 0>(zero, zero, zero, n_excess, zero, zero)
      input_shape = Concat<axis: int = 0>(rest, batch, n_freqs)
      hidden_shape = Concat<axis: int = 0>(rest, batch, n_hidden)
      sum_shape = Concat<axis: int = 0>(batch, one)
      sums_shape = Concat<axis: int = 0>(batch, n_freqs)
      no_sum_yet = ConstantOfShape<value: tensor = double[1] {{0}}>(sum_shape)
      no_sums_yet = ConstantOfShape<value: tensor = double[1] {{0}}>(sums_shape)
      n_frames_double = Cast<to: int = {_DOUBLE}>(n_frames)
      n_entries = Mul(n_frames_double, n_hidden_double)
      {"".join(branches)}
    }}""")
    for branch, model in zip(BRANCHES, models, strict=True):
        for name, values in (_stacked(model) | _linear(model)).items():
            graph.initializer.append(numpy_helper.from_array(values, f"fb{branch}_{name}"))
    return graph


def _constants(config: NetworkConfig) -> str:
    n_freqs, n_hidden = config.n_freqs, config.tcn_hidden_size
    taps = ", ".join(f"int64[1] tap_{k} = {{{k}}}" for k in range(config.tcn_kernel_size))
    return f"""
     int64[1] most_frames = {{{FRAMES_PER_BLOCK}}}, int64[1] zero = {{0}}, int64[1] one = {{1}},
     int64 first_number = {{0}}, int64 next_number = {{1}}, int64 n_tcn_blocks = {{{config.tcn_blocks}}},
     int64[1] time_axis = {{0}}, int64[1] channel_axis = {{2}}, int64[1] rest = {{-1}},
     int64[1] n_freqs = {{{n_freqs}}}, int64[2] input_rows = {{-1, {n_freqs}}},
     int64[1] n_hidden = {{{n_hidden}}}, int64[2] hidden_rows = {{-1, {n_hidden}}},
     float n_hidden_float = {{{n_hidden}}}, double n_hidden_double = {{{n_hidden}}},
     float float_zero = {{0}}, float six = {{6}}, double double_zero = {{0}}, {taps}"""


def _branch(suffix: Branch, model: TcnModel, config: NetworkConfig) -> str:
    """A Loop over the TCN blocks of one branch, then its linear layer."""
    branch = f"fb{suffix}"
    carried = f"float[blocks,frames,batch,{config.n_freqs}]"
    weights = _lines(f"{{0}} = Gather({branch}_{{0}}, number)", _stacked(model))
    return f"""
      attended{suffix} = Pad(input{suffix}, to_whole_blocks)
      {branch}_first = Unsqueeze(attended{suffix}, zero)
      {branch}_last = Loop(n_tcn_blocks, , {branch}_first) <
        body: graph = tcn_block (int64 number, bool go, {carried} carried)
          => (bool go_on, {carried} next)
        {{
          go_on = Identity(go)
          x = Reshape(carried, input_shape)
          {weights}
          total_1, energy_1 = {_sums_over_frames(_hidden(model, "start", "stop"), "hidden")}
          {_norm("1")}
          total_2, energy_2 = {_sums_over_frames(_filtered(model), "filtered")}
          {_norm("2")}
          next = Scan <
            num_scan_inputs: int = 2,
            body: graph = output (int64[1] start, int64[1] stop)
              => (float[frames,batch,{config.n_freqs}] padded_output)
            {{
              {_filtered(model)}
              filtered_scaled = Mul(filtered, scale_2)
              filtered_normed = Add(filtered_scaled, shift_2)
              filtered_rows = Reshape(filtered_normed, hidden_rows)
              mixed_rows = Gemm<transB: int = 1>(filtered_rows, sconv_weight, sconv_bias)
              mixed = Reshape(mixed_rows, input_shape)
              skipped = Slice(x, start, stop, time_axis)
              output = Add(skipped, mixed)
              {_padded("output")}
            }}
          > (starts, stops)
        }}
      >
      {_linear_layer(branch, config)}"""


def _hidden(model: TcnModel, first: str, last: str) -> str:
    """Frames of conv1x1 and prelu1."""
    return f"""
              frames = Slice(x, {first}, {last}, time_axis)
              rows = Reshape(frames, input_rows)
              hidden_linear = Gemm<transB: int = 1>(rows, conv1x1_weight, conv1x1_bias)
              {_prelu(model, "prelu1", "hidden_linear", "hidden_flat")}
              hidden = Reshape(hidden_flat, hidden_shape)"""


def _filtered(model: TcnModel) -> str:
    """The same frames after norm1, depthwise_conv and prelu2: the convolution pads what norm1 gives."""
    taps = range(_blocks(model)[0].depthwise_conv.kernel_size[0])
    products = "\n".join(
        f"""from_{k} = Mul(dilation, tap_{k})
              to_{k} = Add(from_{k}, n_block_frames)
              frames_{k} = Slice(normed, from_{k}, to_{k}, time_axis)
              product_{k} = Mul(frames_{k}, depthwise_{k})
              sum_{k} = Add({f"sum_{k - 1}" if k else "depthwise_bias"}, product_{k})"""
        for k in taps
    )
    return f"""
              wanted_first = Sub(start, reach)
              wanted_last = Add(stop, reach)
              first = Max(wanted_first, zero)
              last = Min(wanted_last, n_frames)
              {_hidden(model, "first", "last")}
              hidden_scaled = Mul(hidden, scale_1)
              hidden_normed = Add(hidden_scaled, shift_1)
              before = Sub(first, wanted_first)
              after = Sub(wanted_last, last)
              around = Concat<axis: int = 0>(before, zero, zero, after, zero, zero)
              normed = Pad(hidden_normed, around)
              n_block_frames = Sub(stop, start)
              {products}
              {_prelu(model, "prelu2", f"sum_{taps[-1]}", "filtered")}"""


def _sums_over_frames(frames: str, name: str) -> str:
    """A Scan that sums all entries of [T, B, C] and their squares: two of float64 [B, 1].

    The squares of a frame are taken about its own mean, which loses no digits in float32.
    """
    return f"""Scan <
            num_scan_inputs: int = 2,
            body: graph = sums_of_{name}
              (double[batch,1] total, double[batch,1] energy, int64[1] start, int64[1] stop)
              => (double[batch,1] new_total, double[batch,1] new_energy)
            {{
              {frames}
              frame_sums_float = ReduceSum({name}, channel_axis)
              frame_means_float = Div(frame_sums_float, n_hidden_float)
              centred = Sub({name}, frame_means_float)
              deviations_float = ReduceL2(centred, channel_axis)
              frame_sums = Cast<to: int = {_DOUBLE}>(frame_sums_float)
              frame_means = Cast<to: int = {_DOUBLE}>(frame_means_float)
              deviations = Cast<to: int = {_DOUBLE}>(deviations_float)
              energies_about_means = Mul(deviations, deviations)
              energies_of_means = Mul(frame_sums, frame_means)
              energies = Add(energies_about_means, energies_of_means)
              block_total = ReduceSum<keepdims: int = 0>(frame_sums, time_axis)
              block_energy = ReduceSum<keepdims: int = 0>(energies, time_axis)
              new_total = Add(total, block_total)
              new_energy = Add(energy, block_energy)
            }}
          > (no_sum_yet, no_sum_yet, starts, stops)"""


def _norm(number: str) -> str:
    """GroupNorm as a scale and a shift per channel, [B, C]."""
    return f"""
          mean_{number} = Div(total_{number}, n_entries)
          power_{number} = Div(energy_{number}, n_entries)
          squared_mean_{number} = Mul(mean_{number}, mean_{number})
          difference_{number} = Sub(power_{number}, squared_mean_{number})
          variance_{number} = Max(difference_{number}, double_zero)
          safe_variance_{number} = Add(variance_{number}, norm_epsilon)
          spread_{number} = Sqrt(safe_variance_{number})
          weight_{number} = Cast<to: int = {_DOUBLE}>(norm{number}_weight)
          bias_{number} = Cast<to: int = {_DOUBLE}>(norm{number}_bias)
          exact_scale_{number} = Div(weight_{number}, spread_{number})
          scaled_mean_{number} = Mul(mean_{number}, exact_scale_{number})
          exact_shift_{number} = Sub(bias_{number}, scaled_mean_{number})
          scale_{number} = Cast<to: int = {_FLOAT}>(exact_scale_{number})
          shift_{number} = Cast<to: int = {_FLOAT}>(exact_shift_{number})"""


def _linear_layer(branch: str, config: NetworkConfig) -> str:
    """ReLU, linear layer and activation in blocks of frames, and the sums for the sub-band norm."""
    sums = norms.sums_over_time(config.norm)
    row_sum = f"double[batch,{config.n_freqs}]"
    before = "".join(f"{row_sum} {name}, " for name in sums)
    after = "".join(f"{row_sum} new_{name}, " for name in sums)
    results = ", ".join(f"{branch}_{name}" for name in (*sums, "blocks"))
    return f"""
      {branch}_x = Reshape({branch}_last, input_shape)
      {results} = Scan <
        num_scan_inputs: int = 2,
        body: graph = linear_layer ({before}int64[1] start, int64[1] stop)
          => ({after}float[frames,batch,{config.n_freqs}] padded_output)
        {{
          frames = Slice({branch}_x, start, stop, time_axis)
          rectified = Relu(frames)
          rows = Reshape(rectified, input_rows)
          linear = Gemm<transB: int = 1>(rows, {branch}_linear_weight, {branch}_linear_bias)
          active = {_activation(config)}
          output = Reshape(active, input_shape)
          n_block_frames = Sub(stop, start)
          {_padded("output")}
          of_sums = Cast<to: int = {_DOUBLE}>(output)
          of_squares = Mul(of_sums, of_sums)
          {_lines("block_{0} = ReduceSum<keepdims: int = 0>(of_{0}, time_axis)", sums)}
          {_lines("new_{0} = Add({0}, block_{0})", sums)}
        }}
      > ({"no_sums_yet, " * len(sums)} starts, stops)
      {branch} = Reshape({branch}_blocks, input_shape)
    """


def _padded(name: str) -> str:
    """Fill the last block up with zeros: the blocks of a Scan are equally long."""
    return f"""
              n_missing = Sub(block, n_block_frames)
              at_the_end = Concat<axis: int = 0>(zero, zero, zero, n_missing, zero, zero)
              padded_{name} = Pad({name}, at_the_end)"""


def _prelu(model: TcnModel, prelu: str, x: str, y: str) -> str:
    """PReLU; for slopes up to 1 as max(x, a x), six times as fast as ONNX Runtime's operator."""
    if max(getattr(block, prelu).weight.max().item() for block in _blocks(model)) > 1:
        return f"{y} = PRelu({x}, {prelu}_slope)"
    return f"""{y}_steep = Mul({x}, {prelu}_slope)
              {y} = Max({x}, {y}_steep)"""


def _activation(config: NetworkConfig) -> str:
    operators = {
        "ReLU": "Relu(linear)",
        "ReLU6": "Clip(linear, float_zero, six)",
        "Tanh": "Tanh(linear)",
        None: "Identity(linear)",
    }
    return operators[config.fb_activation]


def _stacked(model: TcnModel) -> dict[str, NDArray[Any]]:
    """Weights of all TCN blocks, stacked along a first axis for the Loop to index."""
    rows = []
    for block in _blocks(model):
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
            "norm2_bias": block.norm2.bias,
            "sconv_weight": block.sconv.weight[..., 0],
            "sconv_bias": block.sconv.bias,
        }
        arrays: dict[str, NDArray[Any]] = {name: _array(t) for name, t in tensors.items()}
        arrays["dilation"] = np.array(conv.dilation)
        arrays["reach"] = np.array(conv.padding)
        arrays["norm_epsilon"] = np.array([block.norm1.eps])
        rows.append(arrays)
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _linear(model: TcnModel) -> dict[str, NDArray[Any]]:
    layer = model.fc_output_layer
    return {"linear_weight": _array(layer.weight), "linear_bias": _array(layer.bias)}


def _blocks(model: TcnModel) -> list[TcnBlock]:
    return [module for module in model.sequence_model if isinstance(module, TcnBlock)]


def _array(tensor: Tensor | None) -> NDArray[Any]:
    assert tensor is not None
    array: NDArray[Any] = tensor.detach().numpy()
    return array


def _lines(template: str, names: Any) -> str:
    return "\n          ".join(template.format(name) for name in names)
