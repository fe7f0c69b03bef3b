"""What people and programs hear of a run while it goes on, and at its end."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict

import typer

from fsnp_onnx.batch.plan import STREAM
from fsnp_onnx.batch.recording import Report
from fsnp_onnx.cli.console import say, say_error


class Reporter:
    """Tells the outcome of each recording and adds them up.

    Attributes:
        n_failed: Recordings and folders that failed.
        n_skipped: Recordings that an earlier run has done.
    """

    def __init__(self, *, as_json: bool) -> None:
        """Start with nothing.

        Args:
            as_json: Whether to print one JSON object per recording on standard output.
        """
        self.n_failed = 0
        self.n_skipped = 0
        self._n_done = 0
        self._duration_s = 0.0
        self._as_json = as_json
        self._stdout = sys.stdout  # for data alone; an engine may turn what others print elsewhere
        self._started = time.perf_counter()
        self._advance: Callable[[str, int], None] = lambda *_: None

    @contextmanager
    def progress(self, n_jobs: int) -> Iterator[None]:
        """Show a bar on a terminal while the block runs."""
        if self._as_json or sys.stderr is None or not sys.stderr.isatty():
            yield
            return
        from rich.console import Console  # noqa: PLC0415 - slow to import, for terminals only
        from rich.progress import Progress, SpinnerColumn, TimeElapsedColumn  # noqa: PLC0415

        columns = (SpinnerColumn(), *Progress.get_default_columns()[:3], TimeElapsedColumn())
        console = Console(stderr=True)
        with Progress(*columns, console=console, redirect_stdout=False, transient=True) as bar:
            task = bar.add_task("", total=n_jobs)
            self._advance = lambda name, n: bar.update(task, description=name, completed=n)
            yield

    def begin(self, name: str) -> None:
        """Tell that the work on a recording begins."""
        self._advance(name, self._n_told())

    def skip(self) -> None:
        """Count a recording that an earlier run has done."""
        self.n_skipped += 1

    def tell(self, name: str, outcome: Report | str) -> None:
        """Tell what was done, or why it failed."""
        if isinstance(outcome, str):
            self._tell_failure(name, outcome)
        else:
            self._tell_report(outcome)

    def summarize(self) -> None:
        """Tell the sums of a run of more than one recording, or that there was nothing to do."""
        n_recordings = self._n_told()
        if n_recordings < 2 and not self.n_skipped:
            return
        hours, wall_hours = (s / 3600 for s in (self._duration_s, self._elapsed_s()))
        say(
            f"{self._n_done} of {n_recordings} recordings enhanced, {self.n_failed} failed, "
            f"{self.n_skipped} skipped: {hours:.4f} hours of audio in {wall_hours:.4f} hours, "
            f"{hours / wall_hours:.3g} hours per hour"
        )

    def _n_told(self) -> int:
        return self._n_done + self.n_failed + self.n_skipped

    def _elapsed_s(self) -> float:
        return time.perf_counter() - self._started

    def _tell_report(self, report: Report) -> None:
        self._n_done += 1
        self._duration_s += report.duration_s
        if self._as_json:
            typer.echo(json.dumps(asdict(report)), file=self._stdout)
            return
        clipped = f", {report.clipped} samples clipped" if report.clipped else ""
        say(
            f"{report.input} -> {report.output} ({report.duration_s:.2f} s of audio in "
            f"{report.seconds:.2f} s on {report.provider}, real-time factor {report.rtf:.3f}"
            f"{clipped})"
        )

    def _tell_failure(self, name: str, message: str) -> None:
        self.n_failed += 1
        say_error(message, about="" if name == STREAM else name)
        if self._as_json:
            typer.echo(json.dumps({"input": name, "error": message}), file=self._stdout)
