"""Groups of the bank from folders of recordings, such as those of the DNS Challenge.

A folder may hold thousands of WAV, FLAC, Ogg and Opus files, at any depth, rate and length. Headers are
read first, to choose files of all readers within a number of hours; then one piece of one file is in
memory at a time.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import zip_longest
from pathlib import Path

import numpy as np
import soundfile
import soxr

from training.filters import ROOM_SAMPLES
from training.pack import HELD_OUT_NOISES, HELD_OUT_READERS
from training.recording import SAMPLE_RATE, Wave, levelled

SUFFIXES = (".wav", ".flac", ".ogg", ".opus")
PIECE_S = 30  # a longer recording becomes several clips
SHORTEST_S = 0.3
QUIETEST = 1e-3  # of full scale, the peak of a clip
# Names that tell the reader: of the DNS Challenge, of LibriSpeech and what is made from it.
READER = re.compile(r"reader_(\d+)|^(\d+)[-_]\d+[-_]\d+")
RISE = 8  # samples, half a millisecond: the rise of the direct sound

Files = list[tuple[Path, float]]  # with the seconds to read
Groups = Iterator[tuple[str, Iterable[Wave]]]


def read_speech(folders: list[Path], hours: float) -> Groups:
    """Yield a group for each reader, "readers/..." or "readers_held_out/...".

    Args:
        folders: Where the recordings are.
        hours: Most audio that is taken, in equal parts from all readers as far as they have it.

    Raises:
        FileNotFoundError: A folder has no recordings.
        ValueError: There is one reader only, and none for validation.
    """
    groups = _within(_grouped(folders, reader), hours)
    if len(groups) == 1:
        raise ValueError(
            f"found one reader in {', '.join(map(str, folders))}; expected two or more, one of them for "
            "validation: give each reader a folder"
        )
    yield from _split("readers", groups, HELD_OUT_READERS)


def read_noise(folders: list[Path], hours: float) -> Groups:
    """Yield a group for each recording, "recorded/..." or "recorded_held_out/..."; as `read_speech`."""
    groups = _within(_grouped(folders, lambda file: file.with_suffix("").as_posix()), hours)
    yield from _split("recorded", groups, HELD_OUT_NOISES)


def read_rooms(folders: list[Path], hours: float) -> Groups:
    """Yield one group, "rirs": impulse responses from the direct sound on, 0.8 s at most, peak 0.9.

    Of several channels the first is taken. Folders of responses may hold noise of the same rooms; files
    that are named so are left out.
    """
    groups = _within(_grouped(folders, lambda file: file.parent.as_posix()), hours)
    files = [file for group in groups.values() for file, _ in group if "noise" not in file.stem]
    yield "rirs", filter(len, map(_response, files))


def reader(file: Path) -> str:
    """Return who reads: by the name of a file, else its folder, else the file itself."""
    found = READER.search(file.name)
    if found:
        return f"reader_{found[1] or found[2]}"
    return file.stem if file.parent == Path() else file.parent.as_posix()


def _grouped(folders: list[Path], name_of: Callable[[Path], str]) -> dict[str, list[Path]]:
    groups = defaultdict(list)
    for number, folder in enumerate(folders):
        files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)
        if not files:
            raise FileNotFoundError(
                f"{folder} holds no {', '.join(SUFFIXES)}; give a folder of recordings"
            )
        for file in files:
            groups[f"{number}/{name_of(file.relative_to(folder))}"].append(file)
    return groups


def _within(groups: dict[str, list[Path]], hours: float) -> dict[str, Files]:
    """Take a file of each group in turn until the hours are full; the last one may be cut."""
    left_s, chosen = 3600 * hours, defaultdict(list)
    for turn in zip_longest(*groups.values()):
        for name, file in zip(groups, turn, strict=True):
            seconds = _duration_s(file) if file and left_s > 0 else 0.0
            if file and seconds:
                chosen[name].append((file, min(seconds, left_s)))
                left_s -= seconds
    return chosen


def _duration_s(file: Path) -> float:
    try:
        return float(soundfile.info(file).duration)
    except soundfile.LibsndfileError as error:
        print(f"left out {file}: {error}")
        return 0.0


def _split(kind: str, groups: dict[str, Files], every: int) -> Groups:
    """Hold out the first of every so many groups for validation; a single group is for training."""
    for number, (name, files) in enumerate(groups.items()):
        held_out = len(groups) > 1 and number % every == 0
        yield f"{kind}{'_held_out' if held_out else ''}/{name}", _clips(files)


def _clips(files: Files) -> Iterator[Wave]:
    for file, seconds in files:
        try:
            for piece in _pieces(file, seconds):
                if len(piece) >= SHORTEST_S * SAMPLE_RATE and np.abs(piece).max() >= QUIETEST:
                    yield levelled(piece)
        except soundfile.LibsndfileError as error:
            print(f"left out the rest of {file}: {error}")


def _pieces(file: Path, seconds: float) -> Iterator[Wave]:
    """Yield a recording piece by piece, 16 kHz mono."""
    with soundfile.SoundFile(file) as sound:
        to_16_khz = soxr.ResampleStream(sound.samplerate, SAMPLE_RATE, 1)
        left = round(seconds * sound.samplerate)
        while left > 0:
            channels = sound.read(
                min(left, PIECE_S * sound.samplerate), dtype="float32", always_2d=True
            )
            left = left - len(channels) if len(channels) else 0
            yield to_16_khz.resample_chunk(channels.mean(axis=1), last=left == 0)


def _response(file: Path) -> Wave:
    """Return a room's response from its direct sound on; empty where there is none."""
    channels, rate = soundfile.read(file, dtype="float32", always_2d=True)
    response: Wave = soxr.resample(channels[:, 0], rate, SAMPLE_RATE)
    level = np.abs(response)
    if not len(level) or level.max() < QUIETEST:
        return response[:0]
    direct = int(np.argmax(level >= 0.5 * level.max()))
    kept: Wave = response[max(0, direct - RISE) :][:ROOM_SAMPLES]
    return kept / np.float32(level.max() / 0.9)
