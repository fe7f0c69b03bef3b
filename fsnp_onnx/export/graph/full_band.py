"""Stage one, full band: the noisy spectrum in, the four sources and the statistics of stage two out.

It sees the whole utterance, because its norms, attentions and TCNs need it. Three pieces follow each
other: the normalised and attended input of every branch, exported from torch; the TCNs of the three
branches, written in ONNX's text syntax; the statistics of the sub-band norm (statistics.py), exported from
torch. The TCNs run over blocks of frames, so that no hidden tensor of a whole utterance exists; tcn.py
explains how.

Between the pieces tensors are time-major, [T, B, C]: a 1x1 convolution is one matrix multiplication over
T B rows, frames are contiguous, and a Scan writes its blocks straight to their places. Sums over an
utterance are taken in float64: the mean of a real or imaginary part nearly vanishes, and a division by it
magnifies every rounding error.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import compose, helper, numpy_helper, parser
from torch import Tensor, nn

from fsnp_onnx.export.graph.statistics import SOURCES
from fsnp_onnx.export.graph.tcn import array, tcn_block, tcn_block_weights, tcn_blocks
from fsnp_onnx.export.graph.text import ACTIVATIONS, DOUBLE, FLOAT, lines
from fsnp_onnx.export.graph.torch_export import EXAMPLE_BATCH, EXAMPLE_FRAMES, export_module
from fsnp_onnx.network import norms
from fsnp_onnx.network.config import NetworkConfig
from fsnp_onnx.network.fullsubnet_plus import Branch, FullSubNetPlus
from fsnp_onnx.network.sequence import TcnModel
from fsnp_onnx.spec import INPUT_NAMES

BRANCHES: Final[tuple[Branch, ...]] = ("", "_real", "_imag")
FRAMES_PER_BLOCK: Final = 256  # half a megabyte per hidden tensor: what stays in a core's cache


def full_band_stage(
    network: FullSubNetPlus, statistics: onnx.ModelProto, opset: int
) -> onnx.ModelProto:
    """Build stage one, with the statistics of statistics.py at its end.

    It maps ``noisy_real, noisy_imag`` [B, F, T] to ``attended, fb, fb_real, fb_imag``
    [T + look_ahead, B, F], filled up to whole blocks of frames, and ``spread[, centre]``.
    """
    inputs = [_export_branch_input(network, branch, opset) for branch in BRANCHES]
    pieces = [*(model.graph for model in inputs), tcn_glue(network), statistics.graph]
    shape: list[str | int] = ["padded_frames", "batch", network.config.n_freqs]
    sources = [helper.make_tensor_value_info(name, FLOAT, shape) for name in SOURCES]
    graph = helper.make_graph(
        [node for piece in pieces for node in piece.node],
        "full_band",
        inputs[0].graph.input,
        [*sources, *statistics.graph.output],
        [weight for piece in pieces for weight in piece.initializer],
    )
    first = inputs[0]
    return helper.make_model(graph, opset_imports=first.opset_import, ir_version=first.ir_version)


def _export_branch_input(network: FullSubNetPlus, branch: Branch, opset: int) -> onnx.ModelProto:
    example = torch.ones(EXAMPLE_BATCH, network.config.n_freqs, EXAMPLE_FRAMES)
    inputs = dict.fromkeys(INPUT_NAMES, (example, (0, 2)))
    module = BranchInput(network, branch)
    outputs = {f"input{branch}": (0, 1), **{f"attended_{name}": (0,) for name in module.sums}}
    model = export_module(module, inputs, outputs, opset)
    return compose.add_prefix(model, f"branch{branch}_", rename_inputs=False, rename_outputs=False)


class BranchInput(nn.Module):
    """Two [B, F, T] -> the input of one branch's TCN, [T + look_ahead, B, F].

    The magnitude is also a source of stage two and comes with the float64 sums [B, F] of the norm there.
    """

    def __init__(self, network: FullSubNetPlus, branch: Branch) -> None:
        super().__init__()
        self.network = network
        self.branch = branch
        self.sums = () if branch else norms.sums_over_time(network.config.norm)

    def forward(self, noisy_real: Tensor, noisy_imag: Tensor) -> tuple[Tensor, ...]:
        """Return the input and its sums."""
        x = self.network.branch_input(self.branch, noisy_real, noisy_imag, torch.float64)
        sums = [(x.double() ** power).sum(-1) for power in range(1, len(self.sums) + 1)]
        return (x.permute(2, 0, 1).contiguous(), *sums)


def tcn_glue(network: FullSubNetPlus) -> onnx.GraphProto:
    """Return the TCNs of the three branches with their weights.

    The graph reads ``input``, ``input_real`` and ``input_imag``, [T, B, F], and gives ``n_frames`` (T as
    int64 [1]), ``attended`` (the first input), ``fb``, ``fb_real`` and ``fb_imag``, all four filled up
    with zeros to whole blocks of frames, and the sums over time that the sub-band norm needs, ``fb_sums``
    and ``fb_squares``, float64 [B, F], and so on.
    """
    config = network.config
    models: dict[Branch, TcnModel] = {b: getattr(network, f"fb_model{b}") for b in BRANCHES}
    branches = [_branch(branch, model, config) for branch, model in models.items()]
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
      blocks_shape = Concat<axis: int = 0>(rest, block, batch, n_freqs)
      hidden_shape = Concat<axis: int = 0>(rest, batch, n_hidden)
      sum_shape = Concat<axis: int = 0>(batch, one)
      sums_shape = Concat<axis: int = 0>(batch, n_freqs)
      no_sum_yet = ConstantOfShape<value: tensor = double[1] {{0}}>(sum_shape)
      no_sums_yet = ConstantOfShape<value: tensor = double[1] {{0}}>(sums_shape)
      n_frames_double = Cast<to: int = {DOUBLE}>(n_frames)
      n_entries = Mul(n_frames_double, n_hidden_double)
      {"".join(branches)}
    }}""")
    for branch, model in models.items():
        layer = model.fc_output_layer
        linear = {"linear_weight": array(layer.weight), "linear_bias": array(layer.bias)}
        for name, values in (_stacked(model) | linear).items():
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
     float float_zero = {{0}}, float six = {{6}}, double double_zero = {{0}},
     double double_one = {{1}}, {taps}"""


def _branch(suffix: Branch, model: TcnModel, config: NetworkConfig) -> str:
    """A Loop over the TCN blocks of one branch, then its linear layer."""
    branch = f"fb{suffix}"
    carried = f"float[blocks,block_frames,batch,{config.n_freqs}]"
    weights = lines(f"{{0}} = Gather({branch}_{{0}}, number)", _stacked(model))
    return f"""
      attended{suffix} = Pad(input{suffix}, to_whole_blocks)
      {branch}_first = Reshape(attended{suffix}, blocks_shape)
      {branch}_last = Loop(n_tcn_blocks, , {branch}_first) <
        body: graph = tcn_block (int64 number, bool go, {carried} carried)
          => (bool go_on, {carried} next)
        {{
          go_on = Identity(go)
          {weights}
          {tcn_block(model)}
        }}
      >
      {_linear_layer(branch, config)}"""


def _linear_layer(branch: str, config: NetworkConfig) -> str:
    """ReLU, linear layer and activation in blocks of frames, and the sums for the sub-band norm."""
    sums = norms.sums_over_time(config.norm)
    row_sum = f"double[batch,{config.n_freqs}]"
    terms = {
        "sums": f"of_sums = Cast<to: int = {DOUBLE}>(output)",
        "squares": "of_squares = Mul(of_sums, of_sums)",
    }
    results = ", ".join(f"{branch}_{name}" for name in (*sums, "blocks"))
    return f"""
      {branch}_x = Reshape({branch}_last, input_shape)
      {results} = Scan <
        num_scan_inputs: int = 2,
        body: graph = linear_layer ({lines(row_sum + " {0}, ", sums)} int64[1] start, int64[1] stop)
          => ({lines(row_sum + " new_{0}, ", sums)} float[block_frames,batch,{config.n_freqs}] padded_output)
        {{
          frames = Slice({branch}_x, start, stop, time_axis)
          rectified = Relu(frames)
          rows = Reshape(rectified, input_rows)
          linear = Gemm<transB: int = 1>(rows, {branch}_linear_weight, {branch}_linear_bias)
          active = {ACTIVATIONS[config.fb_activation].format("linear")}
          output = Reshape(active, input_shape)
          n_block_frames = Sub(stop, start)
          n_missing = Sub(block, n_block_frames)
          at_the_end = Concat<axis: int = 0>(zero, zero, zero, n_missing, zero, zero)
          padded_output = Pad(output, at_the_end)
          {lines("{0}", [terms[name] for name in sums])}
          {lines("block_{0} = ReduceSum<keepdims: int = 0>(of_{0}, time_axis)", sums)}
          {lines("new_{0} = Add({0}, block_{0})", sums)}
        }}
      > ({"no_sums_yet, " * len(sums)} starts, stops)
      {branch} = Reshape({branch}_blocks, input_shape)
    """


def _stacked(model: TcnModel) -> dict[str, NDArray[Any]]:
    """Weights of all TCN blocks, stacked along a first axis for the Loop to index."""
    rows = [tcn_block_weights(block) for block in tcn_blocks(model)]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}
