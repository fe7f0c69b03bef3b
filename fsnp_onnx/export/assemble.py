"""Join the two traced stages to one graph with the interface of docs/format.md.

The glue is written in ONNX's text syntax. The sub-band stage becomes the body of a Loop: over blocks of
frames with the recurrent state carried along, or, for a TCN, over blocks of bins. Its weights lie
inside the body, where ONNX Runtime can pre-pack them.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx
from onnx import compose, numpy_helper, parser

from fsnp_onnx.export import norms
from fsnp_onnx.export.network import NetworkConfig, neighbourhoods
from fsnp_onnx.export.trace import SOURCES, STATES, statistics_names
from fsnp_onnx.spec import INPUT_NAMES, OUTPUT_NAME

BINS_PER_BLOCK: Final = 8
_BODY: Final = "sub_band_"


def assemble(
    full_band: onnx.ModelProto, sub_band: onnx.ModelProto, config: NetworkConfig, block_frames: int
) -> onnx.ModelProto:
    """Return one model ``noisy_real, noisy_imag -> mask`` of any batch and length.

    Args:
        full_band: Stage one as traced.
        sub_band: Stage two as traced for ``block_frames`` frames (or for a block of bins).
        config: The network's configuration.
        block_frames: Frames per iteration of the Loop; not read for a TCN.
    """
    recurrent = config.sub_band_model != "TCN"
    text = _frame_loop(config, block_frames) if recurrent else _bin_loop(config)
    graph = parser.parse_graph(text)
    loop = next(node for node in graph.node if node.op_type == "Loop")
    _splice(loop.attribute[0].g, compose.add_prefix(sub_band, _BODY).graph, before=False)
    if not recurrent:
        loop_index = numpy_helper.from_array(_padded_index(config), "index")
        graph.initializer.append(loop_index)
    stage = onnx.ModelProto()
    stage.CopyFrom(full_band)
    _splice(graph, stage.graph, before=True)
    opsets = {
        entry.domain: entry.version for entry in (*sub_band.opset_import, *full_band.opset_import)
    }
    used = sorted({"", *(node.domain for node in sub_band.graph.node)})
    return onnx.helper.make_model(
        graph,
        opset_imports=[onnx.helper.make_opsetid(domain, opsets[domain]) for domain in used],
        ir_version=min(full_band.ir_version, 10),
        producer_name="fsnp-onnx",
    )


def _splice(target: onnx.GraphProto, stage: onnx.GraphProto, *, before: bool) -> None:
    """Put a stage's nodes and weights into a graph that names its inputs and outputs alike."""
    for node in stage.node:  # the exporter leaves stack traces with paths of the exporting machine
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    glue = list(target.node)
    del target.node[:]
    target.node.extend([*stage.node, *glue] if before else [*glue, *stage.node])
    target.initializer.extend(stage.initializer)


def _frame_loop(config: NetworkConfig, block_frames: int) -> str:
    """Glue for LSTM and GRU: the Loop slices a block of frames and carries the state.

    The last block is filled up by repeating its last frame: the model never looks ahead, so what
    comes of it is cut off again.
    """
    states = STATES[config.sub_band_model]
    statistics = statistics_names(config.norm)
    sliced = SOURCES + (statistics if norms.is_cumulative(config.norm) else ())
    whole = () if norms.is_cumulative(config.norm) else statistics
    state_type = f"float[{config.sub_band_layers},sequences,{config.sub_band_hidden_size}]"
    return f"""
    fsnp ({_inputs(config)}) => ({_output(config)})
    <int64[1] block = {{{block_frames}}}, int64[1] zero = {{0}}, int64[1] one = {{1}},
     int64[1] n_bins = {{{config.n_freqs}}}, int64[1] n_layers = {{{config.sub_band_layers}}},
     int64[1] n_hidden = {{{config.sub_band_hidden_size}}}, int64[1] time_axis = {{2}},
     int64[1] mask_time_axis = {{3}}, int64[1] look_ahead = {{{config.look_ahead}}},
     int64[4] mask_shape = {{0, 2, {config.n_freqs}, -1}}>
    {{
      n_frames = Shape<start: int = 2, end: int = 3>({SOURCES[0]})
      batch = Shape<start: int = 0, end: int = 1>({SOURCES[0]})
      last = Sub(n_frames, one)
      full_blocks = Div(last, block)
      n_blocks = Add(full_blocks, one)
      n_sequences = Mul(batch, n_bins)
      state_shape = Concat<axis: int = 0>(n_layers, n_sequences, n_hidden)
      zero_state = ConstantOfShape(state_shape)
      {_list("last_{}", states)}, blocks = Loop(n_blocks, , {_list("zero_state", states)}) <
        body: graph = block_body (int64 i, bool go, {_list(state_type + " " + _BODY + "{}", states)})
          => (bool go_on, {_list(state_type + " " + _BODY + "{}_out", states)},
              float[batch,2,{config.n_freqs},{block_frames}] {_BODY}mask)
        {{
          go_on = Identity(go)
          start = Mul(i, block)
          end = Add(start, block)
          stop = Min(end, n_frames)
          missing = Sub(end, stop)
          padding = Concat<axis: int = 0>(zero, zero, zero, zero, zero, missing)
          {_lines("cut_{0} = Slice({0}, start, end, time_axis)", sliced)}
          {_lines(_BODY + '{0} = Pad<mode: string = "edge">(cut_{0}, padding)', sliced)}
          {_lines(_BODY + "{0} = Identity({0})", whole)}
        }}
      >
      block_last = Transpose<perm: ints = [1, 2, 3, 0, 4]>(blocks)
      padded_mask = Reshape(block_last, mask_shape)
      {OUTPUT_NAME} = Slice(padded_mask, look_ahead, n_frames, mask_time_axis)
    }}"""


def _bin_loop(config: NetworkConfig) -> str:
    """Glue for a sub-band TCN: the Loop takes a block of bins through all frames."""
    passed = SOURCES + statistics_names(config.norm)
    n_rows = len(_padded_index(config))
    return f"""
    fsnp ({_inputs(config)}) => ({_output(config)})
    <bool always = {{1}}, int64[1] block = {{{BINS_PER_BLOCK}}}, int64 n_blocks = {{{n_rows // BINS_PER_BLOCK}}},
     int64[1] bin_axis = {{0}}, int64[2] crop_start = {{0, {config.look_ahead}}},
     int64[2] crop_axes = {{2, 3}}, int64[1] n_bins = {{{config.n_freqs}}},
     int64[4] mask_shape = {{0, 2, {n_rows}, -1}}>
    {{
      n_frames = Shape<start: int = 2, end: int = 3>({SOURCES[0]})
      blocks = Loop(n_blocks, always) <
        body: graph = block_body (int64 i, bool go)
          => (bool go_on, float[batch,2,{BINS_PER_BLOCK},padded_frames] {_BODY}mask)
        {{
          go_on = Identity(go)
          start = Mul(i, block)
          end = Add(start, block)
          {_BODY}index = Slice(index, start, end, bin_axis)
          {_lines(_BODY + "{0} = Identity({0})", passed)}
        }}
      >
      block_last = Transpose<perm: ints = [1, 2, 0, 3, 4]>(blocks)
      padded_mask = Reshape(block_last, mask_shape)
      crop_end = Concat<axis: int = 0>(n_bins, n_frames)
      {OUTPUT_NAME} = Slice(padded_mask, crop_start, crop_end, crop_axes)
    }}"""


def _padded_index(config: NetworkConfig) -> np.ndarray:
    """Neighbourhoods [bins, features] with the last bin repeated up to a multiple of the block."""
    index = neighbourhoods(config).numpy()
    missing = -len(index) % BINS_PER_BLOCK
    return np.pad(index, ((0, missing), (0, 0)), mode="edge")


def _inputs(config: NetworkConfig) -> str:
    return ", ".join(f"float[batch,{config.n_freqs},frames] {name}" for name in INPUT_NAMES)


def _output(config: NetworkConfig) -> str:
    return f"float[batch,2,{config.n_freqs},frames] {OUTPUT_NAME}"


def _list(template: str, names: tuple[str, ...]) -> str:
    return ", ".join(template.format(name) for name in names)


def _lines(template: str, names: tuple[str, ...]) -> str:
    return "\n".join(template.format(name) for name in names)
