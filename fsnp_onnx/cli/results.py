"""The record of a run: one row for every step of every recording, in a file that survives a kill.

A row "begun" is written before the work on a recording starts and "done" after its output has taken
its place, so at any moment the file tells which outputs are whole, which are this run's own although
it does not know whether they are whole, and which were there before.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from fsnp_onnx.cli import remote
from fsnp_onnx.cli.manifest import header, read_rows, row_writer
from fsnp_onnx.cli.plan import Job, exists
from fsnp_onnx.cli.recording import Report
from fsnp_onnx.errors import ManifestError, MissingFileError, OutputError

_REPORTED = tuple(field.name for field in fields(Report) if field.name not in ("input", "output"))
COLUMNS = ("status", "input", "output", "token", "size", "mtime", *_REPORTED, "error")
COLUMNS += ("model_sha256", "attenuation_limit_db")


class Results:
    """A file of results, open to be appended to."""

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
            OutputError: It cannot be written.
        """
        self._path = path
        self._line = row_writer(path, COLUMNS)
        self._earlier = sqlite3.connect("")  # a temporary file that goes with the connection
        self._earlier.execute(
            "CREATE TABLE job (output BLOB PRIMARY KEY, input BLOB, status, token, size, mtime)"
        )
        self._has_settings = False
        try:
            self._open(model, attenuation_limit_db, go_on=resume and path.exists())
        except BaseException:
            self._earlier.close()
            raise

    def _open(self, model: Path, attenuation_limit_db: float | None, *, go_on: bool) -> None:
        path = self._path
        run = {"model_sha256": _sha256(model), "attenuation_limit_db": attenuation_limit_db}
        if go_on:
            _cut_half_row(path)
            self._read_earlier({name: _text(value) for name, value in run.items()})
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open(
                "a" if go_on else "w", encoding="utf-8", errors="surrogateescape", newline=""
            )
            if self._file.tell() == 0:
                self._file.write(header(path, COLUMNS))
            if not self._has_settings:
                self._append({"status": "run", **run})
        except OSError as error:
            raise OutputError(f"cannot write {path} ({error.strerror})") from error

    def close(self) -> None:
        """Close the file."""
        self._earlier.close()
        self._file.close()

    def begin(self, job: Job) -> None:
        """Note that the work on a recording starts."""
        size, mtime = _stamp(job.source)
        stamp = {"token": job.token, "size": size, "mtime": mtime}
        self._append({"status": "begun", **_names(job), **stamp})

    def finish(self, job: Job, outcome: Report | str) -> None:
        """Note that a recording is done, or why it failed."""
        if isinstance(outcome, str):
            self._append({"status": "failed", **_names(job), "error": outcome})
        else:
            self._append({"status": "done", **asdict(outcome)})

    def is_done(self, job: Job) -> bool:
        """Whether an earlier run wrote this output from this very input."""
        earlier = self._status(job)
        if earlier is None or job.target is None or earlier[0] != "done":
            return False
        return earlier[1:] == tuple(map(_text, _stamp(job.source))) and exists(job.target)

    def is_own(self, job: Job) -> bool:
        """Whether an earlier run may have written this output, and nobody else."""
        earlier = self._status(job)
        return earlier is not None and earlier[0] in ("begun", "done")

    def _status(self, job: Job) -> tuple[str, ...] | None:
        select = "SELECT status, size, mtime FROM job WHERE output = ? AND input = ?"
        names = (os.fsencode(job.target_name), os.fsencode(job.source_name))
        found: tuple[str, ...] | None = self._earlier.execute(select, names).fetchone()
        return found

    def _append(self, row: dict[str, Any]) -> None:
        self._file.write(self._line(row))
        self._file.flush()

    def _read_earlier(self, run: dict[str, str]) -> None:
        for row in read_rows(self._path, ("status",)):
            if row["status"] != "run":
                self._keep(row)
                continue
            self._has_settings = True
            for name, value in run.items():
                if row.get(name, "") != value:
                    raise ManifestError(
                        f"{self._path} is of a run with {name} {row.get(name) or 'none'}, this one "
                        f"has {value or 'none'}; give the same options or another --results file"
                    )
        unfinished = "SELECT input, output, token FROM job WHERE status = 'begun'"
        for source, target, token in self._earlier.execute(unfinished):
            Job(os.fsdecode(source), os.fsdecode(target), token).remove_partial()

    def _keep(self, row: dict[str, str]) -> None:
        names = (os.fsencode(row.get("output", "")), os.fsencode(row.get("input", "")))
        if row["status"] == "done":  # of which only "begun" tells from what it was made
            update = "UPDATE job SET status = 'done' WHERE output = ? AND input = ?"
            self._earlier.execute(update, names)
            return
        values = (row["status"], *(row.get(name, "") for name in ("token", "size", "mtime")))
        self._earlier.execute(
            "INSERT OR REPLACE INTO job VALUES (?, ?, ?, ?, ?, ?)", (*names, *values)
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


def _cut_half_row(path: Path) -> None:
    """Remove a last row that a kill has left without its end."""
    with path.open("r+b") as file:
        content_end = 0
        for line in file:
            if line.endswith(b"\n"):
                content_end += len(line)
        file.truncate(content_end)
