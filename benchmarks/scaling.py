"""Speed over threads of one session, and over jobs of fsnp-enhance with one thread each."""

import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from benchmarks.networks import Network
from benchmarks.rounds import alternate, timed
from benchmarks.speech import FILES, noisy_speech, recordings
from fsnp_onnx import Enhancer


def over_threads(
    model: Path, counts: Sequence[int], seconds: float, repeats: int
) -> dict[str, Any]:
    """Time sessions with different numbers of threads on the same speech; they take turns.

    Returns:
        Seconds of every round by number of threads, and the largest difference from one thread.
    """
    noisy, rate_hz = noisy_speech(seconds)
    enhance = {
        n: partial(_enhance, Enhancer(model, "cpu", threads=n), noisy, rate_hz) for n in counts
    }
    waves = {n: run() for n, run in enhance.items()}
    rounds = alternate({str(n): partial(timed, run) for n, run in enhance.items()}, repeats)
    reference = waves[counts[0]]
    return {
        "audio_s": seconds,
        "seconds": rounds,
        "max_abs": {str(n): float(np.abs(wave - reference).max()) for n, wave in waves.items()},
    }


def over_jobs(
    model: Path, counts: Sequence[int], files: int, file_seconds: float, repeats: int
) -> dict[str, Any]:
    """Time fsnp-enhance on a folder with different numbers of jobs of one thread; they take turns.

    Args:
        model: An exported file.
        counts: Numbers of jobs.
        files: Number of files in the folder.
        file_seconds: Length of each file; the repository's samples are repeated to this length.
        repeats: Rounds.

    Returns:
        Seconds of the whole command by number of jobs, and whether the outputs are identical.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        audio_s = write_folder(folder / "noisy", files, file_seconds)
        systems: dict[str, Callable[[], dict[str, Any]]] = {
            str(n): partial(_run_jobs, model, folder, n) for n in counts
        }
        runs = alternate(systems, repeats)
    reference = runs[str(counts[0])][0]["outputs"]
    return {
        "audio_s": audio_s,
        "files": files,
        "seconds": {jobs: [run["seconds"] for run in there] for jobs, there in runs.items()},
        "identical": {
            jobs: all(run["outputs"] == reference for run in there) for jobs, there in runs.items()
        },
    }


def write_folder(folder: Path, n_files: int, file_seconds: float) -> float:
    """Write the repository's samples, repeated to a length; return the seconds of all files."""
    folder.mkdir()
    samples = recordings(FILES[1:])
    total_s = 0.0
    for index in range(n_files):
        noisy, rate_hz = samples[index % len(samples)]
        n_samples = round(file_seconds * rate_hz)
        soundfile.write(folder / f"{index:03d}.wav", np.resize(noisy, n_samples), rate_hz)
        total_s += n_samples / rate_hz
    return total_s


def measure(
    network: Network,
    *,
    counts: Sequence[int],
    files: int,
    file_seconds: float,
    seconds: float,
    repeats: int,
) -> dict[str, Any]:
    """Measure both for every precision of a network."""
    return network.by_precision(
        lambda _, path: {
            "threads": over_threads(path, counts, seconds, repeats),
            "jobs": over_jobs(path, counts, files, file_seconds, repeats),
        }
    )


def _enhance(enhancer: Enhancer, noisy: NDArray[np.float32], rate_hz: int) -> NDArray[np.floating]:
    return enhancer.enhance(noisy, rate_hz)


def _run_jobs(model: Path, folder: Path, jobs: int) -> dict[str, Any]:
    output = folder / f"jobs_{jobs}"
    options = [
        "--model",
        str(model),
        "--provider",
        "cpu",
        "--threads",
        "1",
        "--jobs",
        str(jobs),
        "--force",
    ]
    command = [sys.executable, "-m", "fsnp_onnx", str(folder / "noisy"), "-o", f"{output}/"]
    seconds = timed(partial(subprocess.run, [*command, *options], check=True, capture_output=True))
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(output.iterdir())]
    return {"seconds": seconds, "outputs": digests}
