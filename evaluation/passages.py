"""English speech with its words, clean and in the noise of the evaluation, for a speech recogniser.

The recordings are sentences of two packages that hold their texts too. Sentences of one voice make a
passage. Each passage meets one kind of noise at all SNRs, so that a column of the table differs
from the next in the SNR alone.
"""

import gzip
import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluation.material import Material
from evaluation.mixtures import Reel, float32, make_noise, rms
from training.fetch import fetch_debian
from training.recording import SAMPLE_RATE, Wave, read

SEED = 5
SNRS_DB = (math.inf, 20, 10, 5, 0, -5)
TEXTS = "asterisk-core-sounds-en"
PASSAGE_S = 18
LEVEL_DBFS = -26
MIN_WORDS = 7  # shorter prompts are no sentences
READERS = ("allison", "librivox")  # never in the babble


@dataclass(frozen=True, slots=True)
class Sentence:
    """A recording, float32 [samples] at 16 kHz, and what is said."""

    samples: Wave
    text: str


@dataclass(frozen=True, slots=True)
class Passage:
    """Sentences of one voice in noise.

    Attributes:
        name: Voice, number and noise.
        snr_db: Signal-to-noise ratio, infinite without noise.
        text: What is said.
        noisy: float32 [samples] in [-1, 1], 16 kHz.
    """

    name: str
    snr_db: float
    text: str
    noisy: Wave


def load_sentences(data: Path) -> dict[str, list[Sentence]]:
    """Read the sentences of both readers.

    Args:
        data: The folder given to `material.fetch`, which ran before; the texts are fetched here.

    Returns:
        Sentences by reader.
    """
    raw = data / "raw"
    fetch_debian(TEXTS, data / "downloads", raw)
    return {"allison": list(_allison(raw)), "librivox": list(_librivox(raw))}


def _allison(raw: Path) -> Iterator[Sentence]:
    (listing,) = (raw / TEXTS).rglob("core-sounds-en.txt.gz")
    sounds = {path.stem: path for path in sorted((raw / f"{TEXTS}-g722").rglob("*.g722"))}
    for line in gzip.decompress(listing.read_bytes()).decode("utf-8").splitlines():
        name, _, text = line.partition(": ")
        if len(text.split()) >= MIN_WORDS and not re.search(r"[\[\]<>]", text) and name in sounds:
            yield Sentence(read(sounds[name]), text)


def _librivox(raw: Path) -> Iterator[Sentence]:
    (listing,) = (raw / "pocketsphinx-testdata").rglob("librivox/transcription")
    said = re.findall(
        r"^<s> (.*) </s> \((.*)\)$", listing.read_text(encoding="utf-8"), re.MULTILINE
    )
    for text, name in said:
        yield Sentence(read(listing.with_name(f"{name}.wav")), text)


def build_passages(
    sentences: dict[str, list[Sentence]],
    material: Material,
    snrs_db: tuple[float, ...] = SNRS_DB,
    seconds: float = PASSAGE_S,
) -> list[Passage]:
    """Build one passage for each kind of noise, at every SNR.

    Args:
        sentences: By reader, in turn until all kinds of noise are used. A reader whose sentences
            are used up is left out.
        material: Noise, and the voices of the babble.
        snrs_db: Signal-to-noise ratios.
        seconds: Shortest length of a passage, where the reader has so many sentences left.

    Returns:
        The same passages on every call.
    """
    rng = np.random.default_rng(SEED)
    crowd: list[Reel] = [
        itertools.cycle(c) for name, c in material.voices.items() if name not in READERS
    ]
    kinds = ("babble", *sorted(material.noises))
    strings = itertools.islice(_strings(sentences, seconds, rng), len(kinds))
    passages = []
    for kind, (name, speech, text) in zip(kinds, strings, strict=False):
        noise = make_noise(kind, material, crowd, speech.size, rng)
        noise *= rms(speech) / rms(noise)
        for snr_db in snrs_db:
            noisy = speech + noise * np.float32(10 ** (-snr_db / 20))
            gain = min(10 ** (LEVEL_DBFS / 20) / rms(noisy), 0.99 / np.abs(noisy).max())
            passages.append(Passage(f"{name}_{kind}", snr_db, text, float32(gain * noisy)))
    return passages


def _strings(
    sentences: dict[str, list[Sentence]], seconds: float, rng: np.random.Generator
) -> Iterator[tuple[str, Wave, str]]:
    """Sentences of a reader with pauses of 0.4 s: name, samples, text; readers take turns."""
    left = {name: list(rng.permutation(len(said))) for name, said in sentences.items()}
    pause = np.zeros(2 * SAMPLE_RATE // 5, np.float32)
    for number in itertools.count():
        for name in [name for name, indices in left.items() if indices]:
            pieces, texts = [pause], []
            while left[name] and sum(piece.size for piece in pieces) < seconds * SAMPLE_RATE:
                sentence = sentences[name][left[name].pop()]
                pieces += [sentence.samples / rms(sentence.samples), pause]
                texts.append(sentence.text)
            yield f"{name}{number}", np.concatenate(pieces), " ".join(texts)
        if not any(left.values()):
            return
