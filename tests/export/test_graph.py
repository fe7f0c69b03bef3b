"""The exported file, run by plain ONNX Runtime as any client does, is its network."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnxruntime.capi.onnxruntime_pybind11_state import get_all_opkernel_def

from fsnp_onnx import Enhancer
from fsnp_onnx.export.graph import full_band
from fsnp_onnx.export.graph.waveform import waveform_model
from fsnp_onnx.export.pipeline import ExportReport
from fsnp_onnx.export.reference import enhance_exactly, enhance_rounded
from fsnp_onnx.export.speech import noisy_speech
from fsnp_onnx.export.verify import WAVEFORM_TOLERANCE
from fsnp_onnx.network.config import NetworkConfig
from fsnp_onnx.network.fullsubnet_plus import FullSubNetPlus
from fsnp_onnx.spec import METADATA_KEY, ModelSpec
from tests.export.conftest import build, open_session, run, run_samples
from tests.golden import NAMES, Array, golden_network, utterances

ExportGolden = Callable[[str], ExportReport]
CUDA = Path(__file__).parents[2] / "docs" / "cuda.md"
SessionOf = Callable[[NetworkConfig], onnxruntime.InferenceSession]


@pytest.mark.parametrize("name", NAMES)
def test_a_golden_export_is_within_the_tolerance_at_every_length(
    name: str, export_golden: ExportGolden
) -> None:
    for file in export_golden(name).exported:
        session = open_session(file.path)
        for utterance in utterances(name):
            (mask,) = run(session, utterance.real[None], utterance.imag[None])
            assert np.abs(mask - utterance.mask64).max() <= utterance.tolerance


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
        assert _shadowed(waveform_model(model, file.spec).graph, set()) == set()
        assert str(Path.home()).encode() not in file.path.read_bytes()
        assert b"site-packages" not in file.path.read_bytes()
        assert [_dims(value) for value in model.graph.input] == [
            ["batch", file.spec.stft.n_freqs, "frames"]
        ] * 2
        assert _dims(model.graph.output[0]) == ["batch", 2, file.spec.stft.n_freqs, "frames"]


@pytest.mark.parametrize("name", NAMES)
def test_a_golden_network_with_samples_in_and_out_gives_what_the_runtime_gives(
    name: str, export_golden: ExportGolden
) -> None:
    network = golden_network(name)
    reference = copy.deepcopy(network).double()
    for file in export_golden(name).exported:
        session = open_session(waveform_model(onnx.load(file.path), file.spec))
        runtime = Enhancer(file.path, "cpu", threads=1)
        for noisy in recordings(seed=len(name)):
            enhanced = run_samples(session, noisy)
            expected = np.stack([runtime.enhance(row, 16000) for row in noisy])
            # where a norm divides by nearly nothing, correct float32 programs differ by more
            exact = enhance_exactly(reference, noisy, file.spec)
            correct = expected, enhance_rounded(network, noisy, file.spec)
            float32_error = max(np.abs(other - exact).max() for other in correct)
            tolerance = max(WAVEFORM_TOLERANCE, 8 * float32_error)
            assert np.abs(enhanced - expected).max() <= tolerance, noisy.shape


def recordings(seed: int) -> list[Array]:
    """Return speech [batch, samples] of lengths around hops, of random ones, and three rows."""
    speech = noisy_speech(16000)
    random = 16000 + np.random.default_rng(seed).integers(0, 16000, 2)
    lengths = (1, 255, 256, 257, 511, 512, 513, *random)
    silence = np.zeros(8001, np.float32)
    rows = np.stack([speech[30000:38001], -0.1 * speech[9000:17001], silence])
    return [speech[None, 30000 : 30000 + n_samples] for n_samples in lengths] + [rows]


def on_cpu_and_cuda() -> set[str]:
    """Return operators with a kernel for the CPU, by ONNX Runtime, and for CUDA, by docs/cuda.md."""
    on_cpu = {kernel.op_name for kernel in get_all_opkernel_def() if kernel.domain == ""}
    (on_cuda,) = re.findall(
        "^## Operators$(.*?)^## ", CUDA.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    return on_cpu & set(re.findall(r"`(\w+)`", on_cuda))


@pytest.mark.parametrize("name", NAMES)
def test_every_operator_has_a_kernel_for_the_cpu_and_for_cuda(
    name: str, export_golden: ExportGolden
) -> None:
    for file in export_golden(name).exported:
        masks = onnx.load(file.path)
        for model in (masks, waveform_model(masks, file.spec)):
            assert _operators(model.graph) <= on_cpu_and_cuda()


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
    n_freqs=17, sb_num_neighbors=3, tcn_hidden_size=12, tcn_blocks=4, sub_band_hidden_size=8
)
# The hidden layer is wide and the output large, so that ten minutes would show wrong sums.
LONG = replace(
    SMALL, n_freqs=9, tcn_hidden_size=128, tcn_blocks=2, sub_band_layers=3, fb_num_neighbors=2,
    norm="cumulative_layer_norm", look_ahead=5, fb_activation=None, complex_norm="magnitude",
    kernel_sizes=(1, 4, 6),
)  # fmt: skip
CONFIGS = {
    "three LSTM layers on cumulative layer norm, complex branches normalised by the magnitude": LONG,
    "LSTM on cumulative layer norm, wide neighbourhoods, CBAM": replace(
        SMALL, norm="cumulative_layer_norm", fb_num_neighbors=2, attention="CBAM", look_ahead=5,
        fb_activation=None,
    ),
    "one-layer GRU on Gaussian norm, ReLU6 and Tanh, no look-ahead": replace(
        SMALL, sub_band_model="GRU", sub_band_layers=1, norm="offline_gaussian_norm",
        fb_activation="ReLU6", sb_activation="Tanh", look_ahead=0, attention=None,
    ),
    "TCN on cumulative Laplace norm, SE": replace(
        SMALL, sub_band_model="TCN", sub_band_layers=3, norm="cumulative_laplace_norm",
        attention="SE",
    ),
    "simplified MulCA on Gaussian norm, long TCN kernels": replace(
        SMALL, mulca="simplified", norm="offline_gaussian_norm", sb_activation="ReLU",
        fb_activation="Tanh", tcn_kernel_size=5,
    ),
}  # fmt: skip
BLOCK_FRAMES = 16


@cache
@torch.no_grad()
def network_of(config: NetworkConfig) -> FullSubNetPlus:
    torch.manual_seed(1)
    network = FullSubNetPlus(config).eval()
    if config == LONG:  # masks of a trained network's size
        network.sb_model.fc_output_layer.weight.mul_(20)
    return network


@pytest.fixture(scope="module")
def session_of() -> SessionOf:
    """Return a function that exports a network with full-band blocks shorter than its TCNs reach."""

    @cache
    def export(config: NetworkConfig) -> onnxruntime.InferenceSession:
        with pytest.MonkeyPatch.context() as patch:
            if config != LONG:  # which runs for ten minutes, in blocks of the size that users get
                patch.setattr(full_band, "FRAMES_PER_BLOCK", 8)  # the dilations reach 9 and more
            return open_session(build(network_of(config), BLOCK_FRAMES))

    return export


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
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_other_networks_of_the_class_agree_in_other_blocks(
    config: NetworkConfig, session_of: SessionOf
) -> None:
    network, session = network_of(config), session_of(config)
    filling, one_more, one_less = (n - config.look_ahead for n in (2 * BLOCK_FRAMES, 17, 15))
    for n_frames, batch in (
        (config.min_frames, 2), (filling, 1), (one_more, 2), (one_less, 1), (50, 3),
    ):  # fmt: skip
        parts = inputs(config, batch, n_frames)
        exact, tolerance = exact_and_tolerance(network, parts)
        assert np.abs(run(session, *parts) - exact).max() <= tolerance


@pytest.mark.slow
def test_ten_minutes_are_as_exact_as_ten_seconds(session_of: SessionOf) -> None:
    parts = inputs(LONG, 1, 37500)
    exact, tolerance = exact_and_tolerance(network_of(LONG), parts)
    assert np.abs(exact).max() > 1
    assert np.abs(run(session_of(LONG), *parts) - exact).max() <= tolerance < 1e-3


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
    own = {value.name for value in graph.input} | {weight.name for weight in graph.initializer}
    own |= {name for node in graph.node for name in node.output}
    found = own & outer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                found |= _shadowed(attribute.g, outer | own)
    return found
