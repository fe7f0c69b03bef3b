"""The goals of the project, beside what was measured."""

from collections.abc import Callable
from statistics import median
from typing import Any

Document = dict[str, Any]
Value = Callable[[dict[str, Document]], float]
Goal = tuple[str, Value, int, float, str]  # what, how, 1 for "at least" or -1, limit, its format


def goals(documents: dict[str, Document]) -> list[list[str]]:
    """Return one row per goal: what, goal, measured, and whether it is met."""
    rows = []
    for what, find, sign, limit, pattern in _GOALS:
        goal = f"{'at most' if sign < 0 else 'at least'} {pattern.format(limit)}"
        try:
            value = find(documents)
        except KeyError:
            rows.append([what, goal, "not measured", ""])
            continue
        met = "met" if sign * (value - limit) >= 0 else "**missed**"
        rows.append([what, goal, pattern.format(value), met])
    return rows


def _against_torch(precision: str, audio_s: int) -> Value:
    def find(documents: dict[str, Document]) -> float:
        points = documents["speed"]["results"]["published"]["points"]
        by_duration = {round(point["audio_s"], 1): point for point in points}
        return median(ratios(by_duration[audio_s]["seconds"], precision))

    return find


def _snr_db(network: str) -> Value:
    def find(documents: dict[str, Document]) -> float:
        snrs_db = [
            float(d["snr_db"])
            for point in documents["speed"]["results"][network]["points"]
            for d in point["differences"]
            if (d["of"], d["from"]) == ("int8", "float32")
        ]
        if not snrs_db:
            raise KeyError("int8")
        return min(snrs_db)

    return find


def _peak_mb(audio_s: float) -> Value:
    def find(documents: dict[str, Document]) -> float:
        points = documents["memory"]["results"]["published"]["points"]["float32"]
        by_duration = {point["audio_s"]: point for point in points}
        return float(median(by_duration[audio_s]["peak_mb"]))

    return find


def _share(documents: dict[str, Document]) -> float:
    precision = documents["gemm"]["results"]["published"]["precisions"]["float32"]
    return median(shares(precision, "onnxruntime", "sub_band_s"))


def _jobs(network: str) -> Value:
    def find(documents: dict[str, Document]) -> float:
        results = documents["scaling"]["results"][network]["precisions"]["float32"]["jobs"]
        return 1 / median(ratios(results["seconds"], "2", "1"))

    return find


def ratios(seconds: dict[str, list[float]], system: str, reference: str = "torch") -> list[float]:
    """Return the time relative to that of a reference, round by round."""
    return [a / b for a, b in zip(seconds[system], seconds[reference], strict=True)]


def shares(precision: dict[str, Any], library: str, what: str) -> list[float]:
    """Return the share of the multiplications in the time of layers or stage, round by round."""
    counts = [matmul["count"] for matmul in precision["matmuls"]]
    alone_s = [
        sum(n * one for n, one in zip(counts, times, strict=True))
        for times in precision["matmul_s"][library]
    ]
    return [a / b for a, b in zip(alone_s, precision[what], strict=True)]


def _faster(precision: str, audio_s: int, goal: float) -> Goal:
    what = f"published, {precision}: time relative to torch, {audio_s} s"
    return what, _against_torch(precision, audio_s), -1, goal, "{:.2f}"


_GOALS: tuple[Goal, ...] = (
    _faster("float32", 10, 0.80),
    _faster("float32", 60, 0.80),
    _faster("int8", 10, 0.30),
    _faster("int8", 60, 0.30),
    ("published: int8 against float32, SNR", _snr_db("published"), 1, 30, "{:.1f} dB"),
    ("default: int8 against float32, SNR", _snr_db("default"), 1, 30, "{:.1f} dB"),
    ("published, float32: peak memory, 10 minutes", _peak_mb(600), -1, 700, "{:.0f} MB"),
    ("published, float32: peak memory, 60 minutes", _peak_mb(3600), -1, 2500, "{:.0f} MB"),
    ("published, float32: sub band, share of matrix multiplications", _share, 1, 0.85, "{:.3f}"),
    (
        "published, float32: speedup by two jobs of one thread",
        _jobs("published"),
        1,
        1.7,
        "{:.2f} x",
    ),
    ("default, float32: speedup by two jobs of one thread", _jobs("default"), 1, 1.7, "{:.2f} x"),
)
