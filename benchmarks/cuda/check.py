"""Run every packed file on CUDA against its float64 reference, and measure its speed."""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import machine
from fsnp_onnx.errors import FsnpError
from fsnp_onnx.runtime import ort
from fsnp_onnx.runtime.session import Session

Arrays = dict[str, NDArray[Any]]
REPEATS = 3
HOPS = (1, 8, 64)  # of a stream in one call
SLOWEST_S = 20.0  # a longer run is the last one of its batch


def check(folder: Path, session: Session, case: dict[str, Any]) -> dict[str, Any]:
    """Compare one case with its reference.

    Returns:
        Case, largest error (None where the output has no numbers), tolerance, and whether it passed.
    """
    with np.load(folder / case["arrays"]) as file:
        arrays = dict(file)
    found = output_of(session, arrays, case.get("hops", []))
    if found.shape == arrays["exact"].shape:
        error = float(np.abs(found - arrays["exact"]).max())
    else:
        error = float("nan")
    return {
        "case": case["name"],
        "max_abs_error": error if np.isfinite(error) else None,
        "tolerance": case["tolerance"],
        "passed": error <= case["tolerance"],
    }


def output_of(session: Session, arrays: Arrays, hops: list[int]) -> NDArray[np.float32]:
    """Return what a file makes of a case; a stream gets so many hops at a time."""
    if session.spec.state is None:
        feeds = {tensor.name: arrays[tensor.name] for tensor in session.spec.inputs}
        (output,) = session.run(feeds)
        return output[:, :, arrays["bins"]] if "bins" in arrays else output
    pieces = list(streamed(session, arrays["noisy"], hops))
    late, n_samples = session.spec.latency_samples or 0, arrays["noisy"].shape[1]
    return np.concatenate(pieces, axis=1)[:, late : late + n_samples]


def streamed(
    session: Session, noisy: NDArray[np.float32], hops: list[int]
) -> Iterator[NDArray[np.float32]]:
    """Yield the output of a stream piece by piece, for a recording and the latency behind it."""
    spec, (batch, n_samples) = session.spec, noisy.shape
    assert spec.state
    hop = spec.stft.hop_length
    n_fed = -(-(n_samples + (spec.latency_samples or 0)) // hop) * hop
    fed = np.pad(noisy, ((0, 0), (0, n_fed - n_samples)))
    state = np.zeros((batch, spec.state.size), np.float32)
    start = 0
    for count in cycle(hops):
        piece = fed[:, start : start + count * hop]
        if not piece.shape[1]:
            return
        enhanced, state = session.run({"noisy": piece, spec.state.input: state})
        start += piece.shape[1]
        yield enhanced


def random_feeds(session: Session, batch: int, n_samples: int) -> dict[str, NDArray[np.float32]]:
    """Return noise for every input, zeros for a state."""
    spec = session.spec
    sizes = {"batch": batch, "samples": n_samples, "frames": spec.stft.n_frames(n_samples)}
    draw = np.random.default_rng(0)
    feeds = {}
    for tensor in spec.inputs:
        shape = [sizes[axis] if isinstance(axis, str) else axis for axis in tensor.shape]
        feeds[tensor.name] = 0.1 * draw.standard_normal(shape, np.float32)
    if spec.state:
        feeds[spec.state.input] *= 0
    return feeds


def placement(file: Path, session: Session) -> dict[str, dict[str, int]]:
    """Return how many nodes of which operator ran where, by ONNX Runtime's profile of one run."""
    runtime = ort.load_onnxruntime()
    options = ort.session_options(runtime, 1)
    options.enable_profiling = True
    names = ["CPUExecutionProvider"]
    if session.provider == "cuda":
        names.insert(0, "CUDAExecutionProvider")
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        profiled = runtime.InferenceSession(str(file), options, providers=names)
        profiled.run(None, random_feeds(session, 1, 16 * session.spec.stft.hop_length))
        events = json.loads(Path(profiled.end_profiling()).read_text(encoding="utf-8"))
    nodes = {
        (event["name"], event["args"]["op_name"], event["args"]["provider"])
        for event in events
        if event["cat"] == "Node" and "provider" in event["args"]
    }
    placed: dict[str, dict[str, int]] = {}
    for _, operator, provider in sorted(nodes):
        counts = placed.setdefault(provider.removesuffix("ExecutionProvider"), {})
        counts[operator] = counts.get(operator, 0) + 1
    return placed


def speed(session: Session, batches: list[int], seconds: list[float]) -> Iterator[dict[str, Any]]:
    """Yield the median time of a run for each batch and length, an error where it failed."""
    rate, hop = session.spec.stft.sample_rate_hz, session.spec.stft.hop_length
    lengths = [count * hop for count in HOPS]
    if session.spec.state is None:
        lengths = [round(length * rate) for length in seconds]
    for batch in batches:
        for n_samples in lengths:
            line: dict[str, Any] = {"batch": batch, "n_samples": n_samples}
            line |= {"audio_s": batch * n_samples / rate}
            try:
                line["seconds"] = _median_s(session, random_feeds(session, batch, n_samples))
            except FsnpError as error:
                yield line | {"error": str(error)}
                break
            yield line
            if line["seconds"] > SLOWEST_S:
                break


def _median_s(session: Session, feeds: dict[str, NDArray[np.float32]]) -> float:
    times = []
    for _ in range(1 + REPEATS):  # the first one warms up
        start = time.perf_counter()
        session.run(feeds)
        times.append(time.perf_counter() - start)
        if times[-1] > SLOWEST_S:
            break
    return median(times[1:] or times)


def gpu() -> str | None:
    """Return name and driver of the GPU, None where there is none."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def run(folder: Path, out: Path, options: argparse.Namespace) -> bool:
    """Check and measure all files; write the results after each one; return whether all passed."""
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    environment = machine.describe() | {"commit": index["commit"], "gpu": gpu()}
    results: dict[str, Any] = {"environment": environment, "provider": options.provider}
    results["files"] = []
    for entry in index["files"]:
        session = Session(folder / entry["file"], options.provider)
        cases = [check(folder, session, case) for case in entry["cases"]]
        line = {"name": entry["name"], "interface": session.spec.interface, "cases": cases}
        line |= {"placement": placement(folder / entry["file"], session), "speed": []}
        if entry["measured"]:
            line["speed"] = list(speed(session, options.batches, options.seconds))
        results["files"].append(line)
        out.write_text(json.dumps(results, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        failed = [case["case"] for case in cases if not case["passed"]]
        verdict = f"FAILED {', '.join(failed)}" if failed else f"{len(cases)} cases passed"
        print(f"{entry['name']}: {verdict}", flush=True)
    return all(case["passed"] for line in results["files"] for case in line["cases"])


def main(arguments: list[str] | None = None) -> None:
    """Run the check; exit with 1 where a case failed or the provider did not start."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="that pack.py wrote")
    parser.add_argument("--out", type=Path, default=Path("cuda.json"), help="file of the results")
    parser.add_argument("--provider", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--seconds", type=float, nargs="+", default=[1.0, 10.0, 60.0])
    options = parser.parse_args(arguments)
    try:
        passed = run(options.folder, options.out, options)
    except (FsnpError, OSError) as error:
        sys.exit(f"error: {error}")
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
