"""Damaged and truncated files in every container: never a crash, a hang or a silent loss."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.runtime import fuzzing

N_FILES = 25  # of each kind; by hand 300 of several seeds


@pytest.mark.slow
def test_no_damage_crashes_the_interpreter_hangs_or_loses_samples_in_silence() -> None:
    command = [sys.executable, "-m", "tests.runtime.fuzzing"]
    problems = []
    for container, subtype in fuzzing.formats():
        run = subprocess.run(
            [*command, container, subtype, "0", str(N_FILES)],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        problems += [line for line in run.stdout.splitlines() if line.startswith(container)]
        if run.returncode:
            problems.append(f"the interpreter ended with {run.returncode}: {run.stderr[-200:]}")
    assert not problems
