"""Systems x mixtures -> scores, in parallel, with a cache."""

import functools
import hashlib
import json
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import soundfile

from evaluation.metrics import PACKAGES, score
from evaluation.mixtures import Mixture
from fsnp_onnx import Enhancer
from fsnp_onnx.runtime.bundled import model_path
from training.recording import SAMPLE_RATE, Wave

Enhance = Callable[[Wave], Wave]
Scores = dict[str, dict[str, float]]  # by mixture, then by metric


@dataclass(frozen=True, slots=True)
class System:
    """Something that enhances speech.

    Attributes:
        title: Name in tables, unique.
        key: Name of its cache: changes whenever its output may change.
        open: Loads it once per process; picklable.
    """

    title: str
    key: str
    open: Callable[[], Enhance]


def unprocessed() -> System:
    """The noisy input itself."""
    return System("noisy", "noisy", _open_unprocessed)


def model(title: str, name_or_path: str | Path) -> System:
    """One of our models, run through `Enhancer`, which removes the latency of a live one.

    Args:
        title: Name in tables.
        name_or_path: "default", "live", or an ONNX file written by the exporter.
    """
    path = model_path(name_or_path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return System(title, f"model-{digest}", functools.partial(_open_model, path))


def evaluate(
    systems: list[System], mixtures: list[Mixture], cache: Path, processes: int
) -> Iterator[tuple[System, Mixture, dict[str, float]]]:
    """Score every system on every mixture; compute only what the cache lacks.

    The cache belongs to a system. Its key is the content of a mixture, and other versions of the
    packages that measure make it void.

    Args:
        systems: What to score.
        mixtures: The set.
        cache: Folder for `KEY.json` (scores) and `KEY/MIXTURE.flac` (enhanced speech).
        processes: How many run at once, one thread each; 1 means this process.

    Yields:
        System, mixture and their scores, system by system.
    """
    context = multiprocessing.get_context("spawn")  # sessions do not survive a fork
    with ProcessPoolExecutor(processes, context) as pool:
        run = map if processes == 1 else pool.map
        for system in systems:
            known = _read_cache(cache / f"{system.key}.json")
            lacking = [mixture for mixture in mixtures if mixture.digest not in known]
            (cache / system.key).mkdir(parents=True, exist_ok=True)
            fresh = run(functools.partial(_score_one, system, cache / system.key), lacking)
            for mixture in mixtures:
                if mixture.digest not in known:
                    known[mixture.digest] = next(fresh)
                    _write_cache(cache / f"{system.key}.json", known)
                yield system, mixture, known[mixture.digest]


def _score_one(system: System, folder: Path, mixture: Mixture) -> dict[str, float]:
    enhanced = _opened(system)(mixture.noisy)
    soundfile.write(folder / f"{mixture.item.name}.flac", enhanced.clip(-1, 1), SAMPLE_RATE)
    return score(mixture.target, enhanced)


@functools.lru_cache(maxsize=1)  # systems come one after the other
def _opened(system: System) -> Enhance:
    return system.open()


def _open_unprocessed() -> Enhance:
    return lambda noisy: noisy


def _open_model(path: Path) -> Enhance:
    enhancer = Enhancer(model=path, provider="cpu", threads=1)
    return lambda noisy: enhancer.enhance(noisy, SAMPLE_RATE)


def _measured_with() -> dict[str, str]:
    return {package: version(package) for package in PACKAGES}


def _read_cache(path: Path) -> Scores:
    """Scores by the digest of the mixture; none where other metric versions measured them."""
    if not path.is_file():
        return {}
    content = json.loads(path.read_text(encoding="utf-8"))
    return dict(content["scores"]) if content["measured_with"] == _measured_with() else {}


def _write_cache(path: Path, scores: Scores) -> None:
    part = path.with_suffix(".part")
    content = {"measured_with": _measured_with(), "scores": scores}
    part.write_text(json.dumps(content, indent=1), encoding="utf-8")
    part.replace(path)
