"""Where memory ends, a person reads one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

LIMITED = """
import resource, sys
from fsnp_onnx.cli import start
resource.setrlimit(resource.RLIMIT_AS, (600_000 * 1024,) * 2)
start.enhance()
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the address space")
def test_a_run_out_of_memory_is_one_line(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).standard_normal(600 * 16000) / 20
    sf.write(tmp_path / "long.wav", noise, 16000)
    command = [sys.executable, "-c", LIMITED, "long.wav", "-o", "enhanced.wav", "--threads", "1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: long.wav: ")
    assert done.stderr.count("\n") == 1
    assert "if memory is short, give shorter audio" in done.stderr
    assert "onnxruntime:" not in done.stderr  # as its own lines begin
    assert [path.name for path in tmp_path.iterdir()] == ["long.wav"]
