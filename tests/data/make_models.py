"""Write unity.onnx, wavy.onnx, frozen.onnx, halves.onnx and delay.onnx: exported files in miniature.

Run as ``python -m tests.data.make_models``. Unity's mask is K tanh(c / 2), the compressed form of 1, in
the real part and 0 in the imaginary part, for any batch and length; frozen is unity for 100 frames only.
Wavy's mask is 11 sin and 11 cos of a phase that grows with bins and frames. Halves takes samples, and
returns half of each. Delay is a stream that does so two hops later.
"""

from __future__ import annotations

import math

from onnx import ModelProto, NodeProto, TensorProto, checker, helper

from fsnp_onnx.spec import ENHANCED, INPUT_NAMES, METADATA_KEY, NOISY, OUTPUT_NAME, ModelSpec
from tests.runtime.models import DELAY, DELAY_SPEC, FROZEN, HALVES, SPEC, UNITY, WAVEFORM_SPEC, WAVY

REAL, IMAG = INPUT_NAMES
ONE = SPEC.mask.k * math.tanh(SPEC.mask.c / 2)


def build_unity() -> ModelProto:
    """Return the graph: input -> input * 0 + constant, both parts concatenated."""
    nodes = [
        helper.make_node("Mul", [REAL, "zero"], ["zeros"]),
        helper.make_node("Add", ["zeros", "one"], ["real"]),
        helper.make_node("Mul", [IMAG, "zero"], ["imag"]),
    ]
    return _model("unity", nodes, {"zero": 0.0, "one": ONE})


def build_wavy() -> ModelProto:
    """Return the graph: the running sums of ones give every bin and frame a phase of its own."""
    nodes = [
        helper.make_node("Mul", [REAL, "zero"], ["zeros_real"]),
        helper.make_node("Mul", [IMAG, "zero"], ["zeros_imag"]),
        helper.make_node("Add", ["zeros_real", "zeros_imag"], ["zeros"]),
        helper.make_node("Add", ["zeros", "step"], ["steps"]),
        helper.make_node("CumSum", ["steps", "one_axis"], ["over_bins"]),
        helper.make_node("CumSum", ["over_bins", "two_axis"], ["phase"]),
        helper.make_node("Sin", ["phase"], ["sine"]),
        helper.make_node("Cos", ["phase"], ["cosine"]),
        helper.make_node("Mul", ["sine", "eleven"], ["real"]),
        helper.make_node("Mul", ["cosine", "eleven"], ["imag"]),
    ]
    return _model("wavy", nodes, {"zero": 0.0, "step": 0.7, "eleven": 11.0})


def build_frozen() -> ModelProto:
    """Return unity with a fixed number of frames."""
    model = build_unity()
    for tensor in (*model.graph.input, *model.graph.output):
        tensor.type.tensor_type.shape.dim[-1].dim_value = 100
    return model


def build_halves() -> ModelProto:
    """Return the graph: enhanced = noisy / 2."""
    half = helper.make_tensor("half", TensorProto.FLOAT, [], [0.5])
    nodes = [helper.make_node("Mul", [NOISY, "half"], [ENHANCED])]
    return _stamped("halves", nodes, [half], WAVEFORM_SPEC)


def build_delay() -> ModelProto:
    """Return the graph: of state and input joined, the first are halved and go out, the last stay."""
    nodes = [
        helper.make_node("Concat", ["state", NOISY], ["joined"], axis=1),
        helper.make_node("Slice", ["joined", "zero", "late", "axis"], ["earlier"]),
        helper.make_node("Mul", ["earlier", "half"], [ENHANCED]),
        helper.make_node("Slice", ["joined", "late", "end", "axis"], ["next_state"]),
    ]
    numbers = {"zero": 0, "late": -512, "axis": 1, "end": 2**63 - 1}
    initializers = [
        helper.make_tensor("half", TensorProto.FLOAT, [], [0.5]),
        *(helper.make_tensor(key, TensorProto.INT64, [1], [n]) for key, n in numbers.items()),
    ]
    return _stamped("delay", nodes, initializers, DELAY_SPEC)


def _model(name: str, nodes: list[NodeProto], constants: dict[str, float]) -> ModelProto:
    nodes = [
        *nodes,
        helper.make_node("Unsqueeze", ["real", "axes"], ["mask_real"]),
        helper.make_node("Unsqueeze", ["imag", "axes"], ["mask_imag"]),
        helper.make_node("Concat", ["mask_real", "mask_imag"], [OUTPUT_NAME], axis=1),
    ]
    initializers = [
        helper.make_tensor(key, TensorProto.FLOAT, [], [value]) for key, value in constants.items()
    ]
    used = {name for node in nodes for name in node.input}
    axes = {"axes": 1, "one_axis": 1, "two_axis": 2}
    initializers += [
        helper.make_tensor(key, TensorProto.INT64, [1], [axis])
        for key, axis in axes.items()
        if key in used
    ]
    return _stamped(name, nodes, initializers, SPEC)


def _stamped(
    name: str, nodes: list[NodeProto], initializers: list[TensorProto], spec: ModelSpec
) -> ModelProto:
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info(t.name, TensorProto.FLOAT, t.shape) for t in spec.inputs],
        [helper.make_tensor_value_info(t.name, TensorProto.FLOAT, t.shape) for t in spec.outputs],
        initializers,
    )
    opset = helper.make_opsetid("", 17)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8, producer_name="fsnp-onnx")
    helper.set_model_props(model, {METADATA_KEY: spec.to_metadata()})
    checker.check_model(model, full_check=True)
    return model


MODELS = {
    UNITY: build_unity,
    WAVY: build_wavy,
    FROZEN: build_frozen,
    HALVES: build_halves,
    DELAY: build_delay,
}

if __name__ == "__main__":
    for path, build in MODELS.items():
        path.write_bytes(build().SerializeToString(deterministic=True))
