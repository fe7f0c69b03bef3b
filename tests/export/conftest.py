"""Exports that are made once per session and shared."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch

from fsnp_onnx.export import build as file_build
from fsnp_onnx.export.graph.full_band import full_band_stage
from fsnp_onnx.export.graph.mask import mask_model
from fsnp_onnx.export.graph.statistics import export_statistics
from fsnp_onnx.export.graph.sub_band import sub_band_block
from fsnp_onnx.export.graph.sub_band_scan import sub_band_stage
from fsnp_onnx.export.options import ExportOptions
from fsnp_onnx.export.pipeline import ExportReport, export_checkpoint
from fsnp_onnx.network.config import MulcaVariant
from fsnp_onnx.network.fullsubnet_plus import FullSubNetPlus
from tests.export.small import save, state_dict
from tests.golden import GOLDEN, WITH_MULCA, Array

torch.set_num_threads(1)  # small networks; OpenMP threads that wait for each other spin
gc.set_threshold(100_000, 50, 100)  # torch's exporter makes millions of objects, most of which stay

OPSET = 18
EXPORTS = {"export_golden", "small_export", "exported_block", "waveform_export"}


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    for item in items:
        if EXPORTS & set(item.fixturenames):
            item.add_marker(pytest.mark.slow)


def run(session: onnxruntime.InferenceSession, real: Array, imag: Array) -> Array:
    """Run a file as any client does, on [B, F, T]."""
    (mask,) = session.run(["mask"], {"noisy_real": real, "noisy_imag": imag})
    result: Array = mask
    return result


def open_session(model: Path | onnx.ModelProto) -> onnxruntime.InferenceSession:
    content = model if isinstance(model, Path) else model.SerializeToString()
    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])


def build(network: FullSubNetPlus, block_frames: int) -> onnx.ModelProto:
    """Return the graph of a network, neither simplified nor verified."""
    block = sub_band_block(network, OPSET, block_frames)
    sub_band = sub_band_stage(block, network.config, block_frames)
    full_band = full_band_stage(network, export_statistics(network, OPSET), OPSET)
    return mask_model(full_band, sub_band, network.config)


@pytest.fixture(scope="session")
def export_golden(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], ExportReport]:
    """Return a function that exports a golden network, in the variants that equal its masks."""

    @cache
    def export(name: str) -> ExportReport:
        variants: tuple[MulcaVariant, ...] = (
            ("original", "equivalent") if name in WITH_MULCA else ()
        )
        return export_checkpoint(
            GOLDEN / f"{name}.tar",
            tmp_path_factory.mktemp(name) / f"{name}.onnx",
            config=GOLDEN / f"{name}.toml",
            mulca=variants,
        )

    return export


@dataclass
class SmallExport:
    """The small network, exported by default options.

    Attributes:
        checkpoint: What was exported.
        report: What the export returned.
        steps: The lines it reported.
        full_band: Stage one as exported from torch, the original variant first.
        block: A block of stage two as exported from torch.
        statistics: The statistics of stage one.
    """

    checkpoint: Path
    report: ExportReport
    steps: list[str] = field(default_factory=list)
    full_band: list[onnx.ModelProto] = field(default_factory=list)
    block: list[onnx.ModelProto] = field(default_factory=list)
    statistics: list[onnx.ModelProto] = field(default_factory=list)

    def reuse(self, patch: pytest.MonkeyPatch) -> None:
        """Let exports of the original variant take the stages that were exported before."""
        patch.setattr(file_build, "full_band_stage", lambda *_: self.full_band[0])
        patch.setattr(file_build, "sub_band_block", lambda *_: self.block[0])
        patch.setattr(file_build, "export_statistics", lambda *_: self.statistics[0])


@pytest.fixture(scope="session")
def small_export(tmp_path_factory: pytest.TempPathFactory) -> SmallExport:
    folder = tmp_path_factory.mktemp("small")
    checkpoint = save(folder / "net.tar", {"model": state_dict(), "epoch": 4})
    steps: list[str] = []
    stages: dict[str, list[onnx.ModelProto]] = {
        name: [] for name in ("full_band_stage", "sub_band_block", "export_statistics")
    }

    def recording(name: str) -> Callable[..., onnx.ModelProto]:
        function = getattr(file_build, name)

        def export(*arguments: Any) -> onnx.ModelProto:
            stages[name].append(function(*arguments))
            return stages[name][-1]

        return export

    with pytest.MonkeyPatch.context() as patch:
        for name in stages:
            patch.setattr(file_build, name, recording(name))
        report = export_checkpoint(checkpoint, on_step=steps.append)
    return SmallExport(checkpoint, report, steps, *stages.values())


@pytest.fixture(scope="session")
def waveform_export(
    small_export: SmallExport, tmp_path_factory: pytest.TempPathFactory
) -> ExportReport:
    """The small network with original MulCA, exported with the interface waveform."""
    with pytest.MonkeyPatch.context() as patch:
        small_export.reuse(patch)
        return export_checkpoint(
            small_export.checkpoint,
            tmp_path_factory.mktemp("waveform") / "net.onnx",
            mulca=["original"],
            options=ExportOptions(interface="waveform"),
        )


def run_samples(session: onnxruntime.InferenceSession, noisy: Array) -> Array:
    """Run a file of the interface waveform as any client does, on [B, N]."""
    (enhanced,) = session.run(["enhanced"], {"noisy": noisy})
    result: Array = enhanced
    return result
