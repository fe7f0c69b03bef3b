"""Passes change no number: a simplified stage copies less, float16 storage loses nothing."""

import copy
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from fsnp_onnx.export.graph.passes import simplify, store_as_float16
from fsnp_onnx.export.graph.statistics import SOURCES
from fsnp_onnx.export.graph.sub_band import state_names, sub_band_block
from fsnp_onnx.network.fullsubnet_plus import FullSubNetPlus
from tests.export.conftest import open_session
from tests.export.small import CONFIG

N_FRAMES, BATCH = 4, 2


def run(stage: onnx.ModelProto, inputs: dict[str, Any]) -> list[Any]:
    outputs: list[Any] = open_session(stage).run(None, inputs)
    return outputs


def readers_of_recurrent_layers(stage: onnx.ModelProto) -> list[str]:
    outputs = {n.output[0] for n in stage.graph.node if n.op_type in ("LSTM", "GRU")}
    return [node.op_type for node in stage.graph.node if outputs & set(node.input)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["LSTM", "GRU"])
def test_what_a_recurrent_layer_returns_is_not_copied_and_stays_the_same(
    name: Literal["LSTM", "GRU"],
) -> None:
    config = replace(CONFIG, sub_band_model=name)
    exported = sub_band_block(FullSubNetPlus(config), 18, N_FRAMES)
    simplified = simplify(exported)
    assert readers_of_recurrent_layers(exported) == ["Transpose"] * 2
    assert readers_of_recurrent_layers(simplified) == ["Reshape"] * 2
    assert "Slice" not in {node.op_type for node in simplified.graph.node}
    rng = np.random.default_rng(0)
    inputs = {n: rng.random((N_FRAMES, BATCH, CONFIG.n_freqs), np.float32) for n in SOURCES}
    state_shape = (1, BATCH * CONFIG.n_freqs, CONFIG.sub_band_hidden_size)
    inputs |= {state: rng.random(state_shape, np.float32) for state in state_names(config)}
    inputs["spread"] = np.ones((BATCH, 1), np.float32)
    for found, expected in zip(run(simplified, inputs), run(exported, inputs), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_another_transpose_behind_a_recurrent_layer_stays() -> None:
    rng = np.random.default_rng(0)
    shapes = {"W": (1, 9, 5), "R": (1, 9, 3)}
    weights = [numpy_helper.from_array(rng.random(s, np.float32), n) for n, s in shapes.items()]
    nodes = [
        helper.make_node("GRU", ["x", "W", "R"], ["y"], hidden_size=3),
        helper.make_node("Transpose", ["y"], ["by_direction"], perm=[1, 0, 2, 3]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [N_FRAMES, BATCH, 5])
    y = helper.make_tensor_value_info("by_direction", TensorProto.FLOAT, [1, N_FRAMES, BATCH, 3])
    graph = helper.make_graph(nodes, "stage", [x], [y], weights)
    stage = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    assert readers_of_recurrent_layers(simplify(stage)) == ["Transpose"]


@pytest.mark.parametrize(
    ("end", "axis", "left"), [(2, 0, []), (1, 0, ["Slice"]), (2, 1, ["Slice"])]
)
def test_only_a_slice_of_all_there_is_goes(end: int, axis: int, left: list[str]) -> None:
    cut = {"start": 0, "end": end, "axis": axis}
    weights = [numpy_helper.from_array(np.array([v]), name) for name, v in cut.items()]
    nodes = [
        helper.make_node("Slice", ["x", *cut], ["cut"]),
        helper.make_node("Abs", ["cut"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, "rows"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["cut", "columns"])
    graph = helper.make_graph(nodes, "stage", [x], [y], weights)
    stage = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    simplified = simplify(stage)
    assert [node.op_type for node in simplified.graph.node] == [*left, "Abs"]
    inputs = {"x": -np.ones((2, 3), np.float32)}
    np.testing.assert_array_equal(run(simplified, inputs)[0], run(stage, inputs)[0])


HALVES = """
graph (float[n] x) => (float[n] y, float[i,n] z)
<int64 trips = {2}, bool go_first = {1}>
{
  total = ReduceSum<keepdims: int = 0>(weights)
  y = Mul(x, total)
  z = Loop(trips, go_first) <
    body: graph = step (int64 number, bool go) => (bool go_on, float[n] scaled)
    {
      go_on = Identity(go)
      inner = ReduceMax<keepdims: int = 0>(inner_weights)
      scaled = Mul(x, inner)
    }
  >
}"""


def with_weights(weights: np.ndarray) -> onnx.ModelProto:
    """Return a graph that reads weights, and reads them again inside a Loop."""
    graph = parser.parse_graph(HALVES)
    body = graph.node[-1].attribute[0].g
    graph.initializer.append(numpy_helper.from_array(weights, "weights"))
    body.initializer.append(numpy_helper.from_array(weights, "inner_weights"))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def test_weights_that_are_float16_numbers_are_stored_as_such_and_lose_nothing() -> None:
    weights = np.random.default_rng(0).standard_normal(512).astype(np.float16)
    model = with_weights(weights.astype(np.float32))
    stored = copy.deepcopy(model)
    store_as_float16(stored.graph)
    for graph in (stored.graph, stored.graph.node[-1].attribute[0].g):
        kinds = {w.data_type for w in graph.initializer if "weights" in w.name}
        assert kinds == {TensorProto.FLOAT16}
    inputs = {"x": np.arange(3, dtype=np.float32)}
    for found, expected in zip(run(stored, inputs), run(model, inputs), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("weight", [1 / 3, 1e6])  # between two float16 numbers; beyond them
def test_weights_that_are_not_float16_numbers_are_left_alone(weight: float) -> None:
    weights = np.ones(512, np.float32)
    weights[100] = weight
    model = with_weights(weights)
    before = copy.deepcopy(model)
    store_as_float16(model.graph)
    assert model == before
