"""The record of a run: one row for every step of every recording, in a file that survives a kill.

A row "begun" is written before the work on a recording starts and "done" after its output has taken
its place, so at any moment the file tells which outputs are whole, which are this run's own although
it does not know whether they are whole, and which were there before.
"""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TextIO

from fsnp_onnx.batch import storage as remote
from fsnp_onnx.batch.manifest import header, read_rows, row_writer
from fsnp_onnx.batch.plan import Job, exists
from fsnp_onnx.batch.recording import Report
from fsnp_onnx.errors import FsnpError, ManifestError, MissingFileError, OutputError

_REPORTED = tuple(field.name for field in fields(Report) if field.name not in ("input", "output"))
COLUMNS = ("status", "input", "output", "token", "size", "mtime", *_REPORTED, "error")
COLUMNS += ("model_sha256", "attenuation_limit_db")

# own: whether the output was this run's before the work on it began the last time
_TABLE = """CREATE TABLE job (
    output BLOB, input BLOB, status, token, size, mtime, own, PRIMARY KEY (output, input)
)"""
_STEPS = {
    "begun": """INSERT INTO job VALUES (:output, :input, 'begun', :token, :size, :mtime, 0)
        ON CONFLICT (output, input) DO UPDATE SET own = own OR status = 'begun', status = 'begun',
        token = :token, size = :size, mtime = :mtime""",
    "done": "UPDATE job SET status = 'done', own = 1 WHERE output = :output AND input = :input",
    "failed": "UPDATE job SET status = 'failed' WHERE output = :output AND input = :input",
}

_REMEDY = "replace it with --force in place of --resume, or give another --results file"
_ROW = re.compile(rb"\n(?:run|begun|done|failed),")  # how a row of a CSV begins


class Results:
    """A file of results, to which nothing is written before the first step."""

    def __init__(
        self, path: Path, model: Path, attenuation_limit_db: float | None, *, resume: bool
    ) -> None:
        """Begin a file, or go on with one.

        Args:
            path: A file that ends in .csv or .jsonl, replaced unless ``resume`` is given.
            model: The model of the run.
            attenuation_limit_db: Its limit of attenuation.
            resume: Go on with what the file tells, if it is there.

        Raises:
            MissingFileError: The file cannot be read.
            ManifestError: It is no file of results, or one of a run with other settings.
        """
        self._path = path
        self._line = row_writer(path, COLUMNS)
        self._run = {"model_sha256": _sha256(model), "attenuation_limit_db": attenuation_limit_db}
        self._file: TextIO | None = None
        self._goes_on = False
        self._earlier = sqlite3.connect("")  # a temporary file that goes with the connection
        self._earlier.execute(_TABLE)
        if not (resume and path.exists()):
            return
        try:
            _require_record(path)
            _cut_half_row(path)
            self._read_earlier()
        except BaseException as error:
            self._earlier.close()
            if isinstance(error, OSError) and not isinstance(error, FsnpError):
                raise MissingFileError(f"cannot go on with {path} ({error.strerror})") from error
            raise

    def close(self) -> None:
        """Close the file."""
        self._earlier.close()
        if self._file:
            with suppress(OSError):  # of a row that could not be written, as was said
                self._file.close()

    def begin(self, job: Job) -> None:
        """Note that the work on a recording starts.

        Raises:
            OutputError: The file cannot be written.
        """
        size, mtime = _stamp(job.source)
        stamp = {"token": job.token, "size": size, "mtime": mtime}
        self._append({"status": "begun", **_names(job), **stamp})

    def finish(self, job: Job, outcome: Report | str) -> None:
        """Note that a recording is done, or why it failed.

        Raises:
            OutputError: The file cannot be written.
        """
        if isinstance(outcome, str):
            self._append({"status": "failed", **_names(job), "error": outcome})
        else:
            self._append({"status": "done", **asdict(outcome)})

    def fail(self, name: str, error: str) -> None:
        """Note why the work on an input did not begin, as on a folder that may not be read.

        Raises:
            OutputError: The file cannot be written.
        """
        self._append({"status": "failed", "input": name, "error": error})

    def is_done(self, job: Job) -> bool:
        """Whether an earlier run wrote this output from this very input."""
        earlier = self._status(job)
        if earlier is None or job.target is None or earlier[0] != "done":
            return False
        return earlier[2:] == tuple(map(_text, _stamp(job.source))) and exists(job.target)

    def is_own(self, job: Job) -> bool:
        """Whether an earlier run may have written this output, and nobody else."""
        earlier = self._status(job)
        return earlier is not None and (earlier[0] == "begun" or bool(earlier[1]))

    def _status(self, job: Job) -> tuple[Any, ...] | None:
        select = "SELECT status, own, size, mtime FROM job WHERE output = ? AND input = ?"
        names = (os.fsencode(job.target_name), os.fsencode(job.source_name))
        found: tuple[Any, ...] | None = self._earlier.execute(select, names).fetchone()
        return found

    def _append(self, row: dict[str, Any]) -> None:
        try:
            self._file = self._file or self._open()
            self._file.write(self._line(row))
            self._file.flush()
        except OSError as error:
            raise OutputError(f"cannot write {self._path} ({error.strerror})") from error

    def _open(self) -> TextIO:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = self._path.open(
            "a" if self._goes_on else "w", encoding="utf-8", errors="surrogateescape", newline=""
        )
        if not self._goes_on:
            file.write(header(self._path, COLUMNS) + self._line({"status": "run", **self._run}))
        return file

    def _read_earlier(self) -> None:
        for row in read_rows(self._path, ("status",), _REMEDY):
            if row["status"] == "run":
                self._goes_on = True
                self._require_same_settings(row)
            elif row["status"] in _STEPS:
                names = {name: os.fsencode(row.get(name, "")) for name in ("input", "output")}
                others = {name: row.get(name, "") for name in ("token", "size", "mtime")}
                self._earlier.execute(_STEPS[row["status"]], names | others)
        unfinished = "SELECT input, output, token FROM job WHERE status = 'begun'"
        for source, target, token in self._earlier.execute(unfinished):
            Job(os.fsdecode(source), os.fsdecode(target), token).remove_partial()

    def _require_same_settings(self, row: dict[str, str]) -> None:
        for name, value in self._run.items():
            if row.get(name, "") != _text(value):
                raise ManifestError(
                    f"{self._path} is of a run with {name} {row.get(name) or 'none'}, this one "
                    f"has {_text(value) or 'none'}; give the same options or another --results file"
                )


def _names(job: Job) -> dict[str, str]:
    return {"input": job.source_name, "output": job.target_name}


def _sha256(model: Path) -> str:
    try:
        with model.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise MissingFileError(f"cannot read the model {model} ({error.strerror})") from error


def _stamp(source: str | None) -> tuple[int, str]:
    """Return size and time of change of a file, by which another one is told from it."""
    if source is None:
        return 0, ""
    try:
        if remote.is_url(source):
            return remote.stamp(source)
        status = Path(source).stat()
    except OSError:  # reported where it is read
        return 0, ""
    return status.st_size, str(status.st_mtime_ns)


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _require_record(path: Path) -> None:
    """Raise an error for a file that no run has begun, before anything in it is touched."""
    start = (header(path, COLUMNS) or '{"status": "run"').encode()
    with path.open("rb") as file:
        if not start.startswith(file.read(len(start))):
            raise ManifestError(f"{path} is no record of a run; give another --results file")


def _cut_half_row(path: Path) -> None:
    """Remove a last row that a kill has left without its end; names in a CSV may hold line ends."""
    is_csv, within_quotes = path.suffix == ".csv", False
    with path.open("r+b") as file:
        size = content_end = 0
        for line in file:
            size += len(line)
            within_quotes ^= is_csv and line.count(b'"') % 2 == 1
            if line.endswith(b"\n") and not within_quotes:
                content_end = size
        file.seek(content_end)
        if not _ROW.search(file.read()):  # else a quote is missing, which its reader will report
            file.truncate(content_end)
