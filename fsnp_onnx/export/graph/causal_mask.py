"""The interface "mask" of a causal network: ``noisy_real, noisy_imag -> mask`` (docs/format.md).

The state starts as zeros and is dropped at the end. Frames beyond the last one are zeros, as in the network.
"""

from __future__ import annotations

import onnx

from fsnp_onnx.export.graph.causal_block import (
    BLOCK_CONSTANTS,
    Around,
    blocks_of,
    causal_block,
    over_blocks,
)
from fsnp_onnx.export.graph.causal_state import network_pieces, state_size
from fsnp_onnx.export.graph.text import lines
from fsnp_onnx.network.config import NetworkConfig
from fsnp_onnx.network.fullsubnet_plus import FullSubNetPlus
from fsnp_onnx.spec import INPUT_NAMES, OUTPUT_NAME


def causal_mask_block(network: FullSubNetPlus, opset: int) -> onnx.ModelProto:
    """Build a block: ``real, imag`` [batch, F, n] -> ``frames_mask`` [batch, 2, F, n]."""
    n_freqs = network.config.n_freqs
    parts = ("real", "imag")
    around = Around(
        inputs=", ".join(f"float[batch,{n_freqs},n] {part}" for part in parts),
        outputs=f"float[batch,2,{n_freqs},n] frames_mask",
        before=f"""
          {lines("{0}_by_frame = Transpose<perm: ints = [0, 2, 1]>({0})", parts)}
          {lines("{0}_part = Unsqueeze({0}_by_frame, axis_1)", parts)}
          spectrum = Concat<axis: int = 1>(real_part, imag_part)""",
        after="frames_mask = Transpose<perm: ints = [0, 1, 3, 2]>(mask)",
        pieces=(),
        constants="",
        weights={},
    )
    return causal_block(network, around, opset)


def causal_mask_model(block: onnx.ModelProto, config: NetworkConfig) -> onnx.ModelProto:
    """Build the file's graph from a block: any batch, any number of frames from one on."""
    n_freqs, size = config.n_freqs, state_size(network_pieces(config))
    inputs = ", ".join(f"float[batch,{n_freqs},frames] {name}" for name in INPUT_NAMES)
    parts = zip(("real", "imag"), INPUT_NAMES, strict=True)
    cuts = "".join(
        f"""
          cut_{part} = Slice({name}, start, stop, time_axis)
          block_{part} = Pad(cut_{part}, silence)"""
        for part, name in parts
    )
    return over_blocks(
        f"""
    fsnp ({inputs}) => (float[batch,2,{n_freqs},frames] {OUTPUT_NAME})
    <{BLOCK_CONSTANTS}, int64[1] look_ahead = {{{config.look_ahead}}}, int64[1] time_axis = {{2}},
     int64[1] mask_time_axis = {{3}}, int64[1] size = {{{size}}}, int64[4] mask_shape = {{0, 2, {n_freqs}, -1}}>
    {{
      frames = Shape<start: int = 2, end: int = 3>({INPUT_NAMES[0]})
      batch = Shape<start: int = 0, end: int = 1>({INPUT_NAMES[0]})
      n_steps = Add(frames, look_ahead)
      {blocks_of("n_steps")}
      start_shape = Concat<axis: int = 0>(batch, size)
      start_state = ConstantOfShape(start_shape)
      end_state, blocks = Scan <
        num_scan_inputs: int = 2,
        body: graph = block_body (float[batch,{size}] block_state, int64[1] start, int64[1] stop)
          => (float[batch,{size}] block_next_state, float[batch,2,{n_freqs},block] full_mask)
        {{
          inside_stop = Min(stop, frames)
          inside_start = Min(start, inside_stop)
          n_inside = Sub(inside_stop, inside_start)
          n_wanted = Sub(stop, start)
          n_silent = Sub(n_wanted, n_inside)
          silence = Concat<axis: int = 0>(zero, zero, zero, zero, zero, n_silent)
          {cuts}
          n_missing = Sub(block, n_wanted)
          filling = Concat<axis: int = 0>(zero, zero, zero, zero, zero, zero, zero, n_missing)
          full_mask = Pad(block_frames_mask, filling)
        }}
      > (start_state, starts, stops)
      blocks_last = Transpose<perm: ints = [1, 2, 3, 0, 4]>(blocks)
      all_masks = Reshape(blocks_last, mask_shape)
      {OUTPUT_NAME} = Slice(all_masks, look_ahead, n_steps, mask_time_axis)
    }}""",
        block,
    )
