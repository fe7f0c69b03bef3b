"""fsnp-enhance as a process, with folders of recordings."""

from __future__ import annotations

import sys
from pathlib import Path

import soundfile as sf

from tests.runtime.signals import noise


def shell(model: Path, *arguments: str) -> list[str]:
    """Return a command line of fsnp-enhance."""
    code = "from fsnp_onnx.cli.enhance import main; main()"
    return [sys.executable, "-c", code, "--model", str(model), *arguments]


def recordings(folder: Path, n: int) -> None:
    """Write recordings of different lengths, every other one in a folder below."""
    for number in range(n):
        path = (
            folder / f"{number:03d}.wav" if number % 2 else folder / "deep" / f"{number:03d}.flac"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        sf.write(path, noise(3000 + 500 * number, seed=number), 16000)


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder, hidden ones, too."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
