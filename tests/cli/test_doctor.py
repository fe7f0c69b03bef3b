"""fsnp-doctor reports whatever state the installation is in."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest

from fsnp_onnx.cli import doctor as command
from fsnp_onnx.probes import Probe, SpeechProbe
from tests.runtime.models import DELAY, HALVES, SPEC, UNITY, WAVEFORM_SPEC, with_metadata

Run = Callable[..., int]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    def call(*arguments: str | Path) -> int:
        monkeypatch.setattr(sys, "argv", ["fsnp-doctor", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            command.main()
        return int(ended.value.code or 0)

    return call


@pytest.fixture
def verified(tmp_path: Path) -> Path:
    """A model file whose metadata holds a verification report."""
    probes = (Probe(8, 1, 1.5e-6, 2e-5, 121.4), Probe(300, 2, 3.5e-6, 2e-5, 118.0))
    path = tmp_path / "verified.onnx"
    path.write_bytes(with_metadata(replace(SPEC, verification=probes).to_metadata()))
    return path


def test_healthy_installation_is_described(
    run: Run, verified: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(verified) == 0
    lines = {" ".join(line.split()) for line in capsys.readouterr().out.splitlines()}
    assert f"onnxruntime {metadata.version('onnxruntime')}" in lines
    assert "provider cpu starts" in lines
    assert any(
        line.startswith("int8 ") and "8-bit matrix multiplications" in line for line in lines
    )
    assert "stft hop_length 256" in lines
    assert "state none" in lines
    assert "Verification against PyTorch float64" in lines
    assert "frames batch max |error| tolerance SNR dB" in lines
    assert "300 2 3.5e-06 2.0e-05 118.0" in lines


def test_a_file_of_samples_shows_its_interface_and_both_verifications(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    probes = (Probe(8, 1, 1.5e-6, 2e-5, 121.4), Probe(9, 3, 4e-7, 1e-5, 99.0, n_samples=2177))
    spec = replace(WAVEFORM_SPEC, verification=probes)
    path = tmp_path / "waveform.onnx"
    path.write_bytes(with_metadata(spec.to_metadata(), HALVES.read_bytes()))
    assert run(path) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "interface waveform" in lines
    assert lines[lines.index("Verification against PyTorch float64") + 1 :] == [
        "frames batch max |error| tolerance SNR dB",
        "8 1 1.5e-06 2.0e-05 121.4",
        "samples batch max |error| tolerance SNR dB",
        "2177 3 4.0e-07 1.0e-05 99.0",
    ]


def test_verification_of_a_quantised_file_is_shown(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    probes = (SpeechProbe("speech in rain", 41.26, 30.0),)
    spec = replace(SPEC, precision="int8", verification=(Probe(8, 1, 1e-6, 2e-5, 99.0),))
    path = tmp_path / "int8.onnx"
    path.write_bytes(with_metadata(replace(spec, quantization=probes).to_metadata()))
    assert run(path) == 0
    assert "41.3 dB on speech in rain (at least 30 dB)" in capsys.readouterr().out


def test_json_holds_the_same(run: Run, verified: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(verified, "--json") == 0
    findings = json.loads(capsys.readouterr().out)
    assert findings["threads"]["default"] >= 1
    assert findings["providers"]["cpu"] == "starts"
    assert findings["model"]["stft"]["n_fft"] == 512
    assert findings["model"]["interface"] == "mask"
    assert findings["model"]["verification"][0]["max_abs_error"] == 1.5e-6
    assert findings["model"]["verification"][0]["tolerance"] == 2e-5
    assert findings["errors"] == []


def test_missing_verification_is_reported(
    run: Run, unity_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(unity_path) == 0
    assert "no verification report" in capsys.readouterr().out


def test_version_is_printed(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out == f"fsnp-onnx {metadata.version('fsnp-onnx')}\n"


def test_a_cpu_build_is_named_as_the_reason_without_cuda(
    run: Run, unity_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    assert run(unity_path) == 0
    line = r"^provider cuda +not available: the CPU build of ONNX Runtime is installed$"
    assert re.search(line, capsys.readouterr().out, re.MULTILINE)


def test_bad_model_is_reported_beside_the_rest(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "none.onnx") == 1
    printed = capsys.readouterr().out
    assert "numpy" in printed
    assert re.search("^provider cpu +starts$", printed, re.MULTILINE)
    assert re.search("^provider cuda +.", printed, re.MULTILINE)
    assert "error: cannot read the model" in printed


@pytest.mark.parametrize("wheels", [(), ("onnxruntime", "onnxruntime-gpu")])
def test_wrong_wheels_are_reported_beside_the_rest(
    run: Run,
    unity_path: Path,
    wheels: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    version = metadata.version

    def pretend(name: str) -> str:
        if name in wheels:
            return "1.0"
        if name.startswith("onnxruntime"):
            raise metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(metadata, "version", pretend)
    assert run(unity_path) == 1
    printed = capsys.readouterr().out
    assert "error: " in printed
    assert "pip" in printed
    assert ("ONNX Runtime is not installed" in printed) == (not wheels)


def test_a_stream_is_timed_hop_by_hop() -> None:
    findings = command.examine(DELAY)
    assert findings["errors"] == []
    live = findings["live"]
    assert (live["latency_ms"], live["hop_ms"], live["on_one_core"]) == (48, 16, True)
    assert 0 < live["median_ms"] <= live["percentile_99_ms"] < 16
    assert "live" not in command.examine(UNITY)
