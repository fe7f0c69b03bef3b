"""results/quality.json -> docs/quality.md and its figure: the page shows what the JSON holds.

`python -m evaluation.report` writes both again without measuring.
"""

import os
from collections.abc import Callable
from pathlib import Path
from textwrap import fill
from typing import Annotated

import typer

from evaluation.figure import draw
from evaluation.markdown import table
from evaluation.material import VOICES
from evaluation.metrics import SI_SDR_LIMIT_DB
from evaluation.mixtures import LEVELS_DBFS, PEAKS_DBFS, Item
from evaluation.result import DOCS, RESULTS, Evaluation, read_evaluation
from evaluation.tables import (
    clean_table,
    gain_table,
    group_table,
    lead_table,
    level_table,
    score_table,
)

FIGURE_METRICS = ("pesq", "stoi", "si_sdr_db", "ovrl")
GROUPS: tuple[tuple[str, tuple[str, ...], Callable[[Item], str]], ...] = (
    ("signal-to-noise ratio", FIGURE_METRICS, lambda item: f"{item.snr_db:g} dB"),
    ("kind of noise", ("pesq", "si_sdr_db"), lambda item: item.noise),
    ("voice", ("pesq", "si_sdr_db"), lambda item: item.voice),
    (
        "room",
        ("pesq", "si_sdr_db"),
        lambda item: "simulated room" if item.reverberant else "dry",
    ),
)


def write_report(
    results: Annotated[Path, typer.Option(help="Folder of quality.json.")] = RESULTS,
    docs: Annotated[Path, typer.Option(help="Folder of quality.md and quality.png.")] = DOCS,
) -> None:
    """Write quality.md and quality.png from quality.json."""
    evaluation = read_evaluation(results / "quality.json")
    draw(evaluation, FIGURE_METRICS, docs / "quality.png")
    data = os.path.relpath(results / "quality.json", docs)
    (docs / "quality.md").write_text(_page(evaluation, data), encoding="utf-8")


def _page(evaluation: Evaluation, data: str) -> str:
    parts = [
        _introduction(evaluation),
        _scores(evaluation),
        _other_speech(evaluation),
        *(
            "\n".join([f"## By {name}\n", *(group_table(evaluation, key, group) for key in keys)])
            for name, keys, group in GROUPS
        ),
        _limits(),
        _reproduction(evaluation, data),
    ]
    return "\n".join(parts)


def _introduction(evaluation: Evaluation) -> str:
    noisy = evaluation.part("noisy")
    kinds = ", ".join(dict.fromkeys(item.noise for item in noisy))
    rooms = sum(item.reverberant for item in noisy)
    voices = [[voice.name, voice.language, voice.package, voice.note] for voice in VOICES]
    snrs_db = ", ".join(f"{snr_db:g}" for snr_db in evaluation.snrs_db)
    what = fill(
        f"Set `{evaluation.digest}`: {len(noisy)} mixtures of {evaluation.duration_s:g} s at "
        f"{snrs_db} dB SNR and at levels of {LEVELS_DBFS[0]} to {LEVELS_DBFS[1]} dBFS (RMS). In "
        f"{rooms} of them the speech is in a simulated room; their target is the speech with the "
        f"first 50 ms of the room's response. Noise: {kinds}. Training hears none of the noise. "
        "It hears one of the voices, which is marked.",
        width=100,
    )
    return f"""# Quality

`python -m evaluation` measures all numbers and writes this page. Scores of unchanged mixtures and
systems come from its cache. `make evaluate` runs it for the bundled model.

{what}

{table(["voice", "language", "Debian package", "note"], voices)}"""


def _scores(evaluation: Evaluation) -> str:
    missing = [f"Not scored, because it did not start: {line}\n" for line in evaluation.missing]
    return f"""## Scores

Means over {len(evaluation.part("noisy"))} mixtures. Brackets hold the 95 % bootstrap interval over
files. Our models are in bold ([training/README.md](../training/README.md) has their history).

{score_table(evaluation, ("pesq", "stoi", "si_sdr_db"))}
{score_table(evaluation, ("sig", "bak", "ovrl", "p808"))}
{"".join(missing)}![Scores over SNR](quality.png)

Lead of **{evaluation.models[0]}** over the others, file by file. An interval that contains 0 is a
draw.

{lead_table(evaluation, FIGURE_METRICS)}"""


def _other_speech(evaluation: Evaluation) -> str:
    """What a model has to keep beyond a good mean."""
    highest_db = evaluation.snrs_db[-1]
    quiet = [item for item in evaluation.part("noisy") if item.snr_db == highest_db]
    n_levels = len(evaluation.part("level")) // len(PEAKS_DBFS)
    return f"""## Nearly clean, clean, quiet and loud speech

Gain over the input at {highest_db:g} dB, {len(quiet)} mixtures. Below 0 the model does harm.

{gain_table(evaluation, quiet)}
Clean speech of {len(evaluation.part("clean"))} voices, compared with itself after enhancement.
SI-SDR stops at {SI_SDR_LIMIT_DB:g} dB.

{clean_table(evaluation)}
The same {n_levels} mixtures with their peak at other levels, PESQ-WB / SI-SDR in dB:

{level_table(evaluation)}"""


def _limits() -> str:
    languages = len({voice.language for voice in VOICES})
    return f"""## What these numbers do not show

 - {len(VOICES) - 1} speakers of {languages} languages are few. An interval over files says how far
   another draw of such files would move the mean. It does not say what other speakers would do.
   All speakers are adults who read aloud. Nobody shouts, whispers, sings, or stands far from the
   microphone.
 - The mixtures are sums on a computer. They have no clipping, codec, packet loss or raised voice.
   Rooms are simulated boxes. Short recordings of noise are repeated.
 - Some recordings have a hiss of their own, 30 to 40 dB below the speech. The hiss is part of the
   target. A system that removes it loses SI-SDR and PESQ-WB.
 - The peers were trained on other and far more speech and noise. DeepFilterNet3 and RNNoise work at
   48 kHz and get a resampled signal. WebRTC and SpeexDSP get 16-bit samples. The high-pass filters
   of WebRTC and RNNoise change the phase; SI-SDR penalises this, listeners do not hear it. Every
   system gets the level as it comes. Some systems need seconds to adapt to a low level (see the
   table of levels), and a mixture lasts only ten.
 - PESQ, STOI and DNSMOS estimate what listeners would say. Nobody listened.
"""


def _reproduction(evaluation: Evaluation, data: str) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in evaluation.versions.items())
    return f"""## How it was measured

Run `make evaluate`, or `python -m evaluation NAME=MODEL.onnx`. The scores of all
{len(evaluation.items)} files are in [{Path(data).name}]({data}). Machine: {evaluation.machine}.
Versions: {versions}.
"""


if __name__ == "__main__":
    typer.run(write_report)
