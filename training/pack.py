"""Groups of the bank from a pack: recordings of many named readers, and of real noise.

A pack is a folder ``speech/SOURCE/*.ogg`` and ``noise/SOURCE/*.ogg``. Each source has an
ATTRIBUTION.md (origin and licence) and an index.json that lists its files: the lengths of the clips,
which lie end to end, and for speech the reader and DNSMOS scores. One file is one group of the
bank, so that a row of a mixture draws a reader first and then clips of that reader.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from training.recording import Wave

# Targets teach what they contain: a reader with an audible background is a voice of a crowd only.
MIN_BACKGROUND = 4.05  # DNSMOS, 1 to 5
# A threshold of its own: changes to the targets leave the development set as it is.
HELD_OUT_BACKGROUND = 3.9
HELD_OUT_READERS, HELD_OUT_NOISES = 15, 10  # every so many files are for validation


def read_pack(folder: Path) -> Iterator[tuple[str, list[Wave]]]:
    """Yield the groups of a pack.

    Args:
        folder: The pack.

    Yields:
        Name, such as "readers/librispeech/19", "crowd/...", "recorded/...", or "readers_held_out/...",
        and clips, float32 in [-1, 1] at 16 kHz.

    Raises:
        FileNotFoundError: There is no index where one is expected.
    """
    for kind, every in (("speech", HELD_OUT_READERS), ("noise", HELD_OUT_NOISES)):
        indices = sorted((folder / kind).glob("*/index.json"))
        if not indices:
            raise FileNotFoundError(f"{folder / kind} holds no SOURCE/index.json; is it a pack?")
        files = [(index.parent, file) for index in indices for file in _files(index)]
        n_candidates = 0
        for source, file in files:
            candidate = kind == "noise" or _background(file) >= HELD_OUT_BACKGROUND
            n_candidates += candidate
            held_out = candidate and n_candidates % every == 0
            name = f"{_role(kind, file, held_out=held_out)}/{source.name}/{Path(file['file']).stem}"
            yield name, _clips(source / file["file"], file["clips"])


def _files(index: Path) -> list[dict[str, Any]]:
    files: list[dict[str, Any]] = json.loads(index.read_text(encoding="utf-8"))["files"]
    return files


def _background(file: dict[str, Any]) -> float:
    _, background, _ = file["dnsmos"]
    return float(background)


def _role(kind: str, file: dict[str, Any], *, held_out: bool) -> str:
    suffix = "_held_out" if held_out else ""
    if kind == "noise":
        return f"recorded{suffix}"
    return f"readers{suffix}" if held_out or _background(file) >= MIN_BACKGROUND else "crowd"


def _clips(path: Path, lengths: list[int]) -> list[Wave]:
    samples, _ = soundfile.read(path, dtype="float32")
    return np.split(samples, np.cumsum(lengths)[:-1])
