"""Peak memory of a fresh process against the duration of the recording."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import worker
from benchmarks.networks import Network
from benchmarks.speech import noisy_speech

_LONG_S = 60.0  # longer runs are not repeated: their peaks hardly vary


def measure(
    network: Network,
    threads: int,
    durations_s: Sequence[float],
    torch_durations_s: Sequence[float],
    repeats: int,
) -> dict[str, Any]:
    """Enhance recordings of these durations, each in a process of its own.

    Returns:
        Per system a list of points: the duration, and peak memory and time of every run.
    """
    systems = {name: ("onnx", path, durations_s) for name, path in network.models.items()}
    systems["torch"] = ("torch", network.checkpoint, torch_durations_s)
    points: dict[str, list[dict[str, Any]]] = {name: [] for name in systems}
    with tempfile.TemporaryDirectory() as folder:
        speech = Path(folder) / "speech.npy"
        np.save(speech, noisy_speech(20)[0])
        for name, (system, file, durations) in systems.items():
            for duration_s in durations:
                print(f"{network.name} {name} {duration_s:g} s", flush=True)
                runs = _runs(system, file, speech, (duration_s, threads, repeats))
                points[name].append({"audio_s": duration_s} | runs)
    return {"points": points, "missing": network.missing}


def _runs(
    system: str, file: Path, speech: Path, settings: tuple[float, int, int]
) -> dict[str, Any]:
    duration_s, threads, repeats = settings
    peaks_mb: list[float] = []
    seconds: list[float] = []
    while len(peaks_mb) < repeats:
        try:
            run = worker.run(system, file, speech, duration_s, threads)
        except RuntimeError as error:
            return {"failed": str(error)}
        peaks_mb.append(run["peak_mb"])
        seconds.append(run["enhance_s"])
        if run["process_s"] > _LONG_S:
            break
    return {"peak_mb": peaks_mb, "seconds": seconds}
