"""Sound files behind URLs (s3://, gs://, ...), through fsspec."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from fsnp_onnx.cli.discover import Found, is_sound
from fsnp_onnx.errors import FsnpError, InstallError, MissingFileError, OutputError

T = TypeVar("T")


def is_url(name: str) -> bool:
    """Whether a name is a URL and not a path."""
    return "://" in name


def is_folder(url: str) -> bool:
    """Whether files lie below a URL."""
    return bool(_asked(url, lambda fs, path: fs.isdir(path)))


def exists(url: str) -> bool:
    """Whether something lies at a URL."""
    return bool(_asked(url, lambda fs, path: fs.exists(path)))


def stamp(url: str) -> tuple[int, str]:
    """Return the size in bytes of a file and when it was changed ("" if its store cannot tell)."""

    def ask(fs: Any, path: str) -> tuple[int, str]:
        size = int(fs.size(path) or 0)
        try:
            return size, str(fs.modified(path))
        except NotImplementedError:
            return size, ""

    return _asked(url, ask)


def sound_files(url: str, output: str, *, recursive: bool) -> Iterator[Found]:
    """Yield the sound files below a URL, sorted by folder and name.

    Hidden files and what lies in ``output`` are passed over.

    Args:
        url: Where to look.
        output: The folder that the enhanced files go to.
        recursive: Whether to look into the folders below.

    Raises:
        MissingFileError: The folder cannot be read.
    """
    fs, root = _filesystem(url)
    root, own = root.rstrip("/"), output.rstrip("/")
    base = url.rstrip("/")
    walk = fs.walk(root, maxdepth=None if recursive else 1, detail=True, on_error="raise")
    while step := _asked(url, lambda *_: next(walk, None)):
        folder, _, files = step
        below = folder.rstrip("/")[len(root) :].strip("/")
        at = f"{base}/{below}".rstrip("/")
        if at != base and f"{at}/".startswith(f"{own}/"):
            continue
        for name, info in sorted(files.items()):
            if is_sound(name):
                relative = f"{below}/{name}".lstrip("/")
                yield Found(f"{base}/{relative}", relative, int(info.get("size") or 0))


@contextmanager
def fetched(name: str) -> Iterator[Path]:
    """Yield a path with the content of a file, which for a URL is a copy that goes afterwards.

    Raises:
        MissingFileError: The file cannot be read.
    """
    if not is_url(name):
        yield Path(name)
        return
    with _beside(name) as copy:
        _asked(name, lambda fs, path: fs.get_file(path, str(copy)))
        yield copy


@contextmanager
def stored(name: str) -> Iterator[Path]:
    """Yield a path whose content is a file's when the block has succeeded.

    An object store shows an object when all of it has arrived.

    Raises:
        OutputError: The file cannot be written.
    """
    if not is_url(name):
        yield Path(name)
        return
    with _beside(name) as copy:
        yield copy
        fs, path = _filesystem(name)
        try:
            fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            fs.put_file(str(copy), path)
        except Exception as error:  # each store has exceptions of its own
            raise OutputError(f"cannot write {name} ({error})") from error


@contextmanager
def _beside(url: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fsnp-") as folder:
        yield Path(folder) / url.rpartition("/")[2]


def _asked(url: str, ask: Callable[[Any, str], T]) -> T:
    fs, path = _filesystem(url)
    try:
        return ask(fs, path)
    except Exception as error:  # each store has exceptions of its own
        reason = getattr(error, "strerror", None) or error
        raise MissingFileError(f"cannot read {url} ({reason})") from error


def _filesystem(url: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs  # noqa: PLC0415 - an extra

        fs, path = url_to_fs(url)
    except ImportError as error:
        raise InstallError(
            f"{url} needs a package that is not installed ({error}); "
            "run pip install 'fsnp-onnx[ray]', and s3fs for s3:// or gcsfs for gs://"
        ) from error
    except FsnpError:
        raise
    except Exception as error:
        raise MissingFileError(f"cannot open {url} ({error})") from error
    return fs, path
