"""The journal of a run: what is begun, done and failed, in a file that survives a kill.

A row "begun" is written before the work on a recording starts, and "done" after its output has taken
its place. So the file shows at any moment which outputs are whole, which are this run's own but
perhaps not whole, and which existed before.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from contextlib import ExitStack, suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TextIO

from filelock import FileLock, Timeout

from fsnp_onnx.batch import storage
from fsnp_onnx.batch.jobs import Job, Table
from fsnp_onnx.batch.manifest import read_rows
from fsnp_onnx.batch.worker import Failed, Settings
from fsnp_onnx.errors import ArgumentError, JournalError, MissingFileError, OutputError, one_line
from fsnp_onnx.runtime.recording import Done

if sys.platform != "win32":
    import fcntl

# own: whether the output was this run's before the work on it began the last time
_TABLE = """CREATE TABLE job (
    output BLOB, input BLOB, status, token, stamp, done, own, PRIMARY KEY (output, input)
)"""
_STEPS = {
    "begun": """INSERT INTO job VALUES (:output, :input, 'begun', :token, :stamp, NULL, 0)
        ON CONFLICT (output, input) DO UPDATE SET own = own OR status = 'begun', status = 'begun',
        token = :token, stamp = :stamp, done = NULL""",
    "done": """UPDATE job SET status = 'done', done = :done, own = 1
        WHERE output = :output AND input = :input""",
    "failed": "UPDATE job SET status = 'failed' WHERE output = :output AND input = :input",
}
_REMEDY = "use --force (force=True) instead of --resume to replace it, or give another journal"
_EXISTS = "use --resume (resume=True) to continue it, or --force (force=True) to replace it"
_START = b'{"status": "run"'
# what versions did that wrote no such fields
_RUN_BEFORE = {"strength": 1.0, "channels": "each"}
_DONE_BEFORE = {"skipped": True, "truncated": False, "warning": None}


class Journal:
    """A journal that this run alone writes to; nothing is written before the first step."""

    def __init__(self, path: Path, settings: Settings, *, resume: bool, force: bool) -> None:
        """Begin a journal, or with ``resume`` continue an existing one."""
        if path.suffix != ".jsonl":
            raise ArgumentError("journal", f"{path} does not end in .jsonl")
        self._path = path
        self._run = {
            "model_sha256": hashlib.sha256(settings.model_bytes()).hexdigest(),
            **settings.signal,
        }
        self._strict = settings.strict
        self._file: TextIO | None = None
        self._continues = False
        self._lock = _locked(path)
        self._earlier = Table(_TABLE)
        with ExitStack() as on_error:
            on_error.callback(self.close)
            self._read_earlier(resume=resume, force=force)
            on_error.pop_all()

    def close(self) -> None:
        """Close the file and let other runs have it."""
        try:
            self._earlier.close()
            if self._file:
                with suppress(OSError):  # of a row that could not be written, as was said
                    self._file.close()
        finally:
            self._lock.release()

    def begin(self, job: Job) -> None:
        """Note that the work on a recording starts."""
        size, mtime = storage.stamp(job.source)
        names = {"input": job.source, "output": job.target}
        self._append({"status": "begun", **names, "token": job.token, "size": size, "mtime": mtime})

    def finish(self, result: Done | Failed) -> None:
        """Note that a recording is done, or why it failed."""
        if isinstance(result, Done):
            row = {"status": "done", **asdict(result)}
            del row["skipped"]
        else:
            row = {"status": "failed", "input": result.input, "error": one_line(result.error)}
            if result.output is not None:
                row["output"] = result.output
        self._append(row)

    def done(self, job: Job) -> Done | None:
        """Return what an earlier run did, if it wrote this output from this very input."""
        earlier = self._earlier_value("done", job)
        if not earlier or self._earlier_value("stamp", job) != str([*storage.stamp(job.source)]):
            return None
        row = _DONE_BEFORE | json.loads(earlier)
        names = {field.name for field in fields(Done)}
        is_refused = self._strict and row["truncated"]
        if is_refused or not names <= row.keys() or not storage.exists(job.target):
            return None
        return Done(**{name: row[name] for name in names})

    def is_own(self, job: Job) -> bool:
        """Whether an earlier run may have written this output, and nobody else."""
        return bool(self._earlier_value("own OR status = 'begun'", job))

    def _earlier_value(self, column: str, job: Job) -> Any:
        select = f"SELECT {column} FROM job WHERE output = ? AND input = ?"
        names = (os.fsencode(job.target), os.fsencode(job.source))
        (value,) = self._earlier.query(select, names).fetchone() or (None,)
        return value

    def _append(self, row: dict[str, Any]) -> None:
        try:
            if self._file is None:
                self._file = self._path.open("a" if self._continues else "w", encoding="utf-8")
                if not self._continues:
                    start = {"status": "run", **self._run, "strict": self._strict}
                    self._file.write(json.dumps(start, default=float) + "\n")
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()
        except OSError as error:
            raise OutputError(f"cannot write {self._path} ({error.strerror})") from error

    def _read_earlier(self, *, resume: bool, force: bool) -> None:
        exists = self._path.exists() and self._path.stat().st_size
        if exists and not (resume or force):
            raise OutputError(f"{self._path} exists already; {_EXISTS}")
        if exists:  # force replaces a journal, and nothing else
            _truncate_half_row(self._path)
        if not (exists and resume):
            return
        for row in read_rows(self._path, ("status",), JournalError, _REMEDY):
            if row["status"] == "run":
                self._continues = True
                self._require_same_settings(row)
            elif row["status"] in _STEPS:
                values = {
                    "input": os.fsencode(str(row.get("input") or "")),
                    "output": os.fsencode(str(row.get("output") or "")),
                    "token": row.get("token"),
                    "stamp": str([row.get("size"), row.get("mtime")]),
                    "done": json.dumps(row),
                }
                self._earlier.query(_STEPS[row["status"]], values)
        unfinished = "SELECT input, output, token FROM job WHERE status = 'begun'"
        for source, target, token in self._earlier.query(unfinished):
            Job(os.fsdecode(source), os.fsdecode(target), token).remove_partial()

    def _require_same_settings(self, row: dict[str, Any]) -> None:
        earlier = _RUN_BEFORE | row
        for name, value in self._run.items():
            if earlier.get(name) != value:
                raise JournalError(
                    f"{self._path} is of a run with {name} {earlier.get(name)}, this one has {value}; "
                    "give the same settings or another journal"
                )


def _locked(path: Path) -> FileLock:
    """Keep other runs from a journal, under any of its names; a kill ends the lock.

    The lock file stays: a run that has opened it but does not hold it yet would lock a removed file,
    and a third run a new one. A file system that refuses locks goes without.
    """
    beside = Path(os.path.realpath(path))
    # filelock truncates what it locks; results may be closed in another thread
    lock = FileLock(beside.with_name(f".{beside.name}.lock"), thread_local=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if _has_locks(beside.parent):
            lock.acquire(timeout=0)
    except Timeout as error:
        raise OutputError(
            f"{path} is being written by another run; wait for its end or give another journal"
        ) from error
    except OSError as error:
        raise OutputError(f"cannot write and lock {path} ({one_line(error)})") from error
    return lock


def _has_locks(folder: Path) -> bool:
    """Whether files can be locked in a folder.

    It tries a file of its own, because filelock reports some refusals as the lock of another run.
    """
    if sys.platform == "win32":
        return True
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # as NFS without its lock daemon
            return False
    return True


def _truncate_half_row(path: Path) -> None:
    """Remove a last row that a kill has left without its end, if a run has begun this file."""
    try:
        with path.open("r+b") as file:
            is_journal = _START.startswith(file.read(len(_START)))
            if is_journal:
                file.seek(0)
                file.truncate(sum(len(line) for line in file if line.endswith(b"\n")))
    except OSError as error:
        raise MissingFileError(f"cannot resume from {path} ({error.strerror})") from error
    if not is_journal:
        raise JournalError(f"{path} is not the journal of a run; give another journal")
