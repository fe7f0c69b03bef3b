"""Folders of recordings, and the processes that work on them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import soundfile as sf

from tests.runtime.signals import noise


def recordings(folder: Path, n: int) -> None:
    """Write recordings of different lengths, every other one in a folder below."""
    for number in range(n):
        path = (
            folder / f"{number:03d}.wav" if number % 2 else folder / "deep" / f"{number:03d}.flac"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        sf.write(path, noise(3000 + 500 * number, seed=number), 16000)


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder, also hidden ones."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def wait_for(condition: Callable[[], bool]) -> None:
    """Return when a condition holds, which has to be soon."""
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def members(leader: int) -> list[int]:
    """Return the running processes of a session."""
    pids = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, number, *_ = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(number) == leader and state != "Z":
            pids.append(int(path.parent.name))
    return pids
