"""The interface "stream": ``noisy, state -> enhanced, next_state``, hops of samples in and out (docs/live.md).

STFT and inverse are matrix products (transform.py). A frame spans the hop before and the hop given; the first hop of a
recording is mirrored to the left, as `torch.stft` does. A frame's mask comes ``look_ahead`` frames later,
and a hop of output needs the frame before and the frame after it. So the output is late by
``look_ahead + 1`` hops; before the start it is zero.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray

from fsnp_onnx.errors import ArgumentError
from fsnp_onnx.export.graph.causal_block import (
    BLOCK_CONSTANTS,
    Around,
    blocks_of,
    causal_block,
    over_blocks,
)
from fsnp_onnx.export.graph.causal_state import Piece, network_pieces, state_size
from fsnp_onnx.export.graph.text import FLOAT
from fsnp_onnx.export.graph.transform import (
    WAVES,
    bin_weights,
    mask_constants,
    masked,
    wave_tables,
)
from fsnp_onnx.network.config import NetworkConfig
from fsnp_onnx.network.fullsubnet_plus import FullSubNetPlus
from fsnp_onnx.spec import MaskSpec, ModelSpec, StateSpec, StftSpec


def require_streamable(config: NetworkConfig, stft: StftSpec) -> None:
    """Refuse a network that sees the whole recording, and frames that overlap by other than one half."""
    problem = None
    if not config.causal:
        problem = "the network is not causal: it sees the whole recording and cannot run live"
    elif stft.n_fft != 2 * stft.hop_length:
        problem = (
            f"hop_length is {stft.hop_length} of n_fft {stft.n_fft}, and a stream needs one half"
        )
    if problem:
        raise ArgumentError("interface", f"is stream, but {problem}; give mask or waveform")


def stream_state_size(config: NetworkConfig, stft: StftSpec) -> int:
    """Return the length S of the state."""
    return state_size([*_pieces(config, stft), *network_pieces(config)])


def stream_latency(config: NetworkConfig, stft: StftSpec) -> int:
    """Return how many samples the output is late, ``look_ahead + 1`` hops."""
    return (config.look_ahead + 1) * stft.hop_length


def as_stream(spec: ModelSpec, config: NetworkConfig) -> ModelSpec:
    """Return the metadata of a network's stream, given those of its masks."""
    return replace(
        spec,
        interface="stream",
        state=StateSpec("state", "next_state", stream_state_size(config, spec.stft)),
        latency_samples=stream_latency(config, spec.stft),
    )


def stream_block(
    network: FullSubNetPlus, stft: StftSpec, mask: MaskSpec, opset: int
) -> onnx.ModelProto:
    """Build a block: ``hops`` [batch, n, hop] -> ``enhanced_hops`` [batch, n, hop]."""
    config, hop = network.config, stft.hop_length
    around = Around(
        inputs=f"float[batch,n,{hop}] hops",
        outputs=f"float[batch,n,{hop}] enhanced_hops",
        before=_ANALYSIS,
        after=_delayed(config) + masked("delayed", "mask", axis=1) + _SYNTHESIS,
        pieces=_pieces(config, stft),
        constants=f"""
          {mask_constants(mask, "float")}, int64 scalar_one = {{1}}, float hops_late = {{{config.look_ahead + 1}}},
          int64[1] hop = {{{hop}}}, int64[1] n_fft = {{{stft.n_fft}}}""",
        weights=_tables(stft),
    )
    return causal_block(network, around, opset)


def stream_model(block: onnx.ModelProto, config: NetworkConfig, stft: StftSpec) -> onnx.ModelProto:
    """Build the file's graph from a block: any batch, any number of whole hops from one on."""
    hop, size = stft.hop_length, stream_state_size(config, stft)
    return over_blocks(
        f"""
    fsnp (float[batch,samples] noisy, float[batch,{size}] state)
      => (float[batch,samples] enhanced, float[batch,{size}] next_state)
    <{BLOCK_CONSTANTS}, int64[3] by_hop = {{0, -1, {hop}}}, int64[2] by_sample = {{0, -1}},
     int64[1] hop_axis = {{1}}>
    {{
      all_hops = Reshape(noisy, by_hop)
      n_hops = Shape<start: int = 1, end: int = 2>(all_hops)
      {blocks_of("n_hops")}
      next_state, blocks = Scan <
        num_scan_inputs: int = 2,
        body: graph = block_body (float[batch,{size}] block_state, int64[1] start, int64[1] stop)
          => (float[batch,{size}] block_next_state, float[batch,block,{hop}] full_hops)
        {{
          block_hops = Slice(all_hops, start, stop, hop_axis)
          n_given = Sub(stop, start)
          n_missing = Sub(block, n_given)
          filling = Concat<axis: int = 0>(zero, zero, zero, zero, n_missing, zero)
          full_hops = Pad(block_enhanced_hops, filling)
        }}
      > (state, starts, stops)
      blocks_last = Transpose<perm: ints = [1, 0, 2, 3]>(blocks)
      all_enhanced = Reshape(blocks_last, by_hop)
      valid = Slice(all_enhanced, zero, n_hops, hop_axis)
      enhanced = Reshape(valid, by_sample)
    }}""",
        block,
    )


def _pieces(config: NetworkConfig, stft: StftSpec) -> list[Piece]:
    """Hops so far, the hop before, the frames that wait for their masks, half of the frame before."""
    hop, waiting = stft.hop_length, config.look_ahead
    spectra = [Piece("spectra", (2, waiting, config.n_freqs))] if waiting else []
    return [Piece("count", (1,)), Piece("hop", (1, hop)), *spectra, Piece("half", (1, hop))]


_ANALYSIS: Final = f"""
      {WAVES}
      exact_analysis = Mul(waves, window)
      analysis = Cast<to: int = {FLOAT}>(exact_analysis)
      first_hop = Gather<axis: int = 1>(hops, first)
      mirrored = Gather<axis: int = 2>(first_hop, mirror)
      at_start = Equal(was_count, float_zero)
      at_start_hop = Unsqueeze(at_start, axis_2)
      hop_before = Where(at_start_hop, mirrored, was_hop)
      hops_from_before = Concat<axis: int = 1>(hop_before, hops)
      now_hop = Gather<axis: int = 1>(hops, last)
      given = Shape<start: int = 1, end: int = 2>(hops)
      given_and_one = Add(given, one)
      range_end = Squeeze(given_and_one)
      steps = Range(scalar_one, range_end, scalar_one)
      float_steps = Cast<to: int = {FLOAT}>(steps)
      counts = Add(was_count, float_steps)
      last_count = Gather<axis: int = 1>(counts, last)
      now_count = Min(last_count, hops_late)
      hops_before = Slice(hops_from_before, first, given, axis_1)
      frames = Concat<axis: int = 2>(hops_before, hops)
      one_frames = Unsqueeze(frames, axis_1)
      spectrum = MatMul(one_frames, analysis)"""


def _delayed(config: NetworkConfig) -> str:
    """Return the nodes of the spectrum that the masks belong to: ``delayed`` [batch, 2, n, F]."""
    if not config.look_ahead:
        return "delayed = Identity(spectrum)"
    return """
      spectra_from_before = Concat<axis: int = 2>(was_spectra, spectrum)
      now_spectra = Slice(spectra_from_before, n_frames, beyond_all, axis_2)
      delayed = Slice(spectra_from_before, first, n_frames, axis_2)"""


_SYNTHESIS: Final = f"""
      waves_by_bin = Transpose<perm: ints = [0, 2, 1]>(waves)
      weighted_waves = Mul(waves_by_bin, bin_weights)
      exact_synthesis = Mul(weighted_waves, window_of_sums)
      synthesis = Cast<to: int = {FLOAT}>(exact_synthesis)
      part_waves = MatMul(masked, synthesis)
      sound = ReduceSum<keepdims: int = 0>(part_waves, axis_1)
      left_halves = Slice(sound, first, hop, axis_2)
      right_halves = Slice(sound, hop, n_fft, axis_2)
      halves_from_before = Concat<axis: int = 1>(was_half, right_halves)
      now_half = Gather<axis: int = 1>(right_halves, last)
      halves_before = Slice(halves_from_before, first, given, axis_1)
      added = Add(halves_before, left_halves)
      counted = Greater(counts, hops_late)
      begun = Cast<to: int = {FLOAT}>(counted)
      begun_hops = Unsqueeze(begun, axis_2)
      enhanced_hops = Mul(added, begun_hops)"""


def _tables(stft: StftSpec) -> dict[str, NDArray[Any]]:
    window, hop = stft.window(), stft.hop_length
    overlap = np.square(window[:hop]) + np.square(window[hop:])
    return wave_tables(stft, stft.n_fft) | {
        "window": window[:, None],
        "window_of_sums": window / np.tile(overlap, 2),
        "bin_weights": bin_weights(stft)[:, None],
        "mirror": np.array([0, *range(hop - 1, 0, -1)]),  # the window is 0 at the first sample
    }
