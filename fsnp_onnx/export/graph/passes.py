"""Passes over a graph that change no number: fewer nodes, fewer copies, smaller weights; and the model of it.

verify.py checks the numbers on the bytes of the whole file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import onnx
import onnxsim
from onnx import TensorProto, helper, numpy_helper

_NEWEST_IR: Final = 10  # what the oldest supported ONNX Runtime reads
_WORTH_IT: Final = 256  # weights; a Cast node needs room as well


def simplify(stage: onnx.ModelProto) -> onnx.ModelProto:
    """Return an exported stage with folded constants, without dead nodes and two kinds of copies.

    PyTorch's exporter transposes what an LSTM or GRU returns, [T, 1, rows, H], to [T, rows, 1, H].
    The one direction is an axis of length one, so a Reshape gives the same and copies nothing. And it
    slices the state of the one layer out of the states, which is all of them.
    """
    model: onnx.ModelProto
    model, _ = onnxsim.simplify(stage)
    _reshape_recurrent_outputs(model.graph)
    _drop_slices_of_all(model.graph)
    _drop_unread_weights(model.graph)
    return model


def _reshape_recurrent_outputs(graph: onnx.GraphProto) -> None:
    """Replace the copying transposes behind recurrent layers, in place."""
    n_hidden = {
        node.output[0]: next(a.i for a in node.attribute if a.name == "hidden_size")
        for node in graph.node
        if node.op_type in ("LSTM", "GRU")
    }
    rows_before_direction = helper.make_attribute("perm", [0, 2, 1, 3])
    for node in graph.node:
        if (
            node.op_type == "Transpose"
            and node.input[0] in n_hidden
            and list(node.attribute) == [rows_before_direction]
        ):
            shape = np.array([0, -1, 1, n_hidden[node.input[0]]], np.int64)
            name = f"{node.output[0]}_shape"
            graph.initializer.append(numpy_helper.from_array(shape, name))
            node.CopyFrom(helper.make_node("Reshape", [node.input[0], name], [node.output[0]]))


def _drop_slices_of_all(graph: onnx.GraphProto) -> None:
    """Drop every Slice that takes all of an input's first axis, in place."""
    first_axes = {port.name: port.type.tensor_type.shape.dim[0] for port in graph.input}
    lengths = {name: d.dim_value for name, d in first_axes.items() if d.HasField("dim_value")}
    constants = {weight.name: numpy_helper.to_array(weight) for weight in graph.initializer}
    outputs = {port.name for port in graph.output}
    whole = {}
    for node in list(graph.node):
        if node.op_type == "Slice" and node.input[0] in lengths and node.output[0] not in outputs:
            cut = [constants[name].tolist() for name in node.input[1:] if name in constants]
            if cut == [[0], [lengths[node.input[0]]], [0]]:  # start, end, axis
                whole[node.output[0]] = node.input[0]
                graph.node.remove(node)
    for node in graph.node:
        for position, name in enumerate(node.input):
            node.input[position] = whole.get(name, name)


def _drop_unread_weights(graph: onnx.GraphProto) -> None:
    """Drop what the passes left without a reader, in place; ONNX Runtime warns of such weights."""
    read = {port.name for port in graph.output} | _names_read(graph)
    weights = [weight for weight in graph.initializer if weight.name in read]
    del graph.initializer[:]
    graph.initializer.extend(weights)


def _names_read(graph: onnx.GraphProto) -> set[str]:
    """Return what nodes read, those in bodies of Scans and Loops included."""
    names = {name for node in graph.node for name in node.input}
    bodies = (a.g for node in graph.node for a in node.attribute if a.HasField("g"))
    return names.union(*map(_names_read, bodies))


def finished(graph: onnx.GraphProto, opsets: Sequence[onnx.OperatorSetIdProto]) -> onnx.ModelProto:
    """Return the model of a whole graph, weights stored as float16 where that loses nothing."""
    store_as_float16(graph)
    return helper.make_model(
        graph, opset_imports=opsets, ir_version=_NEWEST_IR, producer_name="fsnp-onnx"
    )


def store_as_float16(graph: onnx.GraphProto) -> None:
    """Store weights that are float16 numbers as float16 and cast them back inside the graph.

    A network whose weights were rounded to float16 after training takes half the space. ONNX Runtime
    folds the casts when it opens the file, so neither numbers nor speed change. The graph is changed in
    place, bodies of Scans and Loops included.
    """
    nodes = list(graph.node)
    del graph.node[:]
    for weight in graph.initializer:
        values, name = numpy_helper.to_array(weight), weight.name
        if values.dtype != np.float32 or values.size < _WORTH_IT:
            continue
        with np.errstate(over="ignore"):
            halves = values.astype(np.float16)
        if np.array_equal(halves.astype(np.float32), values):
            weight.CopyFrom(numpy_helper.from_array(halves, f"{name}_float16"))
            cast = helper.make_node("Cast", [weight.name], [name], to=TensorProto.FLOAT)
            graph.node.append(cast)
    graph.node.extend(nodes)
    for attribute in [attribute for node in graph.node for attribute in node.attribute]:
        if attribute.HasField("g"):
            store_as_float16(attribute.g)
