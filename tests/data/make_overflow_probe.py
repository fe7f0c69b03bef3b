"""Write the runtime's overflow_probe.onnx: one product with the largest weights of 8 bits.

Run as ``python -m tests.data.make_overflow_probe``. There are no zero points, as the quantised LSTM's
weights have none, and rows, inner and columns fill whole vectors of every CPU.
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper

from fsnp_onnx.runtime.ort import INT8_PROBE

N_INNER, N_COLUMNS = 64, 32
LARGEST_WEIGHT = 127


def build() -> ModelProto:
    """Return the graph: products = inputs x weights, uint8 by int8 to int32."""
    weights = np.full((N_INNER, N_COLUMNS), LARGEST_WEIGHT, np.int8)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["inputs", "weights"], ["products"])],
        "overflow_probe",
        [helper.make_tensor_value_info("inputs", TensorProto.UINT8, ["rows", N_INNER])],
        [helper.make_tensor_value_info("products", TensorProto.INT32, ["rows", N_COLUMNS])],
        [numpy_helper.from_array(weights, "weights")],
    )
    opset = helper.make_opsetid("", 18)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8, producer_name="fsnp-onnx")
    checker.check_model(model, full_check=True)
    return model


if __name__ == "__main__":
    INT8_PROBE.write_bytes(build().SerializeToString(deterministic=True))
