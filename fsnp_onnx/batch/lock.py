"""One run at a time for a file of results."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from fsnp_onnx.errors import OutputError

if sys.platform != "win32":
    import fcntl

_TRIES = 10


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other runs from a file while the block runs.

    The lock is on the file itself, so any name of it will do, and it ends with this process,
    however that ends: processes that are spawned do not get it. A file that was not there is made
    (with its folder), and removed if nothing has been written to it. Windows and file systems that
    refuse locks or give a file no lasting identity go without.

    Args:
        path: The file. What it holds stays as it is.

    Raises:
        OutputError: Another run has it, or it cannot be written.
    """
    if sys.platform == "win32":
        yield
        return
    is_new = not os.path.lexists(path)
    try:
        file = _open_locked(path)
    except BlockingIOError as error:
        raise OutputError(
            f"{path} is being written by another run; wait for its end or give another file"
        ) from error
    except OSError as error:
        raise OutputError(f"cannot write {path} ({error.strerror})") from error
    with file:
        try:
            yield
        finally:
            if is_new and not os.fstat(file.fileno()).st_size:
                with suppress(OSError):
                    path.unlink()


def _open_locked(path: Path) -> BinaryIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    for _ in range(_TRIES):
        file = path.open("ab")
        try:
            _lock(file)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    return file
        except BaseException:
            file.close()
            raise
        file.close()  # a run that ended just now has removed it: lock what is there by now
    return path.open("ab")


def _lock(file: BinaryIO) -> None:
    if sys.platform == "win32":
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # the file system has no locks
        return
