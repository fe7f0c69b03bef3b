"""The sound files of a folder, on disk or behind a URL, and why other files are passed over."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fsnp_onnx.batch import storage
from fsnp_onnx.runtime.audio import AUDIO_EXTENSIONS, AV_EXTENSIONS, has_av

_SUBFOLDER = "a subfolder; --recursive (recursive=True) searches it"


@dataclass(frozen=True, slots=True)
class Found:
    """One file of a folder.

    Attributes:
        source: Its path or URL.
        relative: Its path below the folder, with "/".
        size: In bytes.
        passed_over: Why it is not enhanced, None for a sound file.
    """

    source: str
    relative: str
    size: int = 0
    passed_over: str | None = None


def search(
    folder: str, output: str, *, recursive: bool, on_error: Callable[[OSError], object]
) -> Iterator[Found]:
    """Yield the files of a folder, sorted by name, and then those of the subfolders.

    Files whose ending an output cannot have come last in their folder. What lies in ``output`` and
    hidden files of other kinds are left out. ``on_error`` is called for each folder of a path that
    cannot be read.
    """
    if storage.is_url(folder):
        yield from _search_url(folder, output, recursive=recursive)
        return
    own = os.path.realpath(output)
    if Path(os.path.realpath(folder)).is_relative_to(own):
        own = ""
    for at, folders, files in os.walk(folder, onerror=on_error):
        inside = [path for path in _paths(at, sorted(folders)) if os.path.realpath(path) != own]
        reasons = {
            path: "a link to a folder" if path.is_symlink() else _unsearched(path.name, recursive)
            for path in inside
        }
        folders[:] = [path.name for path in inside if reasons[path] is None]
        for path in _paths(at, _in_order(files)):
            if own and path.is_symlink() and Path(os.path.realpath(path)).is_relative_to(own):
                continue
            reason = _by_name(path.name)
            size, reason = (0, reason) if reason else _stamp(path)
            yield Found(str(path), path.relative_to(folder).as_posix(), size, reason)
        for path in filter(reasons.get, inside):
            yield Found(str(path), path.relative_to(folder).as_posix(), 0, reasons[path])


def _search_url(url: str, output: str, *, recursive: bool) -> Iterator[Found]:
    base, own = url.rstrip("/"), output.rstrip("/")
    for below, folders, files in storage.walk(url, recursive=recursive):
        at = f"{base}/{below}".rstrip("/")
        if at != base and f"{at}/".startswith(f"{own}/"):
            continue
        if any(name.startswith(".") for name in below.split("/")):
            continue
        for name in folders:
            relative = f"{below}/{name}".lstrip("/")
            reason = _unsearched(name, recursive)
            if reason and f"{at}/{name}" != own:
                yield Found(f"{base}/{relative}", relative, 0, reason)
        for name in _in_order(files):
            relative = f"{below}/{name}".lstrip("/")
            yield Found(f"{base}/{relative}", relative, files[name], _by_name(name))


def _paths(folder: str, names: Iterable[str]) -> Iterator[Path]:
    return (Path(folder, name) for name in names)


def _unsearched(folder: str, recursive: bool) -> str | None:  # noqa: FBT001 - private
    """Return why a subfolder of this name is not searched, None if it is."""
    if folder.startswith("."):
        return "a hidden folder"
    return None if recursive else _SUBFOLDER


def _in_order(names: Iterable[str]) -> list[str]:
    """Sort the names of a folder without hidden files of other kinds."""
    shown = [name for name in names if not name.startswith(".") or _by_name(name[1:]) is None]
    return sorted(shown, key=lambda name: (Path(name).suffix.lower() in AV_EXTENSIONS, name))


def _by_name(name: str) -> str | None:
    """Return why a file is passed over by its name, None if it is a sound file."""
    ending = Path(name).suffix.lower()
    if name.startswith("."):
        return "a hidden file"
    if ending in AUDIO_EXTENSIONS or (ending in AV_EXTENSIONS and has_av()):
        return None
    return "needs pip install 'fsnp-onnx[av]'" if ending in AV_EXTENSIONS else "not a sound file"


def _stamp(path: Path) -> tuple[int, str | None]:
    """Return the size of a file and why it is passed over all the same."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return 0, "a link to nothing"
    except OSError as error:
        return 0, f"unreadable ({error.strerror})"
    return status.st_size, None if stat.S_ISREG(status.st_mode) else "not a regular file"
