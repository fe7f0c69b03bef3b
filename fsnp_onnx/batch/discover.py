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
    """One sound file.

    Attributes:
        source: Its path or URL.
        relative: Its path below the folder, with "/".
        size: In bytes.
    """

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

    Hidden files, links to folders and what lies in ``output`` are passed over.

    Args:
        folder: Where to look.
        output: The folder that the enhanced files go to.
        recursive: Whether to look into the folders below.
        on_error: Called for each folder that cannot be read.
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
        elif is_sound(entry.name) and _is_file(entry, own):
            path = Path(entry.path)
            yield Found(str(path), path.relative_to(folder).as_posix(), _size(entry))


def _entries(folder: Path, on_error: Callable[[OSError], None]) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            while some := list(islice(entries, _ENTRIES_AT_ONCE)):
                yield from sorted(some, key=lambda entry: entry.name)
    except OSError as error:
        on_error(error)


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except OSError:  # it has gone meanwhile, which its reader will report
        return 0


def _is_file(entry: os.DirEntry[str], own_output: str) -> bool:
    try:
        if not entry.is_file():
            return False
    except OSError:  # a link to where this process may not look
        return False
    if not (own_output and entry.is_symlink()):
        return True
    return not Path(os.path.realpath(entry.path)).is_relative_to(own_output)
