"""The interface "waveform": the transform, a mask graph and the inverse, ``noisy -> enhanced``.

The graph does what the runtime does in numpy: zeros up to the shortest length, reflection at both ends,
the spectrum, the mask, one more frame for the tail, overlap and add (docs/format.md). ONNX's STFT has no
CUDA kernel, so both transforms are matrix multiplications with cosines and sines under the window. They
take float64, because the network divides by means that nearly vanish: it sees a spectrum that was rounded
once. That is about two per cent of the arithmetic of the bundled network.

Both transforms run in Scans over blocks of frames, and the spectrum is computed again for the inverse. So
memory is the mask graph's own and that of the samples. A block of samples is cut into rows of one hop.
A frame is a row and the next ones, so frames are cut out, and added up, by shifting rows.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import compose, helper, numpy_helper, parser

from fsnp_onnx.export.graph.text import DOUBLE, FLOAT, lines
from fsnp_onnx.export.graph.transform import (
    WAVES,
    bin_weights,
    mask_constants,
    masked,
    wave_tables,
)
from fsnp_onnx.spec import ENHANCED, INPUT_NAMES, NOISY, OUTPUT_NAME, ModelSpec, StftSpec

BLOCK_FRAMES: Final = 64  # half a megabyte or less for each tensor of a block
_PREFIX: Final = "waveform_"


def waveform_model(mask: onnx.ModelProto, spec: ModelSpec) -> onnx.ModelProto:
    """Put both transforms around a graph of the interface "mask".

    The result maps ``noisy`` [batch, samples] to ``enhanced`` [batch, samples], float32, of any length
    from one sample. A row of zeros gives zeros, whatever the mask.
    """
    before, after = (parser.parse_graph(text) for text in (_analysis(spec), _synthesis(spec)))
    before.initializer.extend(
        numpy_helper.from_array(values, name) for name, values in _tables(spec).items()
    )
    ports = {port.name for port in (*before.output, *after.output)}
    own = [name for graph in (before, after) for node in graph.node for name in node.output]
    own += [constant.name for constant in before.initializer]
    names = {name: _PREFIX + name for name in own if name not in ports}
    for graph in (before, after):
        compose.add_prefix_graph(
            graph, _PREFIX, rename_inputs=False, rename_outputs=False, inplace=True, name_map=names
        )
    graph = helper.make_graph(
        [*before.node, *mask.graph.node, *after.node],
        "fsnp_waveform",
        before.input,
        after.output,
        [*mask.graph.initializer, *before.initializer],
    )
    return helper.make_model(
        graph,
        opset_imports=mask.opset_import,
        ir_version=mask.ir_version,
        producer_name=mask.producer_name,
    )


def _rows_of_a_frame(stft: StftSpec) -> range:
    return range(-(-stft.n_fft // stft.hop_length))


def _tables(spec: ModelSpec) -> dict[str, NDArray[Any]]:
    """Waves, windows, positions: the constants that are arrays."""
    stft = spec.stft
    n_fft, half = stft.n_fft, stft.n_fft // 2
    reach = len(_rows_of_a_frame(stft)) * stft.hop_length
    window = np.pad(stft.window(), (0, reach - n_fft))
    tail = np.arange(reach) >= max(0, half - stft.hop_length)  # where its frame counts
    return wave_tables(stft, reach) | {
        "window": window[:, None],
        "squared_window": np.square(window),
        "bin_scale": np.tile(bin_weights(stft), 2),
        "tail": tail.astype(np.float64),
        "frame_offsets": np.arange(BLOCK_FRAMES),
        "left_positions": np.arange(half, 0, -1),
        "right_offsets": np.arange(n_fft - half + stft.hop_length),  # the frame of the tail ends
    }


def _analysis(spec: ModelSpec) -> str:
    """From the samples to the spectrum; the constants of both pieces."""
    stft, block, most = spec.stft, BLOCK_FRAMES, spec.min_frames * spec.stft.hop_length
    n_freqs, n_fft, hop, half = stft.n_freqs, stft.n_fft, stft.hop_length, stft.n_fft // 2
    rows = _rows_of_a_frame(stft)
    spectrum, block_type = (f"float[batch,{n_freqs},{length}]" for length in ("frames", block))
    real, imag = INPUT_NAMES
    shifts = [
        f"int64[1] shift_{row} = {{{row}}}, int64[1] shift_end_{row} = {{{row + block}}}, "
        f"int64[6] to_row_{row} = {{0, {row}, 0, 0, {rows[-1] - row}, 0}}"
        for row in rows
    ]
    return f"""
    analysis (float[batch,samples] {NOISY}) => ({spectrum} {real}, {spectrum} {imag})
    <int64[1] zero = {{0}}, int64[1] one = {{1}}, int64[1] two = {{2}}, int64[1] minus_one = {{-1}},
     int64[1] most = {{{np.iinfo(np.int64).max}}}, int64[1] n_fft = {{{n_fft}}}, int64[1] hop = {{{hop}}},
     int64[1] half = {{{half}}}, int64[1] n_behind = {{{spec.filled(most) - most}}},
     int64[1] shortest = {{{spec.filled(0)}}},
     int64[2] edge_lengths = {{{half}, {n_fft - half + hop}}}, int64[1] n_edges = {{{n_fft + hop}}},
     int64[1] n_further_frames = {{{-(-half // hop) + 1}}}, int64 first = {{0}}, int64 step = {{{block}}},
     int64[1] block = {{{block}}}, int64[1] block_minus_one = {{{block - 1}}},
     int64[1] n_last_rows = {{{rows[-1]}}}, int64[1] block_samples = {{{(block + rows[-1]) * hop}}},
     int64[3] row_shape = {{0, {block + rows[-1]}, {hop}}}, int64[3] part_shape = {{0, {n_freqs}, -1}},
     int64[2] wave_shape = {{0, -1}}, {", ".join(shifts)},
     int64[2] overlap_rows = {{{rows[-1]}, {hop}}}, int64[2] done_and_next = {{{block}, {rows[-1]}}},
     int64[3] mask_shape = {{0, {block}, {2 * n_freqs}}}, int64[2] sample_shape = {{0, -1}},
     int64[{len(rows)}] row_lengths = {{{", ".join([str(hop)] * len(rows))}}},
     int64[6] before_rows = {{0, 0, 0, 0, {block}, 0}}, float silence = {{0}},
     {mask_constants(spec.mask, "double")}, double no_weight = {{1e-300}}>
    {{
      {WAVES}
      side_by_side = Transpose<perm: ints = [1, 0, 2]>(waves)
      flat_waves = Reshape(side_by_side, wave_shape)
      analysis_basis = Mul(flat_waves, window)

      batch = Shape<start: int = 0, end: int = 1>({NOISY})
      n_samples = Shape<start: int = 1, end: int = 2>({NOISY})
      with_silence = Add(n_samples, n_behind)
      length = Max(with_silence, shortest)
      n_zeros = Sub(length, n_samples)
      with_zeros = Concat<axis: int = 0>(zero, zero, zero, n_zeros)
      signal = Pad({NOISY}, with_zeros)
      n_whole_hops = Div(length, hop)
      n_frames = Add(n_whole_hops, one)

      right_positions = Add(length, right_offsets)
      outside = Concat<axis: int = 0>(left_positions, right_positions)
      last_position = Sub(length, one)
      there_and_back = Mul(last_position, two)
      period = Max(there_and_back, one)
      way = Mod(outside, period)
      way_back = Sub(period, way)
      reflected = Min(way, way_back)
      edges = Gather<axis: int = 1>(signal, reflected)
      left, right = Split<axis: int = 1>(edges, edge_lengths)

      n_needed_frames = Add(n_frames, n_further_frames)
      n_needed_and_block = Add(n_needed_frames, block_minus_one)
      n_blocks = Div(n_needed_and_block, block)
      n_padded_frames = Mul(n_blocks, block)
      frame_count = Squeeze(n_padded_frames)
      flat_first_frames = Range(first, frame_count, step)
      first_frames = Unsqueeze(flat_first_frames, one)
      n_padded_rows = Add(n_padded_frames, n_last_rows)
      n_padded_samples = Mul(n_padded_rows, hop)
      n_given = Add(length, n_edges)
      n_filling = Sub(n_padded_samples, n_given)
      filling_shape = Concat<axis: int = 0>(batch, n_filling)
      filling = ConstantOfShape(filling_shape)
      padded = Concat<axis: int = 1>(left, signal, right, filling)

      real_blocks, imag_blocks = Scan <
        num_scan_inputs: int = 1, scan_output_axes: ints = [2, 2],
        body: graph = analysis_block (int64[1] first_frame)
          => ({block_type} real_block, {block_type} imag_block)
        {{
          {_spectrum_of_a_block(rows)}
          narrow = Cast<to: int = {FLOAT}>(spectrum)
          by_bin = Transpose<perm: ints = [0, 2, 1]>(narrow)
          real_block, imag_block = Split<axis: int = 1, num_outputs: int = 2>(by_bin)
        }}
      > (first_frames)
      all_real = Reshape(real_blocks, part_shape)
      all_imag = Reshape(imag_blocks, part_shape)
      {real} = Slice(all_real, zero, n_frames, two)
      {imag} = Slice(all_imag, zero, n_frames, two)
    }}"""


def _spectrum_of_a_block(rows: range) -> str:
    """From ``first_frame`` on, double [batch, block, 2 F]: real parts, then imaginary parts."""
    return f"""
          start = Mul(first_frame, hop)
          stop = Add(start, block_samples)
          piece = Slice(padded, start, stop, one)
          narrow_rows = Reshape(piece, row_shape)
          rows = Cast<to: int = {DOUBLE}>(narrow_rows)
          {lines("shifted_{0} = Slice(rows, shift_{0}, shift_end_{0}, one)", map(str, rows))}
          frames = Concat<axis: int = 2>({", ".join(f"shifted_{row}" for row in rows)})
          spectrum = MatMul(frames, analysis_basis)"""


def _synthesis(spec: ModelSpec) -> str:
    """From the mask to the samples; the sum of the squared windows is one more row of the batch."""
    stft, rows = spec.stft, _rows_of_a_frame(spec.stft)
    overlap = f"double[rows,{rows[-1]},{stft.hop_length}]"
    sums = [f"sum_{row + 1} = Add(sum_{row}, moved_{row})" for row in rows]
    return f"""
    synthesis (float[batch,2,{stft.n_freqs},frames] {OUTPUT_NAME}, float[batch,samples] {NOISY})
      => (float[batch,samples] {ENHANCED})
    {{
      scaled_waves = Mul(analysis_basis, bin_scale)
      synthesis_basis = Transpose<perm: ints = [1, 0]>(scaled_waves)
      last_frame = Sub(n_frames, one)
      batch_and_weight = Add(batch, one)
      overlap_shape = Concat<axis: int = 0>(batch_and_weight, overlap_rows)
      no_overlap = ConstantOfShape<value: tensor = double[1] {{0}}>(overlap_shape)
      last_overlap, blocks = Scan <
        num_scan_inputs: int = 1, scan_output_axes: ints = [1],
        body: graph = synthesis_block ({overlap} overlap, int64[1] first_frame)
          => ({overlap} next_overlap, float[batch,{BLOCK_FRAMES * stft.hop_length}] sound)
        {{
          {_spectrum_of_a_block(rows)}
          numbers = Add(first_frame, frame_offsets)
          under_mask = Min(numbers, last_frame)
          compressed = Gather<axis: int = 3>({OUTPUT_NAME}, under_mask)
          by_frame = Transpose<perm: ints = [0, 3, 1, 2]>(compressed)
          narrow_mask = Reshape(by_frame, mask_shape)
          mask_parts = Cast<to: int = {DOUBLE}>(narrow_mask)
          {masked("spectrum", "mask_parts", axis=2)}
          windowed = MatMul(masked, synthesis_basis)

          column = Unsqueeze(numbers, one)
          is_whole = Less(column, n_frames)
          is_tail = Equal(column, n_frames)
          whole = Cast<to: int = {DOUBLE}>(is_whole)
          partial = Cast<to: int = {DOUBLE}>(is_tail)
          of_tail = Mul(partial, tail)
          share = Add(whole, of_tail)
          shared = Mul(windowed, share)
          flat_weight = Mul(squared_window, share)
          weight = Unsqueeze(flat_weight, zero)
          both = Concat<axis: int = 0>(shared, weight)
          {", ".join(f"part_{row}" for row in rows)} = Split<axis: int = 2>(both, row_lengths)
          {lines("moved_{0} = Pad(part_{0}, to_row_{0})", map(str, rows))}
          sum_0 = Pad(overlap, before_rows)
          {lines("{0}", sums)}
          complete, next_overlap = Split<axis: int = 1>(sum_{len(rows)}, done_and_next)
          total = Slice(complete, zero, minus_one, zero)
          found_weight = Slice(complete, minus_one, most, zero)
          divisor = Max(found_weight, no_weight)
          sound_rows = Div(total, divisor)
          narrow_sound = Cast<to: int = {FLOAT}>(sound_rows)
          sound = Reshape(narrow_sound, sample_shape)
        }}
      > (no_overlap, first_frames)
      all_sound = Reshape(blocks, sample_shape)
      stop_sample = Add(half, n_samples)
      kept = Slice(all_sound, half, stop_sample, one)
      levels = Abs({NOISY})
      level = ReduceSum(levels, one)
      is_silent = Equal(level, silence)
      {ENHANCED} = Where(is_silent, silence, kept)
    }}"""
