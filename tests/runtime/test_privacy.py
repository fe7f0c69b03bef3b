"""A recording stays private: nothing is sent, and nothing is written outside the outputs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

ENHANCE = """
import sys
if sys.argv[1:]:
    from fsnp_onnx.cli.start import enhance
    sys.argv[0] = "fsnp-enhance"
    enhance()
else:
    from fsnp_onnx import Enhancer
    Enhancer()
"""

FORK = """
import os, sys
from fsnp_onnx import Enhancer

enhancer = Enhancer(threads=2)  # one thread would start no pool that a fork loses
if os.fork() == 0:
    sys.exit(7)
_, status = os.wait()
sys.exit(os.waitstatus_to_exitcode(status))
"""


def environment(home: Path) -> dict[str, str]:
    """Return an environment that lets ONNX Runtime write into a new home, if it wants to."""
    kept = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    return kept | {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}


@pytest.mark.parametrize("command", [[], ["noisy.wav", "-o", "enhanced.wav"]])
def test_home_stays_empty_and_nothing_is_said(tmp_path: Path, command: list[str]) -> None:
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    sf.write(work / "noisy.wav", np.zeros(16000), 16000)
    arguments = [sys.executable, "-c", ENHANCE, *command]
    done = subprocess.run(
        arguments, cwd=work, env=environment(home), capture_output=True, text=True, check=True
    )
    assert list(home.rglob("*")) == []
    assert "onnxruntime" not in done.stderr
    assert {path.name for path in work.iterdir()} <= {"noisy.wav", "enhanced.wav"}


def test_a_users_own_choice_about_telemetry_is_kept(tmp_path: Path) -> None:
    code = "import os, fsnp_onnx; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    own = environment(tmp_path) | {"ORT_DISABLE_TELEMETRY": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=own, capture_output=True, text=True, check=True
    )
    assert done.stdout == "0\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_ends_by_sys_exit_at_once(tmp_path: Path) -> None:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK],
        env=environment(tmp_path),
        timeout=60,
        check=False,
    )
    assert done.returncode == 7
    assert time.monotonic() - began < 15
