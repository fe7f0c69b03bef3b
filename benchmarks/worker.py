"""One enhancement in a fresh process: `python -m benchmarks.worker SYSTEM FILE SPEECH SECONDS THREADS`.

SYSTEM is "onnx" (FILE is an exported file) or "torch" (a checkpoint). SPEECH is a .npy file of samples
that are repeated to SECONDS. It prints one line of JSON. This process is measured, so it imports only
what the system needs.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Wave = NDArray[np.float32]


def run(system: str, file: Path, speech: Path, seconds: float, threads: int) -> dict[str, Any]:
    """Run this module in a fresh process and return its measurements.

    Raises:
        RuntimeError: It failed or was killed.
    """
    arguments = [system, str(file), str(speech), str(seconds), str(threads)]
    command = [sys.executable, "-m", "benchmarks.worker", *arguments]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    elapsed_s = time.perf_counter() - started
    if done.returncode:
        last = (done.stderr.splitlines() or ["no message"])[-1]
        raise RuntimeError(f"{system} on {seconds:g} s ended with {done.returncode}: {last}")
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured | {"process_s": elapsed_s}


def main() -> None:
    """Measure in this process."""
    system, file, speech, seconds, threads = sys.argv[1:]
    started = time.perf_counter()
    load = {"onnx": _load_onnx, "torch": _load_torch}[system]()
    imported = time.perf_counter()
    enhance, rate_hz = load(Path(file), int(threads))
    loaded = time.perf_counter()
    noisy = np.resize(np.load(speech), round(float(seconds) * rate_hz))
    before = time.perf_counter()
    enhanced = enhance(noisy)
    after = time.perf_counter()
    assert enhanced.shape == noisy.shape
    document = {
        "import_s": imported - started,
        "load_s": loaded - imported,
        "enhance_s": after - before,
        "peak_mb": peak_mb(),
    }
    print(json.dumps(document))


def peak_mb() -> float:
    """Return the largest resident memory of this process so far, in MB (10^6 bytes)."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss includes the peak of the parent process
        lines = status.read_text(encoding="utf-8").splitlines()
        (line,) = (line for line in lines if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


Load = Callable[[Path, int], tuple[Callable[[Wave], Any], int]]


def _load_onnx() -> Load:
    from fsnp_onnx import Enhancer  # importing it is measured
    from fsnp_onnx.runtime.ort import load_onnxruntime

    load_onnxruntime()

    def load(file: Path, threads: int) -> tuple[Callable[[Wave], Any], int]:
        enhancer = Enhancer(file, provider="cpu", threads=threads)
        rate_hz = enhancer.spec.stft.sample_rate_hz
        return lambda noisy: enhancer.enhance(noisy, rate_hz), rate_hz

    return load


def _load_torch() -> Load:
    from benchmarks.eager import Eager  # importing it is measured

    def load(file: Path, threads: int) -> tuple[Callable[[Wave], Any], int]:
        eager = Eager(file, threads)
        return eager.enhance, eager.sample_rate_hz

    return load


if __name__ == "__main__":
    main()
