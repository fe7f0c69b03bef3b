"""results/*.json -> docs/quality.md and its figure: the page shows what they hold.

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
    ALLOWED_PESQ,
    CLEAN_SI_SDR_DB,
    clean_table,
    group_table,
    harm_table,
    lead_table,
    level_table,
    overview_table,
    score_table,
)
from evaluation.word_errors import recognition_section

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
    (docs / "quality.md").write_text(_page(evaluation, results, data), encoding="utf-8")


def _page(evaluation: Evaluation, results: Path, data: str) -> str:
    parts = [
        _summary(evaluation),
        _harm(evaluation),
        recognition_section(results),
        _scores(evaluation),
        _clean_and_levels(evaluation),
        *(
            "\n".join([f"## By {name}\n", *(group_table(evaluation, key, group) for key in keys)])
            for name, keys, group in GROUPS
        ),
        _set(evaluation),
        _limits(),
        _reproduction(evaluation, data),
    ]
    return "\n".join(part for part in parts if part)


def _summary(evaluation: Evaluation) -> str:
    """The one table and the one picture."""
    default = evaluation.models[0]
    kinds = {item.noise for item in evaluation.part("noisy")}
    snrs_db = evaluation.snrs_db
    missing = [f"Not scored, because it did not start: {line}\n" for line in evaluation.missing]
    what = fill(
        f"Means over {len(evaluation.part('noisy'))} mixtures of {len(VOICES)} voices and {len(kinds)} kinds "
        f"of noise at {snrs_db[0]:g} to {snrs_db[-1]:g} dB SNR; higher is better. Our models are in bold. A system with ▲ is "
        f"better than **{default}** file by file, one with ▼ worse; without a mark it is a draw (the 95 % "
        "interval of the difference contains 0).",
        width=100,
    )
    return f"""# Quality

{what}

{overview_table(evaluation, FIGURE_METRICS)}
![Scores over SNR](quality.png)

Listen: [samples](../samples/README.md). All that follows is detail. `python -m evaluation`
measures all numbers and writes this page.
{"".join(missing)}"""


def _harm(evaluation: Evaluation) -> str:
    return f"""## Do the models harm good recordings?

Difference from the input at {evaluation.snrs_db[-1]:g} dB SNR and on clean speech, means over files. "!" marks a
score that falls below the input's, for PESQ-WB by more than {ALLOWED_PESQ:g}. SI-SDR on clean speech is the
output's own and should be {CLEAN_SI_SDR_DB:g} dB or more.

{harm_table(evaluation)}"""


def _scores(evaluation: Evaluation) -> str:
    leads = [lead_table(evaluation, model, FIGURE_METRICS) for model in evaluation.models]
    return f"""## All scores

Brackets hold the 95 % bootstrap interval over files.
[training/README.md](../training/README.md) has the history of our models.

{score_table(evaluation, ("pesq", "stoi", "si_sdr_db"))}
{score_table(evaluation, ("sig", "bak", "ovrl", "p808"))}
## Differences file by file

An interval that contains 0 is a draw.

{chr(10).join(leads)}"""


def _clean_and_levels(evaluation: Evaluation) -> str:
    n_levels = len(evaluation.part("level")) // len(PEAKS_DBFS)
    return f"""## Clean, quiet and loud speech

Clean speech of {len(evaluation.part("clean"))} voices, compared with itself after enhancement.
SI-SDR stops at {SI_SDR_LIMIT_DB:g} dB.

{clean_table(evaluation)}
The same {n_levels} mixtures with their peak at other levels, PESQ-WB / SI-SDR in dB:

{level_table(evaluation)}"""


def _set(evaluation: Evaluation) -> str:
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
    return f"""## The set

{what}

{table(["voice", "language", "Debian package", "note"], voices)}"""


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
   48 kHz and get a resampled signal. Hush is trained to remove other talkers too. WebRTC and SpeexDSP get 16-bit samples. The high-pass filters
   of WebRTC and RNNoise change the phase; SI-SDR penalises this, listeners do not hear it. Every
   system gets the level as it comes. Some systems need seconds to adapt to a low level (see the
   table of levels), and a mixture lasts only ten.
 - PESQ, STOI and DNSMOS estimate what listeners would say. Nobody listened.
"""


def _reproduction(evaluation: Evaluation, data: str) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in evaluation.versions.items())
    return f"""## How it was measured

Run `make evaluate`, or `python -m evaluation default=default live=live`. A model is a file or the name of a
bundled one. Scores of unchanged mixtures and systems come from the cache. The scores of all
{len(evaluation.items)} files are in [{Path(data).name}]({data}). Machine: {evaluation.machine}.
Versions: {versions}.
"""


if __name__ == "__main__":
    typer.run(write_report)
