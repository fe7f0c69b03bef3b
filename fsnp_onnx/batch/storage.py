"""Sound files by path or URL; URLs (s3://, gs://, ...) through fsspec."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from fsnp_onnx.errors import AudioError, InstallError, MissingFileError, OutputError
from fsnp_onnx.runtime.outputs import partial_file

T = TypeVar("T")

_MOVING = {"file", "sftp", "smb"}  # have files that can be moved; object stores copy them instead


def is_url(name: str) -> bool:
    """Whether a name is a URL and not a path."""
    return "://" in name


def last_name(name: str) -> str:
    """Return what a file is called, without the query string."""
    if name.startswith(("http://", "https://")):
        name = unquote(urlsplit(name).path)
    return name.rpartition("/")[2] if is_url(name) else Path(name).name


def below(folder: str, relative: str) -> str:
    """Return the name of a file below a folder."""
    return f"{folder.rstrip('/')}/{relative}" if is_url(folder) else str(Path(folder) / relative)


def is_folder(name: str) -> bool:
    """Whether this is a folder."""
    if not is_url(name):
        return Path(name).is_dir()
    return bool(_asked(name, lambda fs, path: fs.isdir(path)))


def exists(name: str) -> bool:
    """Whether something exists, even if it is a link to nowhere."""
    if not is_url(name):
        return os.path.lexists(name)
    return bool(_asked(name, lambda fs, path: fs.exists(path)))


def stamp(name: str) -> tuple[int, str]:
    """Return the size of a file in bytes and when it was changed, by which it is known again.

    A store that does not report the latter gives "". A file that cannot be read gives 0 and "", as its
    reader reports it.
    """

    def ask(fs: Any, path: str) -> tuple[int, str]:
        changed = ""
        with suppress(NotImplementedError):
            changed = str(fs.modified(path))
        return int(fs.size(path) or 0), changed

    try:
        if is_url(name):
            return _asked(name, ask)
        status = Path(name).stat()
    except OSError:
        return 0, ""
    return status.st_size, str(status.st_mtime_ns)


def walk(url: str, *, recursive: bool) -> Iterator[tuple[str, list[str], dict[str, int]]]:
    """Yield each folder behind a URL: its path below, its subfolders, its files with their sizes."""
    fs, root = _filesystem(url)
    root = root.rstrip("/")
    steps = fs.walk(root, maxdepth=None if recursive else 1, detail=True, on_error="raise")
    while step := _asked(url, lambda *_: next(steps, None)):
        folder, folders, files = step
        sizes = {name: int(info.get("size") or 0) for name, info in sorted(files.items())}
        yield folder.rstrip("/")[len(root) :].strip("/"), sorted(folders), sizes


@contextmanager
def fetched(name: str) -> Iterator[Path]:
    """Yield a path with the content of a file, which for a URL is a copy that goes afterwards."""
    if not is_url(name):
        yield Path(name)
        return
    with _beside(name) as copy:
        _asked(name, lambda fs, path: fs.get_file(path, str(copy)))
        yield copy


@contextmanager
def stored(name: str, token: str) -> Iterator[Path]:
    """Yield a path whose content is a file's when the block has succeeded.

    An object store shows an object when all of it has arrived. Behind file, sftp and smb it is sent
    to a temporary file, which then takes its place. Elsewhere it is as the store does it.
    """
    if not is_url(name):
        yield Path(name)
        return
    with _beside(name) as copy:
        try:
            yield copy
        except (AudioError, OutputError) as error:
            raise type(error)(str(error).replace(str(copy), name)) from error
        fs, path = _filesystem(name)
        try:
            fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            _put(fs, str(copy), path, token)
        except Exception as error:  # each store has exceptions of its own
            raise OutputError(f"cannot write {name} ({error})") from error


def remove_partial(name: str, token: str) -> None:
    """Remove what a process that was killed has left of an output."""
    with suppress(Exception):  # usually it does not exist, and each store has exceptions of its own
        if not is_url(name):
            partial_file(Path(name), token).unlink()
            return
        fs, path = _filesystem(name)
        if partial := _partial(fs, path, token):
            fs.rm_file(partial)


def _put(fs: Any, copy: str, path: str, token: str) -> None:
    partial = _partial(fs, path, token)
    if partial is None or fs.isdir(path):  # into which a file would be moved
        fs.put_file(copy, path)
        return
    try:
        fs.put_file(copy, partial)
        try:
            fs.mv(partial, path)
        except Exception:  # noqa: BLE001 - of a server that does not move, or not over a file
            fs.put_file(copy, path)
    finally:
        with suppress(Exception):  # usually it has moved
            fs.rm_file(partial)


def _partial(fs: Any, path: str, token: str) -> str | None:
    """Return where an output is sent before it takes its place, None where files do not move."""
    names = (fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol
    return None if _MOVING.isdisjoint(names) else f"{path.rpartition('/')[0]}/.fsnp-{token}.part"


@contextmanager
def _beside(url: str) -> Iterator[Path]:
    """Yield a path for a copy, of the same kind by its name, which may be too long for a file."""
    with tempfile.TemporaryDirectory(prefix="fsnp-") as folder:
        yield Path(folder) / f"recording{Path(last_name(url)).suffix[:16]}"


def _asked(url: str, ask: Callable[[Any, str], T]) -> T:
    fs, path = _filesystem(url)
    try:
        return ask(fs, path)
    except Exception as error:  # each store has exceptions of its own
        reason = getattr(error, "strerror", None) or error
        if isinstance(error, FileNotFoundError):  # in which stores report the place, or nothing
            reason = os.strerror(errno.ENOENT)
        raise MissingFileError(f"cannot read {url} ({reason})") from error


def _filesystem(url: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs  # noqa: PLC0415 - an extra

        return url_to_fs(url)  # type: ignore[no-any-return]  # fsspec is not typed
    except ImportError as error:
        if error.name and error.name.startswith("fsspec"):
            remedy = "run pip install 'fsnp-onnx[urls]'"
        else:
            remedy = "install it beside fsnp-onnx"
        raise InstallError(
            f"{url} needs a package that is not installed ({error}); {remedy}"
        ) from error
    except Exception as error:
        raise MissingFileError(f"cannot open {url} ({error})") from error
