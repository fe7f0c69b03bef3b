"""What the tests of the page and the npm package need, and how both are run."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest
from filelock import FileLock

ROOT = Path(__file__).parents[2]
WEB = ROOT / "web"


def require(tool: str) -> str:
    """Return the path of a program; skip the test without it, but not in CI."""
    found = shutil.which(tool)
    return found or missing(tool)


def missing(what: str) -> NoReturn:
    """Skip the test that needs something, but not in CI."""
    if os.environ.get("CI"):
        pytest.fail(f"CI has no {what}")
    pytest.skip(f"{what} is not installed")


def installed(folder: Path) -> Path:
    """Return a folder with the npm packages of its lock file installed."""
    npm = require("npm")
    with FileLock(folder / ".install.lock"):
        if not (folder / "node_modules" / ".package-lock.json").exists():
            subprocess.run([npm, "ci", "--ignore-scripts"], cwd=folder, check=True, timeout=600)
    return folder


def run_node(*arguments: str | Path, folder: Path = WEB) -> str:
    """Run a script with Node and return what it prints."""
    installed(WEB)
    command = [require("node"), *map(str, arguments)]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
