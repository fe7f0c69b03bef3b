"""From a checkpoint to files: which ones, proven how, and nothing left behind when something is wrong."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from fsnp_onnx.errors import ConfigError, OutputError, ParityError
from fsnp_onnx.export import pipeline
from fsnp_onnx.export.graph.compact import compact
from fsnp_onnx.export.graph.torch_export import TRACED_FRAMES
from fsnp_onnx.export.outputs import choose_forms, output_paths
from fsnp_onnx.export.pipeline import Options, export_checkpoint
from fsnp_onnx.export.verify import probe_sizes, probe_spectrum
from fsnp_onnx.network.config import MulcaForm, NetworkConfig
from fsnp_onnx.spec import StftSpec
from tests.export.conftest import open_session, run
from tests.export.small import CONFIG, save, state_dict

QUICK = Options(simplify=False)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return save(tmp_path / "net.tar", {"model": state_dict(), "epoch": 4})


def test_both_forms_are_written_beside_the_checkpoint_and_compared(checkpoint: Path) -> None:
    steps: list[str] = []
    report = export_checkpoint(checkpoint, on_step=steps.append)
    names = [file.path.name for file in report.exported]
    assert names == ["net.original.onnx", "net.simplified.onnx"]
    assert sorted(p.name for p in checkpoint.parent.glob("*.onnx")) == names
    assert [file.spec.mulca for file in report.exported] == ["original", "simplified"]
    assert report.difference is not None
    assert report.difference.max_mask_error > 0
    assert np.isfinite(report.difference.snr_db)
    assert len(steps) >= 7
    for file in report.exported:
        assert file.n_bytes == file.path.stat().st_size
        assert file.spec.provenance["epoch"] == 4


def test_a_checkpoint_trained_in_the_simplified_form_exports_exactly(tmp_path: Path) -> None:
    config = replace(CONFIG, mulca="simplified")
    tensors = state_dict(config)
    for branch in ("", "_real", "_imag"):
        tensors[f"channel_attention{branch}.weight_sum"] += torch.randn(1, 17, 3)
    report = export_checkpoint(save(tmp_path / "s.tar", tensors), options=QUICK)
    (file,) = report.exported
    assert file.path.name == "s.simplified.onnx"
    assert file.spec.min_frames == 1
    assert report.difference is None


def test_another_opset_and_no_simplification_give_the_same_numbers(
    checkpoint: Path, tmp_path: Path
) -> None:
    output = tmp_path / "opset21.onnx"
    options = Options(block_frames=5, opset=21, simplify=False)
    export_checkpoint(checkpoint, output, mulca=["original"], options=options)
    assert [entry.version for entry in onnx.load(output).opset_import] == [21]
    plain = tmp_path / "plain.onnx"
    export_checkpoint(checkpoint, plain, mulca=["original"])
    parts = probe_spectrum(StftSpec(16000, 32, 32, 16), 90, 2)
    masks = [run(open_session(path), *parts) for path in (output, plain)]
    np.testing.assert_allclose(masks[0], masks[1], rtol=0, atol=2e-5)


def test_the_same_checkpoint_gives_the_same_bytes(checkpoint: Path, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.onnx", "b.onnx")]
    for path in paths:
        export_checkpoint(checkpoint, path, mulca=["equivalent"], options=QUICK)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_weights_that_are_float16_numbers_are_stored_as_such_and_lose_nothing(
    tmp_path: Path,
) -> None:
    tensors = state_dict(replace(CONFIG, tcn_hidden_size=64, sub_band_hidden_size=16))
    exact = {name: value.half().float() for name, value in tensors.items()}
    path = tmp_path / "half.onnx"
    checkpoint = save(tmp_path / "half.tar", exact)
    (file,) = export_checkpoint(checkpoint, path, mulca=["original"], options=QUICK).exported
    model = onnx.load(path)
    *_, sub_band = [node for node in model.graph.node if node.op_type == "Scan"]
    body = next(attribute.g for attribute in sub_band.attribute if attribute.name == "body")
    for graph in (model.graph, body):
        stored = {onnx.TensorProto.FLOAT: 0, onnx.TensorProto.FLOAT16: 0, onnx.TensorProto.INT64: 0}
        for weight in graph.initializer:
            stored[weight.data_type] = stored.get(weight.data_type, 0) + int(np.prod(weight.dims))
        assert stored[onnx.TensorProto.FLOAT16] > stored[onnx.TensorProto.FLOAT]
    assert all(probe.max_abs_error <= probe.tolerance for probe in file.spec.verification)


def test_weights_that_are_no_float16_numbers_are_left_alone() -> None:
    weights = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    graph = onnx.GraphProto(initializer=[numpy_helper.from_array(weights, "w")])
    before = copy.deepcopy(graph)
    compact(graph)
    assert graph == before


def test_a_graph_with_one_wrong_weight_fails_and_leaves_no_file(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    join = pipeline._join

    def sabotage(
        full_band: onnx.ModelProto,
        sub_band: onnx.ModelProto,
        config: NetworkConfig,
        options: Options,
    ) -> onnx.ModelProto:
        model = join(full_band, sub_band, config, options)
        weight = next(w for w in model.graph.initializer if "sconv_weight" in w.name)
        values = numpy_helper.to_array(weight).copy()
        values.flat[0] += 0.05
        weight.CopyFrom(numpy_helper.from_array(values, weight.name))
        return model

    monkeypatch.setattr(pipeline, "_join", sabotage)
    with pytest.raises(ParityError, match=r"probe of \d+ frames, batch \d+: .* allowed 2e-05"):
        export_checkpoint(checkpoint, options=QUICK)
    assert [path.name for path in checkpoint.parent.iterdir()] == ["net.tar"]


def test_existing_outputs_are_kept_unless_forced(checkpoint: Path) -> None:
    kept = checkpoint.with_name("net.simplified.onnx")
    kept.write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        export_checkpoint(checkpoint)
    assert kept.read_text() == "mine"
    assert not checkpoint.with_name("net.original.onnx").exists()
    export_checkpoint(checkpoint, kept, mulca=["simplified"], options=QUICK, force=True)
    onnx.checker.check_model(onnx.load(kept))


def test_outputs_that_cannot_be_are_refused_before_the_work(checkpoint: Path) -> None:
    folder = checkpoint.parent
    config = folder / "train.toml"
    config.write_text("[model.args]\nlook_ahead = 2\n")
    for output, force in (
        (checkpoint, True),
        (config, True),
        (folder / "nowhere" / "out.onnx", False),
        (folder, True),
    ):
        with pytest.raises(OutputError):
            export_checkpoint(checkpoint, output, config=config, mulca=["original"], force=force)
    assert checkpoint.stat().st_size > 1000
    assert config.read_text().startswith("[model.args]")


@pytest.mark.parametrize(
    ("output", "forms", "names"),
    [
        (None, ("original", "simplified"), ["net.v2.original.onnx", "net.v2.simplified.onnx"]),
        (None, (None,), ["net.v2.onnx"]),
        (Path("x/y.onnx"), ("equivalent",), ["y.onnx"]),
        (Path("x/y.onnx"), ("original", "equivalent"), ["y.original.onnx", "y.equivalent.onnx"]),
        (
            Path("x/y.v3"),
            ("original", "equivalent"),
            ["y.v3.original.onnx", "y.v3.equivalent.onnx"],
        ),
    ],
)
def test_names_of_outputs(
    output: Path | None, forms: tuple[MulcaForm | None, ...], names: list[str]
) -> None:
    paths = output_paths(Path("dir/net.v2"), output, forms, "float32")
    assert [path.name for path in paths] == names
    assert all(path.parent == (output or Path("dir/net.v2.tar")).parent for path in paths)


def test_a_report_that_is_an_output_is_refused_before_the_work(checkpoint: Path) -> None:
    output = checkpoint.with_name("out.onnx")
    with pytest.raises(OutputError, match="is an output of this export"):
        export_checkpoint(checkpoint, output, mulca=["original"], report=output, force=True)
    assert not output.exists()


def test_forms_that_a_network_does_not_have_are_refused() -> None:
    with pytest.raises(ConfigError, match="attention is SE"):
        choose_forms(replace(CONFIG, attention="SE"), ["original"])
    with pytest.raises(ConfigError, match="trained in the simplified form"):
        choose_forms(replace(CONFIG, mulca="simplified"), ["original"])
    with pytest.raises(ConfigError, match="expected one of"):
        choose_forms(CONFIG, ["fast"])  # type: ignore[list-item]
    assert choose_forms(CONFIG, ["original", "original"]) == ("original",)


@pytest.mark.parametrize("options", [{"block_frames": 0}, {"block_frames": 5000}, {"opset": 17}])
def test_options_have_ranges(options: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        Options(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("block_frames", [1, 16, 25, 39, 64, 1000])
@pytest.mark.parametrize(("min_frames", "look_ahead"), [(8, 2), (8, 0), (1, 0), (1, 30)])
def test_probes_span_blocks_and_stay_short(
    min_frames: int, look_ahead: int, block_frames: int
) -> None:
    sizes = probe_sizes(min_frames, look_ahead, block_frames)
    assert len({n_frames for n_frames, _ in sizes}) == 4
    assert TRACED_FRAMES not in {n_frames for n_frames, _ in sizes}
    assert min(sizes)[0] == min_frames
    assert max(sizes)[0] + look_ahead > block_frames


def test_rows_of_a_probe_differ_in_level_and_content() -> None:
    real, imag = probe_spectrum(StftSpec(), 30, 2)
    assert real.shape == imag.shape == (2, 257, 30)
    first, second = np.hypot(real, imag)
    assert np.abs(first).mean() > 3 * np.abs(second).mean()
