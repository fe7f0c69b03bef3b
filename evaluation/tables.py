"""The Markdown tables that can be made of an evaluation."""

from collections.abc import Callable

from evaluation.markdown import table
from evaluation.metrics import METRICS, Interval, bootstrap
from evaluation.mixtures import PEAKS_DBFS, Item
from evaluation.result import Evaluation

ALLOWED_PESQ = 0.3  # what a model may cost where there is little to remove
CLEAN_SI_SDR_DB = 25.0


def overview_table(evaluation: Evaluation, keys: tuple[str, ...]) -> str:
    """All systems on the noisy part: means, marked where they differ from the default model's.

    Args:
        evaluation: What was scored.
        keys: The metrics.

    Returns:
        The table; "▲" is better and "▼" worse than the default model file by file, and no mark
        means that the 95 % interval of the difference contains 0.
    """
    noisy, default = evaluation.part("noisy"), evaluation.models[0]

    def cell(title: str, key: str) -> str:
        lead = _lead(evaluation, (title, default), key, noisy)
        mark = " ▲" if lead.low > 0 else " ▼" if lead.high < 0 else ""
        return mean(evaluation, title, key, noisy) + mark

    header = ["", *(METRICS[key].title for key in keys)]
    return _by_system(evaluation, header, lambda title: [cell(title, key) for key in keys])


def score_table(evaluation: Evaluation, keys: tuple[str, ...]) -> str:
    """All systems on the noisy part: mean and interval of these metrics."""
    noisy = evaluation.part("noisy")

    def cells(title: str) -> list[str]:
        return [_interval(key, bootstrap(evaluation.values(title, key, noisy))) for key in keys]

    return _by_system(evaluation, ["", *(METRICS[key].title for key in keys)], cells)


def lead_table(evaluation: Evaluation, model: str, keys: tuple[str, ...]) -> str:
    """One model against every other system, on the noisy part."""
    noisy = evaluation.part("noisy")
    rows = [
        [
            title,
            *(_interval(key, _lead(evaluation, (model, title), key, noisy), "+") for key in keys),
        ]
        for title in evaluation.scores
        if title != model
    ]
    return table([f"**{model}** against", *(METRICS[key].title for key in keys)], rows)


def harm_table(evaluation: Evaluation) -> str:
    """Our models against the noisy input where there is little or nothing to remove.

    Returns:
        Mean differences as printed, "!" where one is below what is asked for: 0, for PESQ-WB
        -ALLOWED_PESQ; on clean speech SI-SDR itself, at least CLEAN_SI_SDR_DB.
    """
    highest_db = evaluation.snrs_db[-1]
    quiet = [item for item in evaluation.part("noisy") if item.snr_db == highest_db]
    parts = {f"{highest_db:g} dB": quiet, "clean": evaluation.part("clean")}
    rows = [
        [f"{model}, {name}", *(_harm(evaluation, model, key, items) for key in METRICS)]
        for model in evaluation.models
        for name, items in parts.items()
    ]
    return table(["", *(metric.title for metric in METRICS.values())], rows)


def _harm(evaluation: Evaluation, model: str, key: str, items: list[Item]) -> str:
    if key == "si_sdr_db" and items == evaluation.part("clean"):
        value, least, sign = evaluation.values(model, key, items).mean(), CLEAN_SI_SDR_DB, ""
    else:
        value, sign = _lead(evaluation, (model, "noisy"), key, items).mean, "+"
        least = -ALLOWED_PESQ if key == "pesq" else 0.0
    printed = round(float(value), METRICS[key].digits)
    return _number(key, printed, sign) + (" !" if printed < least else "")


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
        there = [item for item in levels if item.name.endswith(f"_peak{peak_dbfs}dbfs")]
        return " / ".join(mean(evaluation, title, key, there) for key in ("pesq", "si_sdr_db"))

    header = ["", *(f"{peak} dBFS" for peak in PEAKS_DBFS)]
    return _by_system(evaluation, header, lambda title: [cell(title, peak) for peak in PEAKS_DBFS])


def group_table(evaluation: Evaluation, key: str, group: Callable[[Item], str]) -> str:
    """One metric on the noisy part: systems down, groups of items across."""
    groups: dict[str, list[Item]] = {}
    for item in evaluation.part("noisy"):
        groups.setdefault(group(item), []).append(item)
    header = [METRICS[key].title, *(f"{name} ({len(there)})" for name, there in groups.items())]
    return _by_system(
        evaluation,
        header,
        lambda title: [mean(evaluation, title, key, there) for there in groups.values()],
    )


def mean(evaluation: Evaluation, title: str, key: str, items: list[Item]) -> str:
    """The mean of one metric of one system, as it is printed."""
    return _number(key, evaluation.values(title, key, items).mean())


def _lead(evaluation: Evaluation, pair: tuple[str, str], key: str, items: list[Item]) -> Interval:
    """How far the first system is ahead of the second, file by file."""
    ahead, behind = (evaluation.values(title, key, items) for title in pair)
    return bootstrap(ahead - behind)


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
