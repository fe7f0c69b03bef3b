"""Real-time factor of our model and of other enhancers, one thread each, beside their quality.

Only the speed is measured here. `make evaluate` measured the quality (evaluation/results/quality.json).
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from threadpoolctl import threadpool_limits

from benchmarks.rounds import alternate, timed
from benchmarks.speech import noisy_speech
from evaluation.peers import find_peers
from evaluation.result import read_evaluation
from evaluation.scoring import model

QUALITY = Path(__file__).parents[1] / "evaluation" / "results" / "quality.json"
METRICS = ("pesq", "stoi", "si_sdr_db", "ovrl")


def measure(models: dict[str, Path], seconds: float, repeats: int) -> dict[str, Any]:
    """Time all systems that start here on the same speech; they take turns.

    Args:
        models: Our exported files by the title that quality.json gives them.
        seconds: Length of the recording.
        repeats: Rounds.

    Returns:
        Seconds of every round by title, the quality by title, and the systems that did not start.
    """
    peers, missing = find_peers()
    systems = [*(model(title, path) for title, path in models.items()), *peers]
    noisy, _ = noisy_speech(seconds)
    calls: dict[str, Callable[[], float]] = {}
    with threadpool_limits(1):
        for system in systems:
            enhance = system.open()
            enhance(noisy)  # warms up
            calls[system.title] = partial(timed, partial(enhance, noisy))
        rounds = alternate(calls, repeats)
    return {
        "audio_s": seconds,
        "own": list(models),
        "seconds": rounds,
        "packages": {peer.title: peer.key for peer in peers},
        "missing": missing,
        "quality": quality(QUALITY),
    }


def quality(file: Path) -> dict[str, dict[str, float]]:
    """Return the means over the noisy mixtures by title and metric."""
    evaluation = read_evaluation(file)
    noisy = evaluation.part("noisy")
    return {
        title: {key: fmean(evaluation.values(title, key, noisy)) for key in METRICS}
        for title in evaluation.scores
    }
