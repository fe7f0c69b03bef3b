"""Fair measurement: systems take turns, so that other load on the machine meets them all."""

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

T = TypeVar("T")

PAUSE_S = 0.3  # idle threads of the previous system's pool spin for a while before they sleep


def alternate(systems: Mapping[str, Callable[[], T]], repeats: int) -> dict[str, list[T]]:
    """Call every system once a round; each round begins with the next one.

    Args:
        systems: What to call, by name.
        repeats: Number of rounds.

    Returns:
        The results of each system, one entry per round; entries of the same index belong together.
    """
    results: dict[str, list[T]] = {name: [] for name in systems}
    names = list(systems)
    for index in range(repeats):
        first = index % len(names)
        for name in names[first:] + names[:first]:
            time.sleep(PAUSE_S)
            results[name].append(systems[name]())
    return results


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
