"""The commands can be ended before they have begun."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fsnp_onnx.cli import start

_ENDED_WHILE_IT_IMPORTS = """
import os, signal
from fsnp_onnx.cli import start
start.import_module = lambda _: os.kill(os.getpid(), signal.SIGINT)
start.{command}()
"""


@pytest.mark.parametrize("command", ["enhance", "export", "doctor"])
def test_ctrl_c_while_a_command_is_imported_is_one_line(command: str) -> None:
    code = _ENDED_WHILE_IT_IMPORTS.format(command=command)
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr, ended.stdout) == (130, "interrupted\n", "")


@pytest.mark.parametrize("command", ["enhance", "export", "doctor"])
def test_an_entry_point_starts_its_command(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [f"fsnp-{command}", "--help"])
    with pytest.raises(SystemExit, match="0"):
        getattr(start, command)()
    assert f"fsnp-{command} [OPTIONS]" in capsys.readouterr().out


@pytest.mark.parametrize("error", ["ImportError", "OSError"])
def test_a_package_that_cannot_be_loaded_is_one_line(error: str) -> None:
    code = (
        "from fsnp_onnx.cli import start\n"
        f"def fail(_): raise {error}('libsndfile is\\nnot there')\n"
        "start.import_module = fail\n"
        "start.enhance()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert ended.stderr == (
        "error: fsnp-enhance cannot start (libsndfile is not there); "
        "run pip install 'fsnp-onnx[cpu]'\n"
    )


def test_entry_points_are_cheap_to_import() -> None:
    code = "import sys, fsnp_onnx.cli.start; print({'numpy', 'typer'} & set(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "set()\n"
