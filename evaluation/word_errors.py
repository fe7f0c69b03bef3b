"""Word errors, and results/recognition.json as a part of docs/quality.md."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluation.markdown import table
from evaluation.metrics import Interval, bootstrap

FILE = "recognition.json"
ADVICE = "recognition.md"  # written by hand from the numbers


@dataclass(frozen=True, slots=True)
class Count:
    """Word errors of one passage under one setting; an SNR of None is clean speech."""

    passage: str
    snr_db: float | None
    setting: str
    words: int
    errors: int


def word_errors(said: list[str], heard: list[str]) -> int:
    """Fewest words to replace, insert or delete that turn `said` into `heard`."""
    row = list(range(len(heard) + 1))
    for n_said, word in enumerate(said, 1):
        diagonal, row[0] = row[0], n_said
        for column, other in enumerate(heard, 1):
            best = min(diagonal + (word != other), row[column] + 1, row[column - 1] + 1)
            diagonal, row[column] = row[column], best
    return row[-1]


def recognition_table(counts: list[Count]) -> str:
    """Word error rate in % by setting and SNR, and the difference over all SNRs, as Markdown."""
    snrs_db = list(dict.fromkeys(count.snr_db for count in counts))
    settings = list(dict.fromkeys(count.setting for count in counts))
    header = ["word errors, %", *("clean" if x is None else f"{x:g} dB" for x in snrs_db)]
    rows = []
    for setting in settings:
        here = [count for count in counts if count.setting == setting]
        rates = [_rate([count for count in here if count.snr_db == x]) for x in snrs_db]
        noisy = [count for count in here if count.snr_db is not None]
        difference = "" if setting == settings[0] else _show(_difference(counts, setting))
        rows.append(
            [setting, *(f"{100 * rate:.0f}" for rate in (*rates, _rate(noisy))), difference]
        )
    return table([*header, "all in noise", "against noisy"], rows)


def _rate(counts: list[Count]) -> float:
    return sum(count.errors for count in counts) / max(1, sum(count.words for count in counts))


def _difference(counts: list[Count], setting: str) -> Interval:
    """Change of the rate in noise, with the interval over passages."""
    names = dict.fromkeys(count.passage for count in counts)

    def rates(of: str) -> list[float]:
        here = [c for c in counts if c.setting == of and c.snr_db is not None]
        return [_rate([count for count in here if count.passage == name]) for name in names]

    return bootstrap(100 * np.subtract(rates(setting), rates(counts[0].setting)))


def _show(interval: Interval) -> str:
    return f"{interval.mean:+.1f} [{interval.low:+.1f}, {interval.high:+.1f}]"


def recognition_section(results: Path) -> str:
    """The part of docs/quality.md on recognition; empty where nothing was measured."""
    file = results / FILE
    if not file.is_file():
        return ""
    content = json.loads(file.read_text(encoding="utf-8"))
    counts = [Count(**count) for count in content["counts"]]
    advice = results / ADVICE
    words = {count.passage: count.words for count in counts}
    versions = ", ".join(f"{name} {number}" for name, number in content["versions"].items())
    return f"""## Before a speech recogniser

{advice.read_text(encoding="utf-8").strip() if advice.is_file() else ""}

Whisper tiny.en ({versions}) writes down {len(words)} passages with {sum(words.values())} words in
all, each in a noise of its own: prompts by one voice and a LibriVox reader. "full" is the plain output.
Brackets hold the 95 % bootstrap interval over passages.

{recognition_table(counts)}"""
