"""The journal of a run: what is begun, done and failed, in a file that survives a kill.

A row "begun" is written before the work on a recording starts, and "done" after its output has taken
its place. So the file tells at any moment which outputs are whole, which are this run's own but
perhaps not whole, and which were there before.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TextIO

from filelock import FileLock, Timeout

from fsnp_onnx.batch import storage
from fsnp_onnx.batch.jobs import Job, Table, exists
from fsnp_onnx.batch.manifest import read_rows
from fsnp_onnx.batch.recording import Failed
from fsnp_onnx.errors import (
    ArgumentError,
    FsnpError,
    JournalError,
    MissingFileError,
    OutputError,
    one_line,
)
from fsnp_onnx.runtime.recording import Done

# own: whether the output was this run's before the work on it began the last time
_TABLE = """CREATE TABLE job (
    output BLOB, input BLOB, status, token, size, mtime, done, own, PRIMARY KEY (output, input)
)"""
_STEPS = {
    "begun": """INSERT INTO job VALUES (:output, :input, 'begun', :token, :size, :mtime, NULL, 0)
        ON CONFLICT (output, input) DO UPDATE SET own = own OR status = 'begun', status = 'begun',
        token = :token, size = :size, mtime = :mtime""",
    "done": """UPDATE job SET status = 'done', done = :done, own = 1
        WHERE output = :output AND input = :input""",
    "failed": "UPDATE job SET status = 'failed' WHERE output = :output AND input = :input",
}
_REMEDY = "use force in place of resume to replace it, or give another journal"
_START = b'{"status": "run"'


class Journal:
    """A journal that this run alone writes to; nothing is written before the first step."""

    def __init__(
        self,
        path: Path,
        model: Path | bytes,
        attenuation_limit_db: float | None,
        *,
        resume: bool,
        force: bool,
    ) -> None:
        """Begin a journal, or go on with one.

        Args:
            path: A file that ends in .jsonl.
            model: The model of the run.
            attenuation_limit_db: Its limit of attenuation.
            resume: Go on with what the file tells, if it is there.
            force: Else replace it.
        """
        if path.suffix != ".jsonl":
            raise ArgumentError("journal", f"{path} does not end in .jsonl")
        self._path = path
        self._run = {"model_sha256": _sha256(model), "attenuation_limit_db": attenuation_limit_db}
        self._file: TextIO | None = None
        self._goes_on = False
        self._lock = _locked(path)
        self._earlier = Table(_TABLE)
        try:
            if not (resume or force):
                _require_new(path)
            if resume and path.exists():
                _require_journal(path)
                _truncate_half_row(path)
                self._read_earlier()
        except BaseException as error:
            self.close()
            if isinstance(error, OSError) and not isinstance(error, FsnpError):
                raise MissingFileError(f"cannot go on with {path} ({error.strerror})") from error
            raise

    def close(self) -> None:
        """Close the file and let other runs have it."""
        self._earlier.close()
        if self._file:
            with suppress(OSError):  # of a row that could not be written, as was said
                self._file.close()
        _unlock(self._lock)

    def begin(self, job: Job) -> None:
        """Note that the work on a recording starts."""
        size, mtime = _stamp(job.source)
        names = {"input": job.source, "output": job.target}
        self._append({"status": "begun", **names, "token": job.token, "size": size, "mtime": mtime})

    def finish(self, result: Done | Failed) -> None:
        """Note that a recording is done, or why it failed."""
        row = asdict(result) if isinstance(result, Done) else _failure(result)
        row.pop("skipped", None)
        self._append({"status": "done" if isinstance(result, Done) else "failed", **row})

    def done(self, job: Job) -> Done | None:
        """Return what an earlier run did, if it wrote this output from this very input."""
        earlier = self._earlier_step(job)
        if earlier is None or earlier["status"] != "done" or not earlier["done"]:
            return None
        if (earlier["size"], earlier["mtime"]) != _stamp(job.source) or not exists(job.target):
            return None
        return Done(**json.loads(earlier["done"]), skipped=True)

    def is_own(self, job: Job) -> bool:
        """Whether an earlier run may have written this output, and nobody else."""
        earlier = self._earlier_step(job)
        return earlier is not None and (earlier["status"] == "begun" or bool(earlier["own"]))

    def _earlier_step(self, job: Job) -> dict[str, Any] | None:
        columns = ("status", "own", "size", "mtime", "done")
        select = f"SELECT {', '.join(columns)} FROM job WHERE output = ? AND input = ?"
        names = (os.fsencode(job.target), os.fsencode(job.source))
        row = self._earlier.query(select, names).fetchone()
        return row and dict(zip(columns, row, strict=True))

    def _append(self, row: dict[str, Any]) -> None:
        try:
            self._file = self._file or self._open()
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()
        except OSError as error:
            raise OutputError(f"cannot write {self._path} ({error.strerror})") from error

    def _open(self) -> TextIO:
        file = self._path.open("a" if self._goes_on else "w", encoding="utf-8")
        if not self._goes_on:
            file.write(json.dumps({"status": "run", **self._run}) + "\n")
        return file

    def _read_earlier(self) -> None:
        for row in read_rows(self._path, ("status",), JournalError, _REMEDY):
            if row["status"] == "run":
                self._goes_on = True
                self._require_same_settings(row)
            elif row["status"] in _STEPS:
                names = {
                    name: os.fsencode(str(row.get(name) or "")) for name in ("input", "output")
                }
                others = {name: row.get(name) for name in ("token", "size", "mtime")}
                self._earlier.query(_STEPS[row["status"]], names | others | {"done": _done(row)})
        unfinished = "SELECT input, output, token FROM job WHERE status = 'begun'"
        for source, target, token in self._earlier.query(unfinished):
            Job(os.fsdecode(source), os.fsdecode(target), token).remove_partial()

    def _require_same_settings(self, row: dict[str, Any]) -> None:
        for name, value in self._run.items():
            if row.get(name) != value:
                raise JournalError(
                    f"{self._path} is of a run with {name} {row.get(name)}, this one has {value}; "
                    "give the same settings or another journal"
                )


def _locked(path: Path) -> FileLock:
    """Keep other runs from a journal, under any of its names; a kill ends the lock."""
    beside = Path(os.path.realpath(path))
    lock = FileLock(beside.with_name(f".{beside.name}.lock"))  # filelock truncates what it locks
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise OutputError(
            f"{path} is being written by another run; wait for its end or give another journal"
        ) from error
    except (OSError, NotImplementedError) as error:  # the latter of file systems without locks
        raise OutputError(f"cannot write and lock {path} ({one_line(error)})") from error
    return lock


def _unlock(lock: FileLock) -> None:
    """Remove the lock file, then release it."""
    with suppress(OSError):  # Windows removes no open file; that one stays
        Path(lock.lock_file).unlink()
    lock.release()


def _failure(failed: Failed) -> dict[str, Any]:
    row = {"input": failed.input, "error": one_line(failed.error)}
    return row if failed.output is None else row | {"output": failed.output}


def _done(row: dict[str, Any]) -> str | None:
    """Return the fields of a Done as text, None where some are missing."""
    names = {field.name for field in fields(Done)} - {"skipped"}
    return json.dumps({name: row[name] for name in names}) if names <= row.keys() else None


def _sha256(model: Path | bytes) -> str:
    if isinstance(model, bytes):
        return hashlib.sha256(model).hexdigest()
    try:
        with model.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise MissingFileError(f"cannot read the model {model} ({error.strerror})") from error


def _stamp(source: str) -> tuple[int, str]:
    """Return size and time of change of a file, by which another one is told from it."""
    try:
        if storage.is_url(source):
            return storage.stamp(source)
        status = Path(source).stat()
    except OSError:  # reported where it is read
        return 0, ""
    return status.st_size, str(status.st_mtime_ns)


def _require_new(path: Path) -> None:
    if path.exists() and path.stat().st_size:
        raise OutputError(f"{path} exists; go on with resume or replace it with force")


def _require_journal(path: Path) -> None:
    """Raise an error for a file that no run has begun, before anything in it is touched."""
    with path.open("rb") as file:
        if not _START.startswith(file.read(len(_START))):
            raise JournalError(f"{path} is not the journal of a run; give another journal")


def _truncate_half_row(path: Path) -> None:
    """Remove a last row that a kill has left without its end."""
    with path.open("r+b") as file:
        file.truncate(sum(len(line) for line in file if line.endswith(b"\n")))
