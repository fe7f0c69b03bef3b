"""The configuration can be read where torch is not installed."""

from __future__ import annotations

import subprocess
import sys


def test_the_configuration_needs_no_torch() -> None:
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from fsnp_onnx.network.config import NetworkConfig\n"
        "print(NetworkConfig().sub_band_features)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "34\n"
