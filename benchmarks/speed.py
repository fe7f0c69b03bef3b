"""This runtime against torch run eagerly: same weights, same threads, in turns."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.eager import Eager
from benchmarks.networks import Network
from benchmarks.rounds import alternate, timed
from benchmarks.speech import noisy_speech
from fsnp_onnx import Enhancer
from fsnp_onnx.export.speech import snr_db


def measure(
    network: Network, threads: int, durations_s: list[float], repeats: int
) -> dict[str, Any]:
    """Time torch, float32 and int8 on the same speech, one length after the other.

    Returns:
        For every length the seconds of every round by system, and the differences of the outputs.
    """
    eager = Eager(network.checkpoint, threads)
    enhancers = {
        precision: Enhancer(path, provider="cpu", threads=threads)
        for precision, path in network.models.items()
    }
    points = [_measure(eager, enhancers, seconds, repeats) for seconds in durations_s]
    return {"points": points, "missing": network.missing}


def _measure(
    eager: Eager, enhancers: dict[str, Enhancer], seconds: float, repeats: int
) -> dict[str, Any]:
    noisy, rate_hz = noisy_speech(seconds)
    # whole hops: torch's inverse is unstable on the samples after the last one
    noisy = noisy[: noisy.size // eager.hop_length * eager.hop_length]
    systems: dict[str, Callable[[], NDArray[np.floating]]] = {
        "torch": partial(eager.enhance, noisy)
    }
    for precision, enhancer in enhancers.items():
        systems[precision] = partial(enhancer.enhance, noisy, rate_hz)
    waves = {name: enhance() for name, enhance in systems.items()}  # warms up as well
    timings = {name: partial(timed, enhance) for name, enhance in systems.items()}
    pairs = [("float32", "torch"), ("int8", "float32"), ("int8", "torch")]
    return {
        "audio_s": noisy.size / rate_hz,
        "seconds": alternate(timings, repeats),
        "differences": [
            _difference(found, reference, waves)
            for found, reference in pairs
            if found in waves and reference in waves
        ],
    }


def _difference(
    found: str, reference: str, waves: dict[str, NDArray[np.floating]]
) -> dict[str, Any]:
    error = waves[found] - waves[reference]
    return {
        "of": found,
        "from": reference,
        "max_abs": float(np.abs(error).max()),
        "peak": float(np.abs(waves[reference]).max()),
        "snr_db": snr_db(waves[reference], error),
    }
