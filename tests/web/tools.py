"""What the tests of the page and the npm package need, and how both are run."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).parents[2]
WEB = ROOT / "web"


def require(tool: str) -> str:
    """Return the path of a program; skip the test without it, but not in CI."""
    found = shutil.which(tool)
    if found:
        return found
    if os.environ.get("CI"):
        pytest.fail(f"CI has no {tool}")
    pytest.skip(f"{tool} is not installed")


def installed_web() -> Path:
    """Return web/ with what it needs installed."""
    npm = require("npm")
    with FileLock(WEB / ".install.lock"):
        if not (WEB / "node_modules" / ".package-lock.json").exists():
            subprocess.run([npm, "ci", "--ignore-scripts"], cwd=WEB, check=True, timeout=300)
    return WEB


def run_node(*arguments: str | Path, folder: Path = WEB) -> str:
    """Run a script with Node and return what it prints."""
    installed_web()
    command = [require("node"), *map(str, arguments)]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
