"""A plain ONNX Runtime, with its default options, has nothing to say about an exported file."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fsnp_onnx.export import build
from fsnp_onnx.export.options import ExportOptions
from fsnp_onnx.export.pipeline import ExportReport, export_checkpoint
from fsnp_onnx.runtime.bundled import DEFAULT_MODEL
from tests.golden import GOLDEN, NAMES

OPEN = """
import sys
import onnxruntime

for level in onnxruntime.GraphOptimizationLevel.__members__.values():
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    for path in sys.argv[1:]:
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
"""


def what_it_says(*paths: Path) -> str:
    command = [sys.executable, "-c", OPEN, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


def test_the_bundled_model_opens_in_silence() -> None:
    assert what_it_says(DEFAULT_MODEL) == ""


@pytest.mark.parametrize("name", NAMES)
def test_a_golden_network_opens_in_silence(
    name: str, export_golden: Callable[[str], ExportReport]
) -> None:
    assert what_it_says(*(file.path for file in export_golden(name).exported)) == ""


@pytest.mark.slow
def test_int8_opens_in_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "verify", lambda *_: ())  # other tests verify it
    report = export_checkpoint(
        GOLDEN / "eca_lstm_cumlayer.tar",
        tmp_path / "int8.onnx",
        config=GOLDEN / "eca_lstm_cumlayer.toml",
        options=ExportOptions(precision="int8", min_snr_db=0),
    )
    assert what_it_says(report.exported[0].path) == ""
