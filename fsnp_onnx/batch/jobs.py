"""Which input is written to which output, decided before any work is done.

The plan of a run lies in a table on disk. So a million recordings are never in memory, two inputs
for one output are found, and the longest recordings can go first.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from fsnp_onnx.batch import storage
from fsnp_onnx.errors import OutputError
from fsnp_onnx.runtime.files import partial_file, same_file


@dataclass(frozen=True, slots=True)
class Job:
    """One recording to enhance.

    Attributes:
        source: Path or URL of the noisy file.
        target: Path or URL of the enhanced file.
        token: Names the temporary file beside the target.
    """

    source: str
    target: str
    token: str = field(default_factory=lambda: secrets.token_hex(8))

    def remove_partial(self) -> None:
        """Remove what a process that was killed has left of the output."""
        if storage.is_url(self.target):
            storage.remove_partial(self.target, self.token)
        else:
            with suppress(OSError):  # not there, most often
                partial_file(Path(self.target), self.token).unlink()


class Table:
    """A table in a temporary file, which goes when it is closed."""

    def __init__(self, *statements: str) -> None:
        """Make the table."""
        self._connection = sqlite3.connect("")
        for statement in statements:
            self.query(statement)

    def close(self) -> None:
        """Remove the table."""
        self._connection.close()

    def query(self, statement: str, values: dict[str, Any] | Iterable[Any] = ()) -> sqlite3.Cursor:
        """Run a statement."""
        try:
            return self._connection.execute(statement, values)  # type: ignore[arg-type]  # a mapping or a sequence
        except sqlite3.OperationalError as error:
            raise OutputError(
                f"the temporary folder cannot hold the list of recordings ({error}); "
                "name a folder with room in SQLITE_TMPDIR"
            ) from error


class Plan:
    """All recordings of a run.

    Attributes:
        failed: By name, the inputs that cannot be looked into or hold nothing.
    """

    def __init__(self) -> None:
        """Start with no recordings."""
        self.failed: dict[str, Exception] = {}
        # content: where the bytes of a source lie; entry: the directory entry that a target takes
        self._table = Table(
            "CREATE TABLE job (source BLOB, target BLOB, content BLOB, entry BLOB UNIQUE, size)",
            "CREATE INDEX contents ON job (content)",
        )

    def close(self) -> None:
        """Remove the plan."""
        self._table.close()

    def add(self, source: str, target: str, size: int = 0) -> None:
        """Add a recording of ``size`` bytes."""
        storage.require_lasting(target)
        entry = _entry(target)
        row = (source, target, _content(source), entry)
        try:
            self._table.query(
                "INSERT INTO job VALUES (?, ?, ?, ?, ?)", (*map(os.fsencode, row), size)
            )
        except sqlite3.IntegrityError:
            select = "SELECT source FROM job WHERE entry = ?"
            ((other,),) = self._table.query(select, (os.fsencode(entry),))
            raise OutputError(
                f"{os.fsdecode(other)} and {source} would both be written to {target}; "
                "rename one or enhance them apart"
            ) from None

    def __len__(self) -> int:
        return int(self._table.query("SELECT count(*) FROM job").fetchone()[0])

    def jobs(self, *, longest_first: bool) -> Iterator[Job]:
        """Yield the recordings in the order of the inputs or by size."""
        order = "size DESC, rowid" if longest_first else "rowid"
        for row in self._table.query(f"SELECT source, target FROM job ORDER BY {order}"):
            yield Job(*map(os.fsdecode, row))

    def is_input(self, name: str) -> bool:
        """Whether a name leads to a recording of this run, through links or not."""
        return self._has("SELECT 1 FROM job WHERE content = ?", _content(name))

    def is_output(self, name: str) -> bool:
        """Whether a name leads to where this run writes a recording."""
        return self._has("SELECT 1 FROM job WHERE entry IN (?, ?)", _entry(name), _content(name))

    def _has(self, select: str, *names: str) -> bool:
        return self._table.query(select, tuple(map(os.fsencode, names))).fetchone() is not None

    def require_free(self, target: str, kept: Iterable[str], *, force: bool) -> None:
        """Check that a file may be written.

        Args:
            target: Its path or URL.
            kept: What is never replaced, under no name, as the inputs of this run.
            force: Whether anything else may be replaced.
        """
        if not exists(target):
            return
        if storage.is_url(target):
            is_kept = target in kept
        else:
            is_kept = any(same_file(Path(target), Path(p)) for p in kept if not storage.is_url(p))
        if is_kept or self.is_input(target):
            raise OutputError(f"{target} is an input of this run or its model; give another output")
        if not force:
            raise OutputError(f"{target} exists; replace it with force or give another output")


def exists(name: str) -> bool:
    """Whether something lies at a path or URL, even if it is a link to nowhere."""
    return storage.exists(name) if storage.is_url(name) else os.path.lexists(name)


@lru_cache(maxsize=1024)
def _resolved(working_folder: str, folder: str) -> str:
    return os.path.realpath(Path(working_folder) / folder)


def _entry(name: str) -> str:
    """Return the directory entry of a file: its place with all links but its own resolved."""
    if storage.is_url(name):
        return name
    # a million names come here twice, and pathlib takes ten times as long
    folder, last = os.path.split(name)
    return os.path.join(_resolved(os.getcwd(), folder), last)  # noqa: PTH109, PTH118


def _content(name: str) -> str:
    """Return where the content of a file lies: its place with all links resolved."""
    entry = _entry(name)
    if storage.is_url(name):
        return entry
    return os.path.realpath(entry) if os.path.islink(entry) else entry  # noqa: PTH114
