"""The scores as a page of Markdown with its figure, and as JSON."""

import json
import math
import os
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from textwrap import fill

from evaluation import metrics
from evaluation.figure import draw
from evaluation.material import SAMPLE_RATE, VOICES
from evaluation.mixtures import LEVELS_DBFS, PEAKS_DBFS, Mixture, digest_of
from evaluation.tables import (
    Evaluation,
    clean_table,
    gain_table,
    group_table,
    lead_table,
    level_table,
    score_table,
    table,
)

FIGURE_METRICS = ("pesq", "stoi", "si_sdr_db", "ovrl")
GROUPS: tuple[tuple[str, tuple[str, ...], Callable[[Mixture], str]], ...] = (
    ("signal-to-noise ratio", FIGURE_METRICS, lambda mixture: f"{mixture.snr_db:g} dB"),
    ("kind of noise", ("pesq", "si_sdr_db"), lambda mixture: mixture.noise),
    ("voice", ("pesq", "si_sdr_db"), lambda mixture: mixture.voice),
    (
        "room",
        ("pesq", "si_sdr_db"),
        lambda mixture: "simulated room" if mixture.reverberant else "dry",
    ),
)


def write_report(evaluation: Evaluation, docs: Path) -> None:
    """Write quality.md, quality.png and quality.json.

    Args:
        evaluation: Scores of at least "noisy" and one model.
        docs: Existing folder.
    """
    draw(evaluation, FIGURE_METRICS, docs / "quality.png")
    (docs / "quality.md").write_text(_page(evaluation), encoding="utf-8")
    content = json.dumps(_content(evaluation), indent=1, allow_nan=False)
    (docs / "quality.json").write_text(content + "\n", encoding="utf-8")


def _page(evaluation: Evaluation) -> str:
    parts = [
        _introduction(evaluation),
        _scores(evaluation),
        _promises(evaluation),
        *(
            "\n".join([f"## By {name}\n", *(group_table(evaluation, key, group) for key in keys)])
            for name, keys, group in GROUPS
        ),
        _limits(),
        _reproduction(evaluation),
    ]
    return "\n".join(parts)


def _introduction(evaluation: Evaluation) -> str:
    noisy = evaluation.part("noisy")
    kinds = ", ".join(dict.fromkeys(mixture.noise for mixture in noisy))
    rooms = sum(mixture.reverberant for mixture in noisy)
    voices = [[voice.name, voice.language, voice.package, voice.note] for voice in VOICES]
    snrs_db = ", ".join(f"{snr_db:g}" for snr_db in evaluation.snrs_db)
    what = fill(
        f"Set `{digest_of(evaluation.mixtures)}`: {len(noisy)} mixtures of "
        f"{noisy[0].noisy.size / SAMPLE_RATE:g} s at {snrs_db} dB and at levels of "
        f"{LEVELS_DBFS[0]} to {LEVELS_DBFS[1]} dBFS (RMS). {rooms} of them lie in a simulated "
        "room; their target is the speech with the first 50 ms of the room's response. "
        f"Noise: {kinds}. Training hears none of the noise, and of the voices only the one that "
        "is marked.",
        width=100,
    )
    return f"""# Quality

Written by `make evaluate`: every number comes from that run, or from its cache of the same
mixtures.

{what}

{table(["voice", "language", "Debian package", "note"], voices)}"""


def _scores(evaluation: Evaluation) -> str:
    missing = [f"Not scored, as it did not start here: {line}\n" for line in evaluation.missing]
    return f"""## Scores

Means over {len(evaluation.part("noisy"))} mixtures, in brackets the 95 % bootstrap interval over
files.

{score_table(evaluation, ("pesq", "stoi", "si_sdr_db"))}
{score_table(evaluation, ("sig", "bak", "ovrl", "p808"))}
{"".join(missing)}![Scores over SNR](quality.png)

How far **{evaluation.models[0]}** is ahead of the others, file by file (an interval that holds 0 is
a draw):

{lead_table(evaluation, FIGURE_METRICS)}"""


def _promises(evaluation: Evaluation) -> str:
    """What a model has to keep beyond a good mean."""
    highest_db = evaluation.snrs_db[-1]
    quiet = [mixture for mixture in evaluation.part("noisy") if mixture.snr_db == highest_db]
    n_levels = len(evaluation.part("level")) // len(PEAKS_DBFS)
    return f"""## Nearly clean, clean, quiet and loud speech

Gain over the input at {highest_db:g} dB, {len(quiet)} mixtures (below 0 it does harm):

{gain_table(evaluation, quiet)}
Clean speech of {len(evaluation.part("clean"))} voices against itself after enhancement (SI-SDR
stops at {metrics.SI_SDR_LIMIT_DB:g} dB):

{clean_table(evaluation)}
The same {n_levels} mixtures with their peak at other levels, PESQ-WB / SI-SDR in dB:

{level_table(evaluation)}"""


def _limits() -> str:
    languages = len({voice.language for voice in VOICES})
    return f"""## What these numbers do not show

 - {len(VOICES) - 1} speakers of {languages} languages are few. An interval over files says how far
   another draw of such files would move the mean, not what other speakers would do. All are
   adults who read aloud; nobody shouts, whispers, sings, or stands far from the microphone.
 - The mixtures are sums on a computer: no clipping, codec, packet loss or raised voice, rooms
   are simulated boxes, and short recordings of noise are repeated.
 - Some recordings carry a hiss of their own, 30 to 40 dB below the speech. It is part of the
   target, so that taking it away costs SI-SDR and PESQ-WB.
 - The peers were trained on far more, and on other, speech and noise. DeepFilterNet3 and
   RNNoise work at 48 kHz and are given a resampled signal, WebRTC and SpeexDSP 16-bit samples.
   The high-pass filters of WebRTC and RNNoise turn the phase, which SI-SDR punishes and ears
   do not. Every system gets the level as it comes: some need seconds to settle on a low one
   (see the table of levels), and ten seconds are all they have.
 - PESQ, STOI and DNSMOS estimate what listeners would say; nobody listened.
"""


def _reproduction(evaluation: Evaluation) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in _versions().items())
    return f"""## How it was measured

`make evaluate`, or `python -m evaluation NAME=MODEL.onnx`; the scores of all
{len(evaluation.mixtures)} files are in [quality.json](quality.json). Machine: {_machine()}.
Versions: {versions}.
"""


def _content(evaluation: Evaluation) -> dict[str, object]:
    return {
        "set": digest_of(evaluation.mixtures),
        "versions": _versions(),
        "missing": evaluation.missing,
        "mixtures": {mixture.name: _described(mixture) for mixture in evaluation.mixtures},
        "scores": {
            title: {name: _rounded(row) for name, row in scores.items()}
            for title, scores in evaluation.scores.items()
        },
    }


def _described(mixture: Mixture) -> dict[str, object]:
    return {
        "part": mixture.part,
        "voice": mixture.voice,
        "noise": mixture.noise,
        "snr_db": mixture.snr_db if math.isfinite(mixture.snr_db) else None,
        "reverberant": mixture.reverberant,
    }


def _rounded(row: dict[str, float]) -> dict[str, float]:
    return {key: round(value, 4) for key, value in row.items()}


def _versions() -> dict[str, str]:
    names = (*metrics.PACKAGES, "pyroomacoustics", "numpy", "soxr")
    return {"python": platform.python_version()} | {name: version(name) for name in names}


def _machine() -> str:
    cpu_info = Path("/proc/cpuinfo")
    lines = cpu_info.read_text(encoding="utf-8").splitlines() if cpu_info.is_file() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"
