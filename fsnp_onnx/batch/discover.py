"""The sound files of a folder of any size, one after the other."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fsnp_onnx.runtime.audio import AUDIO_EXTENSIONS


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
    """Yield the sound files of a folder, sorted by name, and then those of the folders below.

    Hidden files, links to folders and what lies in ``output`` are passed over. ``on_error`` is
    called for each folder that cannot be read.
    """
    own = os.path.realpath(output)
    if Path(os.path.realpath(folder)).is_relative_to(own):
        own = ""
    for at, folders, names in os.walk(folder, onerror=on_error):
        below = sorted(folders) if recursive else []
        folders[:] = (name for name in below if os.path.realpath(Path(at, name)) != own)
        for path in (Path(at, name) for name in sorted(names) if is_sound(name)):
            if (size := _size(path, own)) is not None:
                yield Found(str(path), path.relative_to(folder).as_posix(), size)


def _size(path: Path, own: str) -> int | None:
    """Return the size of a file, None if it is not a file or lies in the output."""
    if own and path.is_symlink() and Path(os.path.realpath(path)).is_relative_to(own):
        return None
    try:
        status = path.stat()
        return status.st_size if stat.S_ISREG(status.st_mode) else None
    except OSError:  # it has gone, or is a link to where this process may not look
        return None
