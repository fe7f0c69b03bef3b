"""Which input is written to which output, decided before any work is done.

The plan of a run lies in a table on disk, so that a million recordings are never in memory and
yet two outputs in one place are found, and the longest recordings can go first.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from fsnp_onnx.batch import storage as remote
from fsnp_onnx.errors import OutputError
from fsnp_onnx.runtime.files import partial_file

STREAM = "-"


@dataclass(frozen=True, slots=True)
class Job:
    """One recording to enhance.

    Attributes:
        source: Path or URL of the noisy file, None for standard input.
        target: Path or URL of the enhanced file, None for WAV on standard output.
        token: Names the temporary file beside a target.
    """

    source: str | None
    target: str | None
    token: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def source_name(self) -> str:
        """The input as the user knows it."""
        return self.source or STREAM

    @property
    def target_name(self) -> str:
        """The output as the user knows it."""
        return self.target or STREAM

    def remove_partial(self) -> None:
        """Remove what a process that was killed has left of the output."""
        if self.target and remote.is_url(self.target):
            remote.remove_partial(self.target, self.token)
        elif self.target:
            with suppress(OSError):  # not there, most often
                partial_file(Path(self.target), self.token).unlink()


class Plan:
    """All recordings of a run.

    Attributes:
        failed: By name, the inputs that cannot be looked into or hold nothing.
    """

    def __init__(self) -> None:
        """Start with no recordings."""
        self.failed: dict[str, Exception] = {}
        self._table = sqlite3.connect("")  # a temporary file that goes with the connection
        # content: where the bytes of a source lie; entry: the directory entry that a target takes
        self._table.execute(
            "CREATE TABLE job (source BLOB, target BLOB, content BLOB, entry BLOB UNIQUE, size INT)"
        )
        self._table.execute("CREATE INDEX contents ON job (content)")

    def close(self) -> None:
        """Remove the table."""
        self._table.close()

    def add(self, source: str | None, target: str | None, size: int = 0) -> None:
        """Add a recording of ``size`` bytes.

        Raises:
            OutputError: Another one would be written to the same output, or none would last there.
        """
        if target:
            remote.require_lasting(target)
        entry = _entry(target)
        row = (source, target, _content(source), entry)
        try:
            self._table.execute("INSERT INTO job VALUES (?, ?, ?, ?, ?)", (*map(_blob, row), size))
        except sqlite3.IntegrityError:
            select = "SELECT source FROM job WHERE entry = ?"
            ((other,),) = self._table.execute(select, (_blob(entry),))
            raise OutputError(
                f"{os.fsdecode(other)} and {source} would both be written to {target}; "
                "rename one or enhance them apart"
            ) from None

    def __len__(self) -> int:
        return int(self._table.execute("SELECT count(*) FROM job").fetchone()[0])

    def jobs(self, *, longest_first: bool) -> Iterator[Job]:
        """Yield the recordings in the order of the inputs or by size."""
        order = "size DESC, rowid" if longest_first else "rowid"
        rows = self._table.execute(f"SELECT source, target FROM job ORDER BY {order}")
        for source, target in rows:
            yield Job(_text(source), _text(target))

    def has_stream(self) -> bool:
        """Whether standard input or output carries a recording."""
        select = "SELECT 1 FROM job WHERE source IS NULL OR target IS NULL"
        return self._table.execute(select).fetchone() is not None

    def is_input(self, path: str) -> bool:
        """Whether a path leads to a recording of this run, through links or not."""
        select = "SELECT 1 FROM job WHERE content = ?"
        return self._table.execute(select, (_blob(_content(path)),)).fetchone() is not None

    def is_output(self, path: str) -> bool:
        """Whether a path leads to where this run writes a recording."""
        select = "SELECT 1 FROM job WHERE entry IN (?, ?)"
        return (
            self._table.execute(select, (_blob(_entry(path)), _blob(_content(path)))).fetchone()
            is not None
        )


def require_free(target: str, plan: Plan, kept: list[str], *, force: bool) -> None:
    """Check that an output may be written.

    Args:
        target: Its path or URL.
        plan: The run, of which no input is ever replaced.
        kept: What else is never replaced, under no name.
        force: Whether anything else may be.

    Raises:
        OutputError: It may not.
    """
    if not exists(target):
        return
    if plan.is_input(target) or any(same_file(path, target) for path in kept):
        raise OutputError(f"{target} is an input of this run or its model; give another output")
    if not force:
        raise OutputError(f"{target} exists; use --force to replace it or give another output")


def exists(name: str) -> bool:
    """Whether something lies at a path or URL, be it a link to nowhere."""
    return remote.exists(name) if remote.is_url(name) else os.path.lexists(name)


def same_file(first: str, second: str) -> bool:
    """Whether two names lead to one file, existing or not, through links of any kind."""
    if remote.is_url(first) or remote.is_url(second):
        return first == second
    try:
        return Path(first).samefile(second)
    except OSError:
        return os.path.realpath(first) == os.path.realpath(second)


@lru_cache(maxsize=1024)
def _resolved(working_folder: str, folder: str) -> str:
    return os.path.realpath(Path(working_folder) / folder)


def _entry(name: str | None) -> str | None:
    """Return the directory entry of a file: its place with all links but its own resolved."""
    if name is None or remote.is_url(name):
        return name
    # a million names come here twice, and pathlib takes ten times as long
    folder, last = os.path.split(name)
    return os.path.join(_resolved(os.getcwd(), folder), last)  # noqa: PTH109, PTH118


def _content(name: str | None) -> str | None:
    """Return where the content of a file lies: its place with all links resolved."""
    entry = _entry(name)
    if name is None or entry is None or remote.is_url(name):
        return entry
    return os.path.realpath(entry) if os.path.islink(entry) else entry  # noqa: PTH114


def _blob(text: str | None) -> bytes | None:
    return None if text is None else os.fsencode(text)  # names need not be UTF-8


def _text(blob: bytes | None) -> str | None:
    return None if blob is None else os.fsdecode(blob)
