"""int8: what is rounded, and what that costs."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from fsnp_onnx import Enhancer
from fsnp_onnx.export import build
from fsnp_onnx.export.checkpoint import read_checkpoint
from fsnp_onnx.export.graph import quantize as quantization
from fsnp_onnx.export.graph.passes import simplify
from fsnp_onnx.export.graph.quantize import quantize, round_rows
from fsnp_onnx.export.graph.sub_band import sub_band_block
from fsnp_onnx.export.identify import infer
from fsnp_onnx.export.options import ExportOptions
from fsnp_onnx.export.pipeline import ExportReport, export_checkpoint
from fsnp_onnx.export.speech import recordings, snr_db
from fsnp_onnx.export.verify import probe_spectrum
from fsnp_onnx.network.fullsubnet_plus import FullSubNetPlus
from fsnp_onnx.runtime.mask_model import MaskModel
from fsnp_onnx.runtime.open_model import open_model
from fsnp_onnx.runtime.ort import session_options
from fsnp_onnx.runtime.session import Session

DEFAULT_CHECKPOINT = Path("training/checkpoints/fsnp_small_v4.tar")
Stage = dict[str, NDArray[np.float32]]
MATRICES = arrays.arrays(np.float32, (3, 5), elements=st.floats(-100, 100, width=32))


@given(MATRICES)
def test_rounded_weights_are_half_a_step_off_at_most(weights: NDArray[np.float32]) -> None:
    rounded, scale = round_rows(weights)
    assert np.abs(rounded).max(initial=0) <= 127
    error = np.abs(rounded * scale[:, None].astype(np.float64) - weights)
    assert (error <= scale[:, None] * 0.5001).all()


@pytest.fixture(scope="module")
def exported_block() -> onnx.ModelProto:
    """A block of the default model's stage two, eight frames, as exported from torch."""
    loaded = read_checkpoint(DEFAULT_CHECKPOINT)
    network = FullSubNetPlus(infer(loaded.tensors, loaded.config).network).eval()
    network.load_state_dict(loaded.tensors)
    return sub_band_block(network, 18, 8)


@pytest.fixture(scope="module")
def default_stage(exported_block: onnx.ModelProto) -> onnx.ModelProto:
    return simplify(exported_block)


def block(stage: onnx.ModelProto, level: float = 1.0) -> Stage:
    """Magnitudes around 1, a full-band output ten times as large, zero states."""
    rng = np.random.default_rng(0)
    sources = {n: rng.exponential(level, (8, 1, 257)) for n in ("attended", "fb", "fb_real")}
    sources["fb_imag"] = rng.exponential(10 * level, (8, 1, 257))
    state = {n: np.zeros((1, 257, 128)) for n in ("h_0", "c_0", "h_1", "c_1")}
    names = [port.name for port in stage.graph.input]
    values = sources | state | {"spread": np.ones((1, 1))}
    return {name: values[name].astype(np.float32) for name in names}


def mask(stage: onnx.ModelProto, inputs: Stage) -> NDArray[np.float32]:
    options = session_options(onnxruntime, threads=2, precision="int8")
    session = onnxruntime.InferenceSession(
        stage.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    result: NDArray[np.float32] = session.run(["mask"], inputs)[0]
    return result


def test_splitting_the_input_changes_no_number_of_the_float_stage(
    default_stage: onnx.ModelProto,
) -> None:
    split = copy.deepcopy(default_stage)
    layer = next(node for node in split.graph.node if node.op_type == "LSTM")
    quantization._split_input(split.graph, layer)
    inputs = block(default_stage)
    np.testing.assert_allclose(mask(split, inputs), mask(default_stage, inputs), atol=2e-5)


def test_the_split_input_is_ten_decibels_closer_than_the_plain_recipe(
    default_stage: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = block(default_stage)
    exact = mask(default_stage, inputs)
    with_split = mask(quantize(default_stage), inputs) - exact
    monkeypatch.setattr(quantization, "_split_input", lambda *_: None)
    plain = mask(quantize(default_stage), inputs) - exact
    assert snr_db(exact, with_split) > snr_db(exact, plain) + 10


@pytest.mark.parametrize("level", [0.0, 1e-12, 1e12])
def test_any_level_of_input_gives_numbers(default_stage: onnx.ModelProto, level: float) -> None:
    found = mask(quantize(default_stage), block(default_stage, level))
    assert np.isfinite(found).all()


def test_every_sub_band_weight_matrix_is_int8(default_stage: onnx.ModelProto) -> None:
    stage = quantize(default_stage)
    kinds = [node.op_type for node in stage.graph.node]
    assert kinds.count("DynamicQuantizeLSTM") == 2
    assert "LSTM" not in kinds
    large = [t for t in stage.graph.initializer if np.prod(t.dims) > 10_000]
    assert {t.data_type for t in large} <= {onnx.TensorProto.INT8, onnx.TensorProto.INT64}


@pytest.fixture(scope="module")
def quantised(
    tmp_path_factory: pytest.TempPathFactory, exported_block: onnx.ModelProto
) -> ExportReport:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "sub_band_block", lambda *_: exported_block)
        return export_checkpoint(
            DEFAULT_CHECKPOINT,
            tmp_path_factory.mktemp("int8") / "default.onnx",
            mulca=["original"],
            options=ExportOptions(precision="int8"),
        )


def test_the_report_holds_on_the_file_that_was_written(quantised: ExportReport) -> None:
    (file,) = quantised.exported
    assert file.spec.precision == "int8"
    assert file.spec.verification
    assert open_model(file.path).spec == file.spec
    float32, int8 = Enhancer(provider="cpu"), Enhancer(file.path, provider="cpu")
    for (_, noisy), probe in zip(recordings(16000), file.spec.quantization, strict=True):
        expected = float32.enhance(noisy, 16000)
        found_db = snr_db(expected, int8.enhance(noisy, 16000) - expected)
        assert found_db == pytest.approx(probe.snr_db, abs=1.0)
        assert probe.snr_db > 40  # the plain recipe reaches 26


@pytest.mark.parametrize("n_frames", [8, 19, 40])
def test_an_int8_file_takes_any_length_and_rows_of_a_batch_are_near_single_runs(
    quantised: ExportReport, n_frames: int
) -> None:
    (file,) = quantised.exported
    model = MaskModel(Session(file.path, "cpu"))
    real, imag = probe_spectrum(file.spec.stft, n_frames, 3)
    for row, mask_in_batch in enumerate(model.run(real, imag)):
        (alone,) = model.run(real[row : row + 1], imag[row : row + 1])
        assert snr_db(alone, mask_in_batch - alone) > 25
