"""fsnp-export from a shell: what it prints, writes and returns."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fsnp_onnx.cli.export import app
from tests.export.small import save, state_dict
from tests.export.test_causal_files import write_checkpoint

COMMAND = [sys.executable, "-c", "from fsnp_onnx.cli.export import main; main()"]


def fsnp_export(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=300
    )


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("export") / "net.tar", {"model": state_dict(), "epoch": 4})


@pytest.mark.slow
def test_an_export_says_what_it_inferred_and_verified(checkpoint: Path, tmp_path: Path) -> None:
    output, report = tmp_path / "net.onnx", tmp_path / "net.json"
    done = fsnp_export(checkpoint, "-o", output, "--mulca", "equivalent", "--report", report)
    assert done.returncode == 0, done.stderr
    assert "weights: entry 'model'" in done.stdout
    assert "from tensors: n_freqs=17" in done.stdout
    (defaults,) = [line for line in done.stdout.splitlines() if "from published default" in line]
    assert "look_ahead=2" in defaults
    assert "equivalent" in done.stdout
    assert "verifying" in done.stderr
    assert "verified: ONNX Runtime ran each file" in done.stdout
    assert "tolerance" in done.stdout
    assert "Warning" not in done.stderr
    document = json.loads(report.read_text())
    assert document["files"][0]["spec"]["verification"]
    assert document["files"][0]["bytes"] == output.stat().st_size
    assert document["sources"]["look_ahead"] == "published default"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("interface", "compared", "seconds"),
    [
        ("mask", "Each mask differed", 4),
        ("waveform", "Each mask and each waveform differed", 4),
        ("stream", "Each waveform, streamed in hops, at once or in random pieces, differed", 10),
    ],
)
def test_the_last_line_says_what_was_compared(
    interface: str, compared: str, seconds: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fsnp_onnx.export.verify_stream._LONG_S", 10)
    checkpoint = write_checkpoint(tmp_path / "net.tar")
    done = CliRunner().invoke(app, [str(checkpoint), "--interface", interface])
    assert done.exit_code == 0, done.output
    last = done.stdout.splitlines()[-1]
    assert f"on noisy speech of up to {seconds} s. {compared} from the float64 network's" in last
    assert (
        "exporting what all variants share" not in done.stderr
    )  # a causal network has one variant


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["missing.tar"], 1, "error: cannot read checkpoint missing.tar"),
        (["--opset", "11", "x.tar"], 2, "--opset"),
        (["--mulca", "fast", "x.tar"], 2, "fast"),
        ([], 2, "checkpoint"),
    ],
)
def test_mistakes_are_one_line_and_an_exit_code(
    arguments: list[str], code: int, message: str
) -> None:
    done = fsnp_export(*arguments)
    assert done.returncode == code
    assert message.lower() in done.stderr.lower()
    assert "Traceback" not in done.stderr
    if code == 1:
        assert done.stderr.rstrip().splitlines()[-1].startswith("error: ")
    assert done.stdout == ""


def test_the_tool_chain_is_asked_for_by_its_extra(checkpoint: Path) -> None:
    script = (
        "import importlib.util as u; find = u.find_spec;"
        "u.find_spec = lambda name, *a: None if name == 'onnxsim' else find(name, *a);"
        "from fsnp_onnx.cli.export import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(checkpoint)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: fsnp-export needs onnxsim, not installed; run pip install 'fsnp-onnx[cpu,export]'"
    ]


def test_an_snr_for_int8_without_int8_is_wrong_usage(checkpoint: Path, tmp_path: Path) -> None:
    done = fsnp_export(checkpoint, "-o", tmp_path / "x.onnx", "--min-snr-db", 40)
    assert done.returncode == 2
    assert "error: --min-snr-db is for precision int8 only" in done.stderr
    assert list(tmp_path.iterdir()) == []
