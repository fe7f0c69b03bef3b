"""The Scan of stage two: the sources and statistics of stage one in, the mask out.

It runs a block of sub_band.py over all frames with the recurrent state carried along, or, for a TCN,
over all bins. The Scan is written in ONNX's text syntax and the block becomes its body. The weights lie
inside the body, where ONNX Runtime can pre-pack them. A Loop would do, but ONNX Runtime copies a Loop's
blocks twice and a Scan's only once.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx
from onnx import compose, helper, numpy_helper, parser

from fsnp_onnx.export.graph.statistics import SOURCES, statistics_names
from fsnp_onnx.export.graph.sub_band import BLOCK_FRAMES, state_names
from fsnp_onnx.export.graph.text import lines
from fsnp_onnx.network import norms
from fsnp_onnx.network.config import NetworkConfig
from fsnp_onnx.network.fullsubnet_plus import neighbourhoods
from fsnp_onnx.spec import OUTPUT_NAME

BINS_PER_BLOCK: Final = 8
_BODY: Final = "sub_band_"


def sub_band_stage(
    block: onnx.ModelProto, config: NetworkConfig, block_frames: int = BLOCK_FRAMES
) -> onnx.ModelProto:
    """Build stage two from one block of it, for ``block_frames`` frames (or for a block of bins).

    It maps ``frames`` (number of frames T, int64 [1]) and what stage one returns to ``mask`` [B, 2, F, T].
    """
    recurrent = config.sub_band_model != "TCN"
    graph = parser.parse_graph(
        _frame_scan(config, block_frames) if recurrent else _bin_scan(config)
    )
    body = next(a.g for node in graph.node for a in node.attribute if a.name == "body")
    stage = compose.add_prefix(block, _BODY).graph
    body.node.extend(stage.node)
    body.initializer.extend(stage.initializer)
    if not recurrent:
        graph.initializer.append(numpy_helper.from_array(_blocks_of_bins(config), "blocks_of_bins"))
    return helper.make_model(graph, opset_imports=block.opset_import, ir_version=block.ir_version)


def _frame_scan(config: NetworkConfig, block_frames: int) -> str:
    """For LSTM and GRU: the Scan slices a block of frames and carries the state.

    The last block is filled up by repeating its last frame: the model never looks ahead, so what
    comes of it is dropped again.
    """
    states = state_names(config)
    timed, whole = _by_time(config)
    state_type = f"float[1,sequences,{config.sub_band_hidden_size}] {_BODY}"
    return f"""
    sub_band (int64[1] frames) => (float[batch,2,{config.n_freqs},frames] {OUTPUT_NAME})
    <int64[1] block = {{{block_frames}}}, int64[1] zero = {{0}}, int64[1] one = {{1}},
     int64[1] n_bins = {{{config.n_freqs}}},
     int64[1] n_hidden = {{{config.sub_band_hidden_size}}}, int64[1] time_axis = {{0}},
     int64[1] mask_time_axis = {{3}}, int64[1] look_ahead = {{{config.look_ahead}}},
     int64[4] mask_shape = {{0, 2, {config.n_freqs}, -1}}, int64 first = {{0}},
     int64 block_step = {{{block_frames}}}>
    {{
      n_frames = Add(frames, look_ahead)
      batch = Shape<start: int = 1, end: int = 2>({SOURCES[0]})
      frame_count = Squeeze(n_frames)
      flat_starts = Range(first, frame_count, block_step)
      starts = Unsqueeze(flat_starts, one)
      n_sequences = Mul(batch, n_bins)
      state_shape = Concat<axis: int = 0>(one, n_sequences, n_hidden)
      zero_state = ConstantOfShape(state_shape)
      {lines("last_{0}, ", states)} blocks = Scan <
        num_scan_inputs: int = 1,
        body: graph = block_body ({lines(state_type + "{0}, ", states)} int64[1] start)
          => ({lines(state_type + "{0}_out, ", states)}
              float[batch,2,{config.n_freqs},{block_frames}] {_BODY}mask)
        {{
          end = Add(start, block)
          stop = Min(end, n_frames)
          missing = Sub(end, stop)
          padding = Concat<axis: int = 0>(zero, zero, zero, missing, zero, zero)
          {lines("cut_{0} = Slice({0}, start, stop, time_axis)", timed)}
          {lines(_BODY + '{0} = Pad<mode: string = "edge">(cut_{0}, padding)', timed)}
          {lines(_BODY + "{0} = Identity({0})", whole)}
        }}
      > ({"zero_state, " * len(states)} starts)
      block_last = Transpose<perm: ints = [1, 2, 3, 0, 4]>(blocks)
      padded_mask = Reshape(block_last, mask_shape)
      {OUTPUT_NAME} = Slice(padded_mask, look_ahead, n_frames, mask_time_axis)
    }}"""


def _bin_scan(config: NetworkConfig) -> str:
    """For a TCN: the Scan takes a block of bins through all frames."""
    timed, whole = _by_time(config)
    n_bins = _blocks_of_bins(config)[..., 0].size
    return f"""
    sub_band (int64[1] frames) => (float[batch,2,{config.n_freqs},frames] {OUTPUT_NAME})
    <int64[2] crop_start = {{0, {config.look_ahead}}}, int64[2] crop_axes = {{2, 3}},
     int64[1] n_bins = {{{config.n_freqs}}}, int64[4] mask_shape = {{0, 2, {n_bins}, -1}},
     int64[1] look_ahead = {{{config.look_ahead}}}, int64[1] first_frame = {{0}}, int64[1] time_axis = {{0}}>
    {{
      n_frames = Add(frames, look_ahead)
      {lines("cut_{0} = Slice({0}, first_frame, n_frames, time_axis)", timed)}
      blocks = Scan <
        num_scan_inputs: int = 1,
        body: graph = block_body (int64[{BINS_PER_BLOCK},{config.sub_band_features}] {_BODY}index)
          => (float[batch,2,{BINS_PER_BLOCK},padded_frames] {_BODY}mask)
        {{
          {lines(_BODY + "{0} = Identity(cut_{0})", timed)}
          {lines(_BODY + "{0} = Identity({0})", whole)}
        }}
      > (blocks_of_bins)
      block_last = Transpose<perm: ints = [1, 2, 0, 3, 4]>(blocks)
      padded_mask = Reshape(block_last, mask_shape)
      crop_end = Concat<axis: int = 0>(n_bins, n_frames)
      {OUTPUT_NAME} = Slice(padded_mask, crop_start, crop_end, crop_axes)
    }}"""


def _by_time(config: NetworkConfig) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what the full-band stage hands over frame by frame, and what for the whole utterance.

    It is filled up to whole blocks of the full-band stage; only the first n_frames count.
    """
    statistics = statistics_names(config.norm)
    if norms.is_cumulative(config.norm):
        return (*SOURCES, *statistics), ()
    return SOURCES, statistics


def _blocks_of_bins(config: NetworkConfig) -> np.ndarray:
    """Neighbourhoods [blocks, bins, features], the last bin repeated up to a multiple of the block."""
    index = neighbourhoods(config).numpy()
    missing = -len(index) % BINS_PER_BLOCK
    padded = np.pad(index, ((0, missing), (0, 0)), mode="edge")
    return padded.reshape(-1, BINS_PER_BLOCK, index.shape[1])
