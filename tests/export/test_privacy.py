"""The export tool chain imports ONNX Runtime by itself; its telemetry stays off there, too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.runtime.test_privacy import environment


@pytest.mark.slow
def test_home_stays_empty_when_the_exporter_is_imported(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    code = "from fsnp_onnx import export_checkpoint; import sys; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(home) | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "True\n"
    assert list(home.rglob("*")) == []
