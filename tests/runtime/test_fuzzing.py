"""Damaged and truncated files in every container: never a crash, a hang, a silent loss or a stray line or file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runtime import fuzzing

N_FILES = 25  # of each kind; by hand 300 of several seeds


@pytest.mark.slow
def test_no_damage_crashes_hangs_loses_samples_in_silence_prints_or_leaves_files(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-m", "tests.runtime.fuzzing"]
    problems = []
    for container, subtype in fuzzing.formats():
        run = subprocess.run(
            [*command, container, subtype, "0", str(N_FILES)],
            capture_output=True,
            text=True,
            timeout=300,
            env=os.environ | {"TMPDIR": str(tmp_path)},
            check=False,
        )
        problems += run.stdout.splitlines()
        if run.returncode:
            problems.append(f"the interpreter ended with {run.returncode}: {run.stderr[-200:]}")
    assert not problems
    assert list(tmp_path.iterdir()) == []
