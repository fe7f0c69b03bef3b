"""Store weights as float16 where that loses nothing, and cast them back inside the graph.

A network whose weights were rounded to float16 after training takes half the space this way. ONNX Runtime
folds the casts when it opens the file, so that neither numbers nor speed change.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_WORTH_IT: Final = 256  # weights; a Cast node takes room too


def compact(graph: onnx.GraphProto) -> None:
    """Replace float32 weights that are float16 numbers, in place, bodies of Scans and Loops included."""
    casts = []
    for weight in graph.initializer:
        if weight.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(weight)
        with np.errstate(over="ignore"):
            halves = values.astype(np.float16)
        if values.size < _WORTH_IT or not np.array_equal(halves.astype(np.float32), values):
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(halves, f"{name}_float16"))
        casts.append(helper.make_node("Cast", [weight.name], [name], to=TensorProto.FLOAT))
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend([*casts, *nodes])
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                compact(attribute.g)
