"""Write unity.onnx: the interface of an exported file with a mask that changes nothing.

Run as ``python tests/data/make_unity.py``. The mask is (10 - 10 e^-0.1) / (1 + e^-0.1), the
compressed form of 1, in the real part and 0 in the imaginary part, for any batch and length.
"""

from __future__ import annotations

import math
from pathlib import Path

from onnx import ModelProto, TensorProto, checker, helper

from fsnp_onnx.spec import INPUT_NAMES, METADATA_KEY, OUTPUT_NAME, MaskSpec, ModelSpec, StftSpec

SPEC = ModelSpec(
    StftSpec(),
    min_frames=8,
    look_ahead=2,
    provenance={"exporter": "tests/data/make_unity.py", "opset": 17},
)


def compressed_one(mask: MaskSpec) -> float:
    """Return the compressed value whose decompressed value is 1."""
    return mask.k * math.tanh(mask.c / 2)


def build(spec: ModelSpec = SPEC) -> ModelProto:
    """Return the graph for a spec: input -> input * 0 + constant, both parts concatenated."""
    n_freqs = spec.stft.n_freqs
    axes: list[str | int | None] = ["batch", n_freqs, "frames"]
    initializers = [
        helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
        helper.make_tensor("one", TensorProto.FLOAT, [], [compressed_one(spec.mask)]),
        helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
    ]
    real, imag = INPUT_NAMES
    nodes = [
        helper.make_node("Mul", [real, "zero"], ["zeros"]),
        helper.make_node("Add", ["zeros", "one"], ["ones"]),
        helper.make_node("Mul", [imag, "zero"], ["zeros_imag"]),
        helper.make_node("Unsqueeze", ["ones", "axis"], ["mask_real"]),
        helper.make_node("Unsqueeze", ["zeros_imag", "axis"], ["mask_imag"]),
        helper.make_node("Concat", ["mask_real", "mask_imag"], [OUTPUT_NAME], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "unity",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, axes) for n in INPUT_NAMES],
        [
            helper.make_tensor_value_info(
                OUTPUT_NAME, TensorProto.FLOAT, ["batch", 2, n_freqs, "frames"]
            )
        ],
        initializers,
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
        producer_name="fsnp-onnx",
    )
    helper.set_model_props(model, {METADATA_KEY: spec.to_metadata()})
    checker.check_model(model)
    return model


if __name__ == "__main__":
    Path(__file__).with_name("unity.onnx").write_bytes(
        build().SerializeToString(deterministic=True)
    )
