"""fsnp-enhance as a process."""

from __future__ import annotations

import sys
from pathlib import Path


def shell(model: Path, *arguments: str) -> list[str]:
    """Return a command line of fsnp-enhance."""
    code = "from fsnp_onnx.cli.start import enhance; enhance()"
    return [sys.executable, "-c", code, "--model", str(model), *arguments]
