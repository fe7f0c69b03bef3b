"""Real-time factor of our model and of other enhancers, one thread each, beside their quality.

The quality is what `make evaluate` measured (docs/quality.json); only the speed is measured here.
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from threadpoolctl import threadpool_limits

from benchmarks.recording import noisy_speech
from benchmarks.rounds import alternate, timed
from evaluation.peers import find_peers
from evaluation.scoring import model

QUALITY = Path(__file__).parents[1] / "docs" / "quality.json"
METRICS = ("pesq", "stoi", "si_sdr_db", "ovrl")


def measure(models: dict[str, Path], seconds: float, repeats: int) -> dict[str, Any]:
    """Time all systems that start here on the same speech, taking turns.

    Args:
        models: Our exported files by the title that docs/quality.json gives them.
        seconds: Length of the recording.
        repeats: Rounds.

    Returns:
        Seconds of every round by title, the quality by title, and who did not start.
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
    document = json.loads(file.read_text(encoding="utf-8"))
    noisy = [name for name, m in document["mixtures"].items() if m["part"] == "noisy"]
    return {
        title: {key: fmean(rows[name][key] for name in noisy) for key in METRICS}
        for title, rows in document["scores"].items()
    }
