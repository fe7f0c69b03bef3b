"""A run: the recordings of a plan through an engine, told and recorded one by one."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass

from fsnp_onnx.batch.journal import Results
from fsnp_onnx.batch.plan import Job, Plan, require_free
from fsnp_onnx.batch.recording import Report, Settings, enhance_recording
from fsnp_onnx.cli.reporter import Reporter
from fsnp_onnx.errors import FsnpError, one_line

Outcomes = Generator[tuple[Job, Report | str]]
Engine = Callable[[Iterator[Job]], Outcomes]


@dataclass(frozen=True, slots=True)
class Run:
    """All of a run but the engine.

    Attributes:
        plan: What is to be enhanced.
        model: Path of the model, which no output replaces.
        reporter: Hears of every recording.
        record: Where each step is noted, if anywhere.
        force: Whether existing outputs may be replaced.
    """

    plan: Plan
    model: str
    reporter: Reporter
    record: Results | None
    force: bool

    def enhance(self, engine: Engine, *, longest_first: bool) -> None:
        """Enhance all recordings."""
        with self.reporter.progress(len(self.plan)):
            for name, error in self.plan.failed.items():
                self.reporter.tell(name, one_line(error))
            with closing(engine(self._ready_jobs(longest_first=longest_first))) as outcomes:
                for job, outcome in outcomes:
                    self._tell(job, outcome)
            if self.record:  # only now, as a run that does not start leaves it as it was
                for name, error in self.plan.failed.items():
                    self.record.fail(name, one_line(error))
        self.reporter.summarize()

    def _ready_jobs(self, *, longest_first: bool) -> Iterator[Job]:
        """Yield the recordings that are still to be enhanced and whose outputs may be written."""
        for job in self.plan.jobs(longest_first=longest_first):
            try:
                if self.record and self.record.is_done(job):
                    self.reporter.skip()
                    continue
                self.reporter.begin(job.source_name)
                self._require_free(job)
            except (FsnpError, OSError) as error:
                self.reporter.tell(job.source_name, one_line(error))
                if self.record:  # without the output, whose state an earlier run has noted
                    self.record.fail(job.source_name, one_line(error))
                continue
            if self.record:
                self.record.begin(job)
            yield job

    def _require_free(self, job: Job) -> None:
        if job.target is None:
            return
        is_own = self.record is not None and self.record.is_own(job)
        kept = [self.model, *filter(None, [job.source])]
        require_free(job.target, self.plan, kept, force=self.force or is_own)

    def _tell(self, job: Job, outcome: Report | str) -> None:
        if self.record:
            self.record.finish(job, outcome)
        self.reporter.tell(job.source_name, outcome)


def enhance_here(jobs: Iterator[Job], settings: Settings) -> Outcomes:
    """Yield what came of each recording, enhanced one after the other in this process."""
    enhancer = settings.open()
    for job in jobs:
        yield job, enhance_recording(job, enhancer, settings)
