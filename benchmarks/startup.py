"""Cold start: a fresh process imports, loads, and enhances the first second of audio."""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from benchmarks import worker
from benchmarks.networks import Network
from benchmarks.rounds import alternate, timed
from benchmarks.speech import noisy_speech

SECONDS = 1.0
COMMAND = "fsnp-enhance"


def measure(network: Network, threads: int, repeats: int) -> dict[str, Any]:
    """Start every system repeatedly; they take turns.

    Returns:
        Per system the runs, each with the seconds of its parts and of the whole process. The first
        run of each is left out, because it reads the files from disk.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        noisy, rate_hz = noisy_speech(SECONDS)
        np.save(folder / "speech.npy", noisy)
        soundfile.write(folder / "speech.wav", noisy, rate_hz)
        files = {precision: ("onnx", path) for precision, path in network.models.items()}
        files["torch"] = ("torch", network.checkpoint)
        systems: dict[str, Callable[[], dict[str, float]]] = {
            name: partial(worker.run, *file, folder / "speech.npy", SECONDS, threads)
            for name, file in files.items()
        }
        systems[COMMAND] = partial(_command, network.models["float32"], folder, threads)
        runs = alternate(systems, repeats + 1)
    return {"runs": {name: all_runs[1:] for name, all_runs in runs.items()}}


def _command(model: Path, folder: Path, threads: int) -> dict[str, float]:
    """Time the command itself: a WAV file in, a WAV file out."""
    files = [str(folder / "speech.wav"), "-o", str(folder / "enhanced.wav"), "--force"]
    options = ["-m", str(model), "--provider", "cpu", "--threads", str(threads)]
    command = [sys.executable, "-m", "fsnp_onnx", *files, *options]
    return {"process_s": timed(partial(subprocess.run, command, check=True, capture_output=True))}
