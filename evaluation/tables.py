"""What was scored, and the Markdown tables that can be made of it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evaluation.metrics import METRICS, Interval, bootstrap
from evaluation.mixtures import PEAKS_DBFS, Mixture
from evaluation.scoring import Scores


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything a report needs.

    Attributes:
        mixtures: The set.
        scores: By the title of the system; "noisy" first, then our models, then the peers.
        models: Titles of our models, the default one first.
        missing: Peers that did not start, one line each.
    """

    mixtures: list[Mixture]
    scores: dict[str, Scores]
    models: list[str]
    missing: list[str]

    def part(self, name: str) -> list[Mixture]:
        """The mixtures of one part of the set."""
        return [mixture for mixture in self.mixtures if mixture.part == name]

    @property
    def snrs_db(self) -> list[float]:
        """The ratios of speech to noise in the noisy part, rising."""
        return sorted({mixture.snr_db for mixture in self.part("noisy")})

    def values(self, title: str, key: str, mixtures: Iterable[Mixture]) -> npt.NDArray[np.float64]:
        """One metric of one system over these mixtures, float64 [mixtures]."""
        return np.array([self.scores[title][mixture.name][key] for mixture in mixtures])

    def mean(self, title: str, key: str, mixtures: Iterable[Mixture]) -> str:
        """Their mean, as it is printed."""
        return _number(key, self.values(title, key, mixtures).mean())

    def lead(self, title: str, other: str, key: str, mixtures: list[Mixture]) -> str:
        """How far one system is ahead of another, file by file, with its interval."""
        ahead = self.values(title, key, mixtures) - self.values(other, key, mixtures)
        return _interval(key, bootstrap(ahead), sign="+")


def score_table(evaluation: Evaluation, keys: tuple[str, ...]) -> str:
    """All systems on the noisy part: mean and interval of these metrics."""
    noisy = evaluation.part("noisy")

    def cells(title: str) -> list[str]:
        return [_interval(key, bootstrap(evaluation.values(title, key, noisy))) for key in keys]

    return _by_system(evaluation, ["", *(METRICS[key].title for key in keys)], cells)


def lead_table(evaluation: Evaluation, keys: tuple[str, ...]) -> str:
    """The default model against every other system, on the noisy part."""
    noisy, default = evaluation.part("noisy"), evaluation.models[0]
    rows = [
        [title, *(evaluation.lead(default, title, key, noisy) for key in keys)]
        for title in evaluation.scores
        if title != default
    ]
    return table(["against", *(METRICS[key].title for key in keys)], rows)


def gain_table(evaluation: Evaluation, mixtures: list[Mixture]) -> str:
    """Our models against the noisy input, in every metric."""
    rows = [
        [model, *(evaluation.lead(model, "noisy", key, mixtures) for key in METRICS)]
        for model in evaluation.models
    ]
    return table(["", *(metric.title for metric in METRICS.values())], rows)


def clean_table(evaluation: Evaluation) -> str:
    """What every system leaves of clean speech: mean and lowest SI-SDR and PESQ-WB."""
    clean = evaluation.part("clean")

    def cells(title: str) -> list[str]:
        both = [(key, evaluation.values(title, key, clean)) for key in ("si_sdr_db", "pesq")]
        return [_number(key, value) for key, x in both for value in (x.mean(), x.min())]

    header = ["", "SI-SDR dB, mean", "lowest", "PESQ-WB, mean", "lowest"]
    return _by_system(evaluation, header, cells)


def level_table(evaluation: Evaluation) -> str:
    """PESQ-WB / SI-SDR of the same mixtures at each level."""
    levels = evaluation.part("level")

    def cell(title: str, peak_dbfs: int) -> str:
        there = [mixture for mixture in levels if mixture.name.endswith(f"_peak{peak_dbfs}dbfs")]
        return " / ".join(evaluation.mean(title, key, there) for key in ("pesq", "si_sdr_db"))

    header = ["", *(f"{peak} dBFS" for peak in PEAKS_DBFS)]
    return _by_system(evaluation, header, lambda title: [cell(title, peak) for peak in PEAKS_DBFS])


def group_table(evaluation: Evaluation, key: str, group: Callable[[Mixture], str]) -> str:
    """One metric on the noisy part: systems down, groups of mixtures across."""
    groups: dict[str, list[Mixture]] = {}
    for mixture in evaluation.part("noisy"):
        groups.setdefault(group(mixture), []).append(mixture)
    header = [METRICS[key].title, *(f"{name} ({len(there)})" for name, there in groups.items())]
    return _by_system(
        evaluation,
        header,
        lambda title: [evaluation.mean(title, key, there) for there in groups.values()],
    )


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, ending with a line feed."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _by_system(evaluation: Evaluation, header: list[str], cells: Callable[[str], list[str]]) -> str:
    """One row per system, our models in bold."""
    rows = [
        [f"**{title}**" if title in evaluation.models else title, *cells(title)]
        for title in evaluation.scores
    ]
    return table(header, rows)


def _interval(key: str, interval: Interval, sign: str = "") -> str:
    low, high = (_number(key, value, sign) for value in (interval.low, interval.high))
    return f"{_number(key, interval.mean, sign)} [{low}, {high}]"


def _number(key: str, value: float, sign: str = "") -> str:
    return f"{value:{sign}.{METRICS[key].digits}f}"
