"""The sound files of a folder of any size, one after the other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from fsnp_onnx.runtime.audio import AUDIO_EXTENSIONS

_ENTRIES_AT_ONCE = 10_000  # sorted together; a folder of millions is never in memory


@dataclass(frozen=True, slots=True)
class Found:
    """One sound file: its path or URL, its path below the folder with "/", its size in bytes."""

    source: str
    relative: str
    size: int


def is_sound(name: str) -> bool:
    """Whether a file is to be enhanced, by its name."""
    return not name.startswith(".") and Path(name).suffix.lower() in AUDIO_EXTENSIONS


def sound_files(
    folder: Path, output: Path, *, recursive: bool, on_error: Callable[[OSError], None]
) -> Iterator[Found]:
    """Yield the sound files of a folder, sorted by name (in a very large one, thousands at a time).

    Hidden files, links to folders and what lies in ``output`` are passed over. ``on_error`` is
    called for each folder that cannot be read.
    """
    own = os.path.realpath(output)
    if Path(os.path.realpath(folder)).is_relative_to(own):
        own = ""
    below = [_entries(folder, on_error)]
    while below:
        entry = next(below[-1], None)
        if entry is None:
            below.pop()
        elif entry.is_dir(follow_symlinks=False):
            if recursive and os.path.realpath(entry.path) != own:
                below.append(_entries(Path(entry.path), on_error))
        elif is_sound(entry.name) and (size := _size(entry, own)) is not None:
            path = Path(entry.path)
            yield Found(str(path), path.relative_to(folder).as_posix(), size)


def _entries(folder: Path, on_error: Callable[[OSError], None]) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            while some := list(islice(entries, _ENTRIES_AT_ONCE)):
                yield from sorted(some, key=lambda entry: entry.name)
    except OSError as error:
        on_error(error)


def _size(entry: os.DirEntry[str], own: str) -> int | None:
    """Return the size of a file, None if it is not a file or lies in the output."""
    if own and entry.is_symlink() and Path(os.path.realpath(entry.path)).is_relative_to(own):
        return None
    try:
        return entry.stat().st_size if entry.is_file() else None
    except OSError:  # it has gone, or is a link to where this process may not look
        return None
