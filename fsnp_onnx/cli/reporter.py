"""Progress and results, for people and programs."""

from __future__ import annotations

import csv
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import typer

from fsnp_onnx.batch.files import Progress
from fsnp_onnx.batch.worker import Failed
from fsnp_onnx.cli.console import say, say_error, writing_output
from fsnp_onnx.errors import one_line
from fsnp_onnx.runtime.outputs import entry, replacing
from fsnp_onnx.runtime.recording import Done

_SUMMARY_HEADER = ",".join([*(field.name for field in fields(Done)), "error"])
SUMMARY_START = b"input,output,seconds,rtf,"  # of the summaries of every version


class Reporter:
    """Reports the result of each recording, as JSON on standard output if wanted, and adds them up."""

    def __init__(self, *, as_json: bool) -> None:
        """Start with nothing."""
        self.n_failed = 0
        self._n_done = 0
        self._n_skipped = 0
        self._passed_over: Counter[str] = Counter()
        self._duration_s = 0.0
        self._as_json = as_json
        self._started = time.perf_counter()
        self._add_row: Callable[[dict[str, object]], object] = lambda _: None
        self.advance: Callable[[Progress], None] = lambda _: None

    @contextmanager
    def progress(self) -> Iterator[None]:
        """Show a bar on a terminal while the block runs."""
        if self._as_json or sys.stderr is None or not sys.stderr.isatty():
            yield
            return
        from rich import progress as rich  # noqa: PLC0415 - slow to import, for terminals only
        from rich.console import Console  # noqa: PLC0415

        count, name = rich.MofNCompleteColumn(), rich.TextColumn("{task.description}", markup=False)
        columns = (rich.BarColumn(), count, rich.TimeElapsedColumn(), name)
        console = Console(stderr=True)
        with rich.Progress(*columns, console=console, redirect_stdout=False, transient=True) as bar:
            task = bar.add_task("", total=None)
            self.advance = lambda now: bar.update(
                task, description=now.input, completed=now.n_finished, total=now.n_total
            )
            yield

    @contextmanager
    def summary(self, path: Path | None) -> Iterator[None]:
        """Write a CSV file with one row per reported recording when the block ends, also by an error.

        The rows wait in a file without a name on the same disk.
        """
        if path is None:
            yield
            return
        text: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}
        before = entry(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile("w+", dir=path.parent, **text) as rows:
            rows.write(_SUMMARY_HEADER + "\r\n")
            self._add_row = csv.DictWriter(rows, _SUMMARY_HEADER.split(",")).writerow
            try:
                yield
            finally:
                if self._n_reported:
                    rows.seek(0)
                    with replacing(path, before=before) as whole, whole.open("w", **text) as file:
                        shutil.copyfileobj(rows, file)

    def report(self, result: Done | Failed) -> None:
        """Report what was done, or why it failed."""
        if isinstance(result, Failed):
            self.n_failed += 1
            row: dict[str, Any] = {"input": result.input, "error": one_line(result.error)}
            say_error(row["error"], about=result.input)
        else:
            row = asdict(result)
            self._report_done(result)
        self._add_row(row)
        if self._as_json and not row.pop("skipped", False):
            with writing_output():
                typer.echo(json.dumps(row))

    def pass_over(self, _: str, reason: str) -> None:
        """Count a file of a folder that is not enhanced."""
        self._passed_over[reason] += 1

    def summarize(self) -> None:
        """Report what was passed over, and the sums of several recordings or of one skipped."""
        if self._passed_over:
            reasons = "; ".join(f"{n}: {why}" for why, n in self._passed_over.most_common())
            say(f"{self._passed_over.total()} passed over ({reasons})")
        n_recordings = self._n_reported
        if n_recordings < 2 and not self._n_skipped:
            return
        seconds = time.perf_counter() - self._started
        times = self._duration_s / seconds
        say(
            f"{self._n_done} of {n_recordings} recordings enhanced, {self.n_failed} failed, "
            f"{self._n_skipped} skipped: {_time(self._duration_s)} of audio in {_time(seconds)} "
            f"({times:.{0 if times >= 10 else 1}f}x real time)"
        )

    @property
    def _n_reported(self) -> int:
        return self._n_done + self.n_failed + self._n_skipped

    def _report_done(self, done: Done) -> None:
        if done.skipped:
            self._n_skipped += 1
            return
        self._n_done += 1
        self._duration_s += done.duration_s
        if done.warning:
            say(f"warning: {done.input}: {done.warning}")
        if self._as_json:
            return
        clipped = f", {done.clipped} samples clipped" if done.clipped else ""
        say(
            f"{done.input} -> {done.output} ({done.duration_s:.2f} s of audio in "
            f"{done.seconds:.2f} s on {done.provider}, real-time factor {done.rtf:.3f}{clipped})"
        )


def _time(seconds: float) -> str:
    """Return a time in words, of the two largest units: "5 min 3 s"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
