"""From a checkpoint to files: verified, the same every time, and none when something is wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from fsnp_onnx.errors import ArgumentError, CheckpointError, OutputError, VerificationError
from fsnp_onnx.export import build
from fsnp_onnx.export.options import ExportOptions
from fsnp_onnx.export.pipeline import export_checkpoint
from fsnp_onnx.network.config import SubBandModel
from tests.export.conftest import SmallExport
from tests.export.small import CONFIG, save, state_dict


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return save(tmp_path / "net.tar", {"model": state_dict(), "epoch": 4})


def test_original_and_simplified_are_written_beside_the_checkpoint_and_compared(
    small_export: SmallExport,
) -> None:
    report = small_export.report
    names = [file.path.name for file in report.exported]
    assert names == ["net.original.onnx", "net.simplified.onnx"]
    assert sorted(p.name for p in small_export.checkpoint.parent.glob("*.onnx")) == names
    assert [file.spec.mulca for file in report.exported] == ["original", "simplified"]
    assert report.difference is not None
    assert (report.difference.max_mask_error or 0) > 0
    assert np.isfinite(report.difference.snr_db)
    assert len(small_export.steps) >= 7
    for file in report.exported:
        assert file.n_bytes == file.path.stat().st_size
        assert file.spec.provenance["epoch"] == 4


@pytest.mark.slow
def test_a_checkpoint_trained_in_the_simplified_variant_exports_exactly_in_another_opset(
    tmp_path: Path,
) -> None:
    config = replace(
        CONFIG, mulca="simplified", sub_band_model="TCN", sub_band_layers=8,
        norm="cumulative_laplace_norm", sb_activation="ReLU",
    )  # fmt: skip
    arguments = {"norm_type": config.norm, "sb_output_activate_function": config.sb_activation}
    tensors = state_dict(config)
    for branch in ("", "_real", "_imag"):
        tensors[f"channel_attention{branch}.weight_sum"] += torch.randn(1, 17, 3)
    content = {"model": tensors, "config": {"model": {"args": arguments}}}
    report = export_checkpoint(save(tmp_path / "s.tar", content), options=ExportOptions(opset=21))
    assert replace(report.inferred.network, attention_hidden_size=None) == config
    (file,) = report.exported
    assert file.path.name == "s.simplified.onnx"
    assert file.spec.min_frames == 1
    assert all(p.max_abs_error <= p.tolerance for p in file.spec.verification)
    assert [entry.version for entry in onnx.load(file.path).opset_import] == [21]
    assert report.difference is None


def test_a_forced_export_replaces_a_file_and_gives_the_same_bytes_again(
    small_export: SmallExport, tmp_path: Path
) -> None:
    output = tmp_path / "mine.onnx"
    output.write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        export_checkpoint(small_export.checkpoint, output, mulca=["simplified"])
    assert output.read_text() == "mine"
    export_checkpoint(small_export.checkpoint, output, mulca=["simplified"], force=True)
    assert output.read_bytes() == small_export.report.exported[1].path.read_bytes()


def test_a_graph_with_one_wrong_weight_fails_and_leaves_no_file(
    small_export: SmallExport, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_export.reuse(monkeypatch)
    export_checkpoint(checkpoint, mulca=["original"])
    checkpoint.with_name("net.original.onnx").unlink()
    wrong = onnx.ModelProto()
    wrong.CopyFrom(small_export.full_band[0])
    weight = next(w for w in wrong.graph.initializer if "sconv_weight" in w.name)
    values = numpy_helper.to_array(weight).copy()
    values.flat[0] += 0.05
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    monkeypatch.setattr(build, "full_band_stage", lambda *_: wrong)
    with pytest.raises(VerificationError, match=r"probe of \d+ frames, batch \d+: .* 2e-05"):
        export_checkpoint(checkpoint, mulca=["original"])
    assert [path.name for path in checkpoint.parent.iterdir()] == ["net.tar"]


def test_an_int8_file_too_far_from_float32_is_not_written(
    small_export: SmallExport, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_export.reuse(monkeypatch)
    options = ExportOptions(precision="int8", min_snr_db=200)
    with pytest.raises(VerificationError, match=r"dB SNR from float32 on .*, expected 200 dB"):
        export_checkpoint(checkpoint, options=options, mulca=["original"])
    assert list(checkpoint.parent.iterdir()) == [checkpoint]
    options = replace(options, min_snr_db=0)
    (file,) = export_checkpoint(checkpoint, options=options, mulca=["original"]).exported
    assert file.path.name == "net.original.int8.onnx"
    assert file.spec.precision == "int8"


@pytest.mark.parametrize("model", ["GRU", "TCN"])
def test_models_without_a_quantised_kernel_are_refused(tmp_path: Path, model: SubBandModel) -> None:
    config = replace(CONFIG, sub_band_model=model)
    checkpoint = save(tmp_path / "net.tar", state_dict(config))
    with pytest.raises(ArgumentError, match=f"is a {model}, for which .* no quantised kernel"):
        export_checkpoint(checkpoint, options=ExportOptions(precision="int8"))
    assert list(tmp_path.iterdir()) == [checkpoint]


def test_outputs_are_checked_before_the_work(checkpoint: Path) -> None:
    config = checkpoint.with_name("train.toml")
    config.write_text("[model.args]\nlook_ahead = 2\n")
    kept = checkpoint.with_name("net.simplified.onnx")
    kept.write_text("mine")
    steps: list[str] = []
    with pytest.raises(OutputError, match="exists already"):
        export_checkpoint(checkpoint, on_step=steps.append)
    for output in (checkpoint, config):
        with pytest.raises(OutputError, match="is an input"):
            export_checkpoint(
                checkpoint, output, config=config, mulca=["original"], force=True,
                on_step=steps.append,
            )  # fmt: skip
    assert set(steps) == {"reading net.tar"}
    assert kept.read_text() == "mine"
    assert not checkpoint.with_name("net.original.onnx").exists()


def without_metadata(path: Path) -> bytes:
    model = onnx.load(path)
    del model.metadata_props[:]
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def test_a_prefixed_checkpoint_in_another_entry_gives_the_same_graph_in_a_new_folder(
    small_export: SmallExport, tmp_path: Path
) -> None:
    state = {f"module._orig_mod.{name}": value for name, value in state_dict().items()}
    state["module._orig_mod.total_ops"] = torch.zeros(1)
    checkpoint = save(tmp_path / "other.ckpt", {"generator": state})
    report = export_checkpoint(checkpoint, f"{tmp_path}/new/", mulca=["simplified"])
    assert report.weights.entry == "generator"
    assert report.weights.prefix == "module._orig_mod."
    assert report.weights.left_out == ("module._orig_mod.total_ops",)
    weights = json.loads(report.to_json())["weights"]
    assert weights == {
        "entry": "generator",
        "prefix": "module._orig_mod.",
        "left_out": ["module._orig_mod.total_ops"],
    }
    (file,) = report.exported
    assert file.path == tmp_path / "new" / "other.simplified.onnx"
    plain = small_export.report.exported[1].path
    assert without_metadata(file.path) == without_metadata(plain)


def test_an_existing_folder_gets_the_default_names(
    small_export: SmallExport, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_export.reuse(monkeypatch)
    folder = tmp_path / "exported"
    folder.mkdir()
    (file,) = export_checkpoint(checkpoint, folder, mulca=["original"]).exported
    assert list(folder.iterdir()) == [file.path] == [folder / "net.original.onnx"]
    with pytest.raises(OutputError, match="exists already"):
        export_checkpoint(checkpoint, folder, mulca=["original"])


def test_a_new_folder_is_made_only_when_the_file_is_ready(tmp_path: Path) -> None:
    checkpoint = save(tmp_path / "net.tar", {"model": {**state_dict(), "extra": torch.ones(2)}})
    with pytest.raises(CheckpointError, match="unexpected: extra"):
        export_checkpoint(checkpoint, f"{tmp_path}/new/")
    assert list(tmp_path.iterdir()) == [checkpoint]


@pytest.mark.parametrize(
    ("own", "lines"),
    [
        ({"model": {"args": {"look_ahead": 1}}}, ["look_ahead = 2 in place of 1"]),
        ({"model": {"args": {"look_ahead": 2}}}, []),
        ({"model": "FullSubNet_Plus"}, ["that one cannot be read"]),
    ],
    ids=["another", "the same", "unreadable"],
)
def test_a_config_that_replaces_the_checkpoints_own_is_said(
    own: dict[str, Any], lines: list[str], tmp_path: Path
) -> None:
    config = tmp_path / "train.toml"
    config.write_text("[model.args]\nlook_ahead = 2\n")
    checkpoint = save(tmp_path / "net.tar", {"model": state_dict(), "config": own})
    steps: list[str] = []
    with pytest.raises(OutputError, match="is an input"):  # ends the export before its work
        export_checkpoint(
            checkpoint, config, config=config, mulca=["original"], force=True, on_step=steps.append
        )
    said = [f"{config} replaces the checkpoint's own config: {line}" for line in lines]
    assert steps == ["reading net.tar", *said]
