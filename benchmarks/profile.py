"""Where the time goes: by stage and operator, and outside the network."""

from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.networks import Network
from benchmarks.nodes import profile
from benchmarks.rounds import alternate, timed
from benchmarks.speech import noisy_speech
from fsnp_onnx import Enhancer
from fsnp_onnx.runtime.mask_model import MaskModel
from fsnp_onnx.runtime.session import Session
from fsnp_onnx.runtime.stft import stft


def measure(network: Network, threads: int, seconds: float, repeats: int) -> dict[str, Any]:
    """Profile every precision of a network.

    Returns:
        Per precision the time of every stage and operator (median over the rounds), and, without
        the profiler, the times of the network alone and of `Enhancer.enhance`.
    """
    noisy, rate_hz = noisy_speech(seconds)
    return {"audio_s": seconds} | network.by_precision(
        lambda _, path: _measure(path, noisy, rate_hz, threads, repeats)
    )


def _measure(
    path: Path, noisy: NDArray[np.float32], rate_hz: int, threads: int, repeats: int
) -> dict[str, Any]:
    enhancer = Enhancer(path, provider="cpu", threads=threads)
    model = MaskModel(Session(path, "cpu", threads=threads))
    spec = model.spec.stft
    spectrum = stft(noisy, spec, spec.n_frames(noisy.size))[None]
    whole = {
        "network": lambda: timed(lambda: model.run(spectrum.real, spectrum.imag)),
        "enhance": lambda: timed(lambda: enhancer.enhance(noisy, rate_hz)),
    }
    alternate(whole, 1)  # warms up
    seconds = alternate(whole, repeats)
    rounds: dict[tuple[str, str], list[float]] = defaultdict(list)
    for _ in range(repeats):
        totals: dict[tuple[str, str], float] = defaultdict(float)
        for node in profile(path, noisy, threads).nodes:
            totals[node.stage, node.operator] += node.own_s
        for key, total_s in totals.items():
            rounds[key].append(total_s)
    operators = [
        {"stage": stage, "operator": operator, "seconds": median(totals_s)}
        for (stage, operator), totals_s in rounds.items()
    ]
    return {"seconds": seconds, "operators": sorted(operators, key=lambda o: -o["seconds"])}
