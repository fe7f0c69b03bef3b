"""Which input is written to which output, decided before any work is done.

The plan of a run lies in a table on disk. So a million recordings are never in memory, two inputs
for one output are found, and the longest recordings can go first.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from fsnp_onnx.batch import storage
from fsnp_onnx.errors import OutputError
from fsnp_onnx.runtime.outputs import EXISTS, same_file


@dataclass(frozen=True, slots=True)
class Job:
    """One recording to enhance; the token names the temporary file beside the target."""

    source: str
    target: str
    token: str = field(default_factory=lambda: secrets.token_hex(8))

    def remove_partial(self) -> None:
        """Remove what a process that was killed has left of the output."""
        storage.remove_partial(self.target, self.token)


class Table:
    """A table in a temporary file, which goes when it is closed."""

    def __init__(self, *statements: str) -> None:
        """Make the table."""
        # results may be asked for and closed in other threads, one at a time
        self._connection = sqlite3.connect("", check_same_thread=False)
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


class Plan(Table):
    """All recordings of a run.

    Attributes:
        failed: By name, the inputs that cannot be read or contain nothing.
        kept: Other files that the run never replaces, as the model.
    """

    def __init__(self, kept: Sequence[str] = ()) -> None:
        """Start with no recordings."""
        self.failed: dict[str, Exception] = {}
        self.kept = kept
        # content: where the bytes of a source lie; entry: the directory entry that a target takes
        super().__init__(
            "CREATE TABLE job (source BLOB, target BLOB, content BLOB, entry BLOB UNIQUE, size)",
            "CREATE INDEX contents ON job (content)",
        )

    def add(self, source: str, target: str, size: int | None = None) -> None:
        """Add a recording of ``size`` bytes; the size of a URL is not asked for."""
        if size is None:
            size = 0 if storage.is_url(source) else storage.stamp(source)[0]
        if target.startswith("memory://"):
            raise OutputError(
                f"{target} exists only in this process's memory; give a path or another URL"
            )
        entry = _entry(target)
        row = (source, target, _content(source), entry)
        try:
            self.query("INSERT INTO job VALUES (?, ?, ?, ?, ?)", (*map(os.fsencode, row), size))
        except sqlite3.IntegrityError:
            select = "SELECT source FROM job WHERE entry = ?"
            ((other,),) = self.query(select, (os.fsencode(entry),))
            raise OutputError(
                f"{os.fsdecode(other)} and {source} would both be written to {target}; "
                "rename one or enhance them apart"
            ) from None

    def __len__(self) -> int:
        return int(self.query("SELECT count(*) FROM job").fetchone()[0])

    def jobs(self, *, longest_first: bool) -> Iterator[Job]:
        """Yield the recordings in the order of the inputs or by size."""
        order = "size DESC, rowid" if longest_first else "rowid"
        for row in self.query(f"SELECT source, target FROM job ORDER BY {order}"):
            yield Job(*map(os.fsdecode, row))

    def is_input(self, name: str) -> bool:
        """Whether a name leads to a recording of this run, through links or not."""
        select = "SELECT 1 FROM job WHERE content = ?"
        return self.query(select, (os.fsencode(_content(name)),)).fetchone() is not None

    def require_free(self, target: str, source: str | None = None, *, force: bool) -> None:
        """Check that a file may be written: it replaces no input, and others only with force."""
        if not storage.exists(target):
            return
        kept = [*self.kept, source] if source else self.kept
        if self.is_input(target) or any(same_file(Path(target), Path(name)) for name in kept):
            raise OutputError(f"{target} is an input of this run or its model; give another output")
        if not force:
            raise OutputError(f"{target} {EXISTS}")


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
    is_link = not storage.is_url(name) and os.path.islink(entry)  # noqa: PTH114
    return os.path.realpath(entry) if is_link else entry
