"""Quantise the sub-band LSTM to 8 bits, for CPUs.

ONNX Runtime's DynamicQuantizeLSTM multiplies 8-bit matrices. Weights are rounded here, with one scale per
gate row. Activations are rounded at run time, with one scale for a whole block of input. The first
layer's input makes nearly all of the error: in the bundled model, full-band outputs of up to 250 share a
scale with magnitudes whose median is 0.3, less than one step of 8 bits. (The second layer's input lies
within +-1.) So the first layer's input is given twice, as a coarse part on a grid of 8 bits and as the
rest, magnified:

    x = coarse + rest,    W x = W coarse + (W / 16) (16 rest)

This is the same matrix multiplication with a step 16 times finer, at the cost of a wider matrix.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import compose, helper, numpy_helper, parser

from fsnp_onnx.errors import ArgumentError
from fsnp_onnx.network.config import NetworkConfig

_CONTRIB_DOMAIN: Final = "com.microsoft"
# A larger one makes the grid finer and the weights of the rest coarser: they share a scale with W.
_MAGNIFICATION: Final = 16
_LARGEST: Final = 127  # of 8 bits, symmetric

# The two constant columns have no weight. They fix the range that ONNX Runtime divides into 255
# steps, so that the coarse part falls exactly on them.
_SPLIT: Final = f"""
split (float[n, rows, features] x) => (float[n, rows, columns] split_x)
<float smallest = {{1e-20}}, float largest = {{{_LARGEST}}}, float half_range = {{{_LARGEST + 0.5}}},
 float magnification = {{{_MAGNIFICATION}}}, int64[1] one = {{1}}>
{{
  absolute = Abs(x)
  found_peak = ReduceMax(absolute)
  peak = Max(found_peak, smallest)
  step = Div(peak, largest)
  in_steps = Div(x, step)
  whole_steps = Round(in_steps)
  coarse = Mul(whole_steps, step)
  rest = Sub(x, coarse)
  magnified = Mul(rest, magnification)
  shape = Shape<start: int = 0, end: int = 2>(x)
  column_shape = Concat<axis: int = 0>(shape, one)
  top = Mul(step, half_range)
  highest = Expand(top, column_shape)
  lowest = Neg(highest)
  split_x = Concat<axis: int = 2>(coarse, magnified, highest, lowest)
}}"""


def require_quantisable(config: NetworkConfig) -> None:
    """Refuse a network that ONNX Runtime cannot run in 8 bits."""
    if config.sub_band_model != "LSTM":
        raise ArgumentError(
            "precision",
            f"is int8, but the sub-band model is a {config.sub_band_model}, for which ONNX Runtime "
            "has no quantised kernel; give float32",
        )


def quantize(sub_band: onnx.ModelProto) -> onnx.ModelProto:
    """Return a simplified block of stage two whose LSTM layers multiply 8-bit matrices."""
    model = onnx.ModelProto()
    model.CopyFrom(sub_band)
    _split_input(model.graph, next(node for node in model.graph.node if node.op_type == "LSTM"))
    for node in model.graph.node:
        if node.op_type == "LSTM":
            _quantize_layer(model.graph, node)
    model.opset_import.append(helper.make_opsetid(_CONTRIB_DOMAIN, 1))
    return model


def _split_input(graph: onnx.GraphProto, layer: onnx.NodeProto) -> None:
    """Insert the split before a layer and give its input weights the columns that go with it."""
    split = compose.add_prefix_graph(parser.parse_graph(_SPLIT), "split_")
    x = helper.make_node("Identity", [layer.input[0]], [split.input[0].name])
    layer.input[0] = split.output[0].name
    nodes = list(graph.node)
    position = nodes.index(layer)
    del graph.node[:]
    graph.node.extend([*nodes[:position], x, *split.node, *nodes[position:]])
    graph.initializer.extend(split.initializer)
    weights = _initializer(graph, layer.input[1])
    values = numpy_helper.to_array(weights)  # [1, 4 H, features]
    columns = (values, values / _MAGNIFICATION, np.zeros((*values.shape[:2], 2), np.float32))
    weights.CopyFrom(numpy_helper.from_array(np.concatenate(columns, axis=2), weights.name))


def _quantize_layer(graph: onnx.GraphProto, layer: onnx.NodeProto) -> None:
    """Turn LSTM(X, W, R, B, lengths, h, c) into DynamicQuantizeLSTM(..., P, scales, zero points)."""
    peepholes = [""] * (8 - len(layer.input))
    layer.input.extend(peepholes)
    for name in layer.input[1:3]:
        weights = _initializer(graph, name)
        rounded, scale = round_rows(numpy_helper.to_array(weights)[0])
        zero_points = np.zeros((1, scale.size), np.int8)
        weights.CopyFrom(numpy_helper.from_array(rounded.T[None].copy(), name))
        graph.initializer.append(numpy_helper.from_array(scale[None], f"{name}_scale"))
        graph.initializer.append(numpy_helper.from_array(zero_points, f"{name}_zero"))
        layer.input.extend([f"{name}_scale", f"{name}_zero"])
    layer.op_type, layer.domain = "DynamicQuantizeLSTM", _CONTRIB_DOMAIN
    kept = [a for a in layer.attribute if a.name != "layout"]  # it has none; its layout is 0
    del layer.attribute[:]
    layer.attribute.extend(kept)


def round_rows(weights: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round a matrix [rows, columns] to int8 in +-127, every row on its own scale, float32 [rows].

    The product of both is the matrix to half a scale.
    """
    peak = np.abs(weights).max(axis=1)
    smallest = np.finfo(np.float32).tiny  # a smaller scale would lose bits of its own
    scale = np.where(peak > _LARGEST * smallest, peak / _LARGEST, 1).astype(np.float32)
    rounded = np.clip(np.rint(weights / scale[:, None]), -_LARGEST, _LARGEST)
    return rounded.astype(np.int8), scale


def _initializer(graph: onnx.GraphProto, name: str) -> onnx.TensorProto:
    tensors: dict[str, onnx.TensorProto] = {tensor.name: tensor for tensor in graph.initializer}
    return tensors[name]
