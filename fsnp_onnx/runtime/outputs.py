"""Outputs appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Literal

from fsnp_onnx.errors import FsnpError, OutputError

EXISTS: Final = "exists already; use --force (force=True in Python) or give another output"


def partial_file(path: Path, token: str) -> Path:
    """Return where an output is written before it takes its place."""
    return path.with_name(f".fsnp-{token}.part")


def entry(path: Path) -> tuple[int, int] | None:
    """Return what tells an existing file from another one in its place, None where there is none."""
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


@contextmanager
def replacing(
    path: Path, token: str | None = None, *, before: tuple[int, int] | Literal["any"] | None = "any"
) -> Iterator[Path]:
    """Yield a new, empty file beside ``path`` that takes its place when the block succeeds.

    The file has the mode of any new file, and missing folders are made. On an error or an
    interrupt inside the block it is removed and ``path`` stays as it was. A kill removes nothing:
    a token gives the new file a name to find it by, and an existing one is overwritten. What somebody
    else has written to ``path`` since ``before``, its `entry` when the work began, is not replaced.
    """
    if path.exists() and not path.is_file():
        raise OutputError(f"{path} is not a regular file; give another output")
    if path.parent.exists() and not path.parent.is_dir():
        raise OutputError(f"{path.parent} is not a folder; give another output")
    temporary = partial_file(path, token or secrets.token_hex(8))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(exist_ok=token is not None)
        yield temporary
        if before != "any":
            _require_unchanged(path, before)
        temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and not isinstance(error, FsnpError):
            raise OutputError(f"cannot write {path} ({error.strerror or error})") from error
        raise


def _require_unchanged(path: Path, before: tuple[int, int] | None) -> None:
    if entry(path) != before:
        raise OutputError(f"{path} has changed during the work; give another output")


def require_free(path: Path, kept: Iterable[Path], *, force: bool) -> None:
    """Raise OutputError unless an output may be written.

    Inputs, the model and other outputs are kept: force does not replace them, whatever name they have.
    """
    if path.is_dir():
        raise OutputError(f"{path} is a folder; give the path of a file")
    if any(same_file(path, other) for other in kept):
        raise OutputError(f"{path} is an input, the model or another output; give another path")
    if not force and os.path.lexists(path):
        raise OutputError(f"{path} {EXISTS}")


def same_file(first: Path, second: Path) -> bool:
    """Whether two paths lead to one file, which may not exist yet, through links of any kind."""
    try:
        return first.samefile(second)
    except OSError:
        return os.path.realpath(first) == os.path.realpath(second)
