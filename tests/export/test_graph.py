"""The exported file, run by plain ONNX Runtime as any client does, is its network."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from fsnp_onnx.export.pipeline import ExportReport
from fsnp_onnx.network.config import NetworkConfig
from fsnp_onnx.network.fullsubnet_plus import FullSubNetPlus
from fsnp_onnx.spec import METADATA_KEY, ModelSpec
from tests.export.conftest import build, open_session, run
from tests.golden import NAMES, utterances

ExportGolden = Callable[[str], ExportReport]

# Operators that ONNX Runtime's list of kernels has for CUDA; ReduceProd and the like on integers
# compute shapes, which ONNX Runtime does on the CPU.
ON_CUDA = {
    "Add", "Cast", "Clip", "Concat", "ConstantOfShape", "Conv", "CumSum", "Div", "Expand", "GRU",
    "Gather", "Gemm", "GlobalAveragePool", "Identity", "LSTM", "Loop", "Range",
    "MatMul", "Max", "Min", "Mul", "PRelu", "Pad", "Pow", "ReduceL2", "ReduceMax", "ReduceMean",
    "ReduceProd", "ReduceSum", "Relu", "Reshape", "Scan", "Shape", "Sigmoid", "Slice", "Split", "Sqrt",
    "Squeeze", "Sub", "Tanh", "Transpose", "Unsqueeze",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_golden_export_is_within_the_tolerance_at_every_length(
    name: str, export_golden: ExportGolden
) -> None:
    for file in export_golden(name).exported:
        session = open_session(file.path)
        for utterance in utterances(name):
            (mask,) = run(session, utterance.real[None], utterance.imag[None])
            assert np.abs(mask - utterance.mask64).max() <= utterance.tolerance


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_rows_of_a_batch_are_single_runs(name: str, export_golden: ExportGolden) -> None:
    last = utterances(name)[-1]
    real = np.stack([last.real, 0.1 * last.imag, last.real[:, ::-1]])
    imag = np.stack([last.imag, last.real, last.imag])
    for file in export_golden(name).exported:
        session = open_session(file.path)
        batch = run(session, real, imag)
        for row in range(len(real)):
            (single,) = run(session, real[row : row + 1], imag[row : row + 1])
            np.testing.assert_allclose(batch[row], single, rtol=0, atol=last.tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_file_says_what_it_is_and_nothing_of_the_machine(
    name: str, export_golden: ExportGolden
) -> None:
    for file in export_golden(name).exported:
        model = onnx.load(file.path)
        onnx.checker.check_model(model, full_check=True)
        assert [entry.key for entry in model.metadata_props] == [METADATA_KEY]
        assert ModelSpec.from_metadata(model.metadata_props[0].value) == file.spec
        assert _shadowed(model.graph, set()) == set()
        assert str(Path.home()).encode() not in file.path.read_bytes()
        assert b"site-packages" not in file.path.read_bytes()
        assert [_dims(value) for value in model.graph.input] == [
            ["batch", file.spec.stft.n_freqs, "frames"]
        ] * 2
        assert _dims(model.graph.output[0]) == ["batch", 2, file.spec.stft.n_freqs, "frames"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_operator_is_one_that_has_a_cuda_kernel(
    name: str, export_golden: ExportGolden
) -> None:
    for file in export_golden(name).exported:
        assert _operators(onnx.load(file.path).graph) <= ON_CUDA


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_report_covers_three_lengths_and_two_batch_sizes(
    name: str, export_golden: ExportGolden
) -> None:
    for file in export_golden(name).exported:
        assert len({probe.n_frames for probe in file.spec.verification}) >= 3
        assert len({probe.batch for probe in file.spec.verification}) >= 2
        assert min(p.n_frames for p in file.spec.verification) == file.spec.min_frames
        assert all(p.max_abs_error <= p.tolerance for p in file.spec.verification)


SMALL = NetworkConfig(
    n_freqs=17, sb_num_neighbors=3, tcn_hidden_size=12, tcn_blocks=2, sub_band_hidden_size=8
)
# With the golden networks and the one of test_pipeline.py: every norm, attention, activation and sequence
# model. The hidden layer is wide and the output large, so that ten minutes would show wrong sums.
LONG = replace(
    SMALL, n_freqs=9, tcn_hidden_size=128, sub_band_layers=3, norm="cumulative_layer_norm",
    fb_num_neighbors=2, look_ahead=5, fb_activation=None, complex_norm="magnitude",
    kernel_sizes=(1, 4, 6),
)  # fmt: skip
SHORT = replace(
    SMALL, sub_band_model="GRU", sub_band_layers=1, norm="offline_gaussian_norm",
    fb_activation="ReLU6", sb_activation="Tanh", look_ahead=0, attention=None,
)  # fmt: skip
BLOCK_FRAMES = 16


@pytest.fixture(scope="module")
def networks() -> dict[NetworkConfig, FullSubNetPlus]:
    torch.manual_seed(1)
    found = {config: FullSubNetPlus(config).eval() for config in (LONG, SHORT)}
    with torch.no_grad():  # masks of a trained network's size
        found[LONG].sb_model.fc_output_layer.weight.mul_(20)
    return found


@pytest.fixture(scope="module")
def sessions(
    networks: dict[NetworkConfig, FullSubNetPlus],
) -> dict[NetworkConfig, onnxruntime.InferenceSession]:
    return {c: open_session(build(network, BLOCK_FRAMES)) for c, network in networks.items()}


def inputs(config: NetworkConfig, batch: int, n_frames: int) -> np.ndarray:
    shape = (2, batch, config.n_freqs, n_frames)
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32) + 0.2


@torch.no_grad()
def exact_and_tolerance(network: FullSubNetPlus, parts: np.ndarray) -> tuple[np.ndarray, float]:
    real, imag = torch.from_numpy(parts)
    exact = copy.deepcopy(network).double()(real.double(), imag.double())
    tolerance = max(2e-5, 8 * (network(real, imag) - exact).abs().max().item())
    return exact.numpy(), tolerance


@pytest.mark.slow
@pytest.mark.parametrize("config", [LONG, SHORT], ids=["three LSTM layers", "one GRU layer"])
def test_other_networks_of_the_class_agree_in_other_blocks(
    config: NetworkConfig,
    networks: dict[NetworkConfig, FullSubNetPlus],
    sessions: dict[NetworkConfig, onnxruntime.InferenceSession],
) -> None:
    filling = 2 * BLOCK_FRAMES - config.look_ahead
    for n_frames, batch in ((config.min_frames, 2), (filling, 1), (50, 3)):
        parts = inputs(config, batch, n_frames)
        exact, tolerance = exact_and_tolerance(networks[config], parts)
        assert np.abs(run(sessions[config], *parts) - exact).max() <= tolerance


@pytest.mark.slow
def test_ten_minutes_are_as_exact_as_ten_seconds(
    networks: dict[NetworkConfig, FullSubNetPlus],
    sessions: dict[NetworkConfig, onnxruntime.InferenceSession],
) -> None:
    parts = inputs(LONG, 1, 37500)
    exact, tolerance = exact_and_tolerance(networks[LONG], parts)
    assert np.abs(exact).max() > 1
    assert np.abs(run(sessions[LONG], *parts) - exact).max() <= tolerance < 1e-3


def _dims(value: onnx.ValueInfoProto) -> list[str | int]:
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


def _operators(graph: onnx.GraphProto) -> set[str]:
    found = {node.op_type for node in graph.node}
    for node in graph.node:
        for attribute in node.attribute:
            found |= _operators(attribute.g)
    return found


def _shadowed(graph: onnx.GraphProto, outer: set[str]) -> set[str]:
    """Return names that a subgraph gives again, which ONNX forbids and no checker finds."""
    own = {value.name for value in (*graph.input, *graph.initializer)}
    own |= {name for node in graph.node for name in node.output}
    found = own & outer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                found |= _shadowed(attribute.g, outer | own)
    return found
