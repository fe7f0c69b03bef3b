"""enhance_files: many recordings in one call, each with its own result."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsnp_onnx.batch.cluster import Cluster, enhance_on_cluster, require_ray
from fsnp_onnx.batch.inputs import OnPassedOver, add_inputs, add_manifest, given_name
from fsnp_onnx.batch.jobs import Job, Plan
from fsnp_onnx.batch.worker import Failed, Settings, enhance_job
from fsnp_onnx.errors import ArgumentError, FsnpError, OutputError
from fsnp_onnx.runtime.arguments import Channels, SignalOptions, check_provider, check_signal
from fsnp_onnx.runtime.bundled import model_path
from fsnp_onnx.runtime.cpus import available_cpus
from fsnp_onnx.runtime.enhancer import Enhancer
from fsnp_onnx.runtime.ort import Provider
from fsnp_onnx.runtime.outputs import same_file
from fsnp_onnx.runtime.plot import check_plot
from fsnp_onnx.runtime.recording import Done

if TYPE_CHECKING:
    from fsnp_onnx.batch.journal import Journal

Name = str | os.PathLike[str]
Engine = Callable[[Iterator[Job | Done | Failed]], Generator[Done | Failed]]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is, when the work on a recording begins and when it has ended.

    Attributes:
        input: The recording that begins or has ended.
        n_finished: Recordings that have ended, well or not.
        n_total: Recordings of the run.
    """

    input: str
    n_finished: int
    n_total: int


def enhance_files(  # noqa: PLR0913 - one argument for each choice
    inputs: Name | Iterable[Name] = (),
    output: Name | None = None,
    *,
    manifest: Name | None = None,
    model: Name | bytes | None = None,
    provider: Provider = "auto",
    threads: int | None = None,
    device_id: int = 0,
    attenuation_limit_db: float | None = None,
    strength: float = 1.0,
    channels: Channels = "each",
    plot: Name | None = None,
    residual: Name | None = None,
    strict: bool = False,
    recursive: bool = False,
    jobs: int | None = None,
    cluster: Cluster | None = None,
    journal: Name | None = None,
    resume: bool = False,
    force: bool = False,
    on_progress: Callable[[Progress], object] | None = None,
    on_passed_over: OnPassedOver = lambda *_: None,
) -> Generator[Done | Failed]:
    """Enhance files, folders and URLs, and yield one result for each recording.

    The call checks all arguments and plans all recordings; the work begins with the first result
    that is asked for. One bad recording does not stop the others. Closing the iterator ends the
    work and removes partial files.

    Container, coding, sample rate, channels, length and level of a recording are kept; only the
    ending of an output changes its container.

    Args:
        inputs: Sound files, folders, or URLs such as s3://bucket/talks (extra ``[urls]``).
        output: A file for one input. A folder if it exists as one, ends in "/", an input is a
            folder, or there are several inputs; the subfolders of an input are kept. Default:
            NAME.enhanced.EXT beside each input.
        manifest: Table (.csv or .jsonl) with the columns input and output, in place of both.
        model: As for `Enhancer`.
        provider: "auto" (CUDA where it starts, else CPU), "cpu" or "cuda". On a cluster, "auto" is
            "cpu".
        threads: CPU threads of each job, 1 or more. Default: all CPUs that this process may use,
            shared out; on a cluster 1.
        device_id: Number of the CUDA device on this machine.
        attenuation_limit_db: No bin of a spectrum is attenuated by more, 0 dB or more; None for no
            limit.
        strength: How much of the noise is removed, 0 (the output is the input) to 1.
        channels: "each" enhances every channel by itself; "linked" applies one mask, from the mean of
            the channels, to all, so that a stereo image does not move (see `Enhancer.enhance`).
        plot: PNG file for both spectrograms of one recording (extra ``[plot]``).
        residual: Sound file for what was removed from one recording, input minus output.
        strict: Truncated recordings fail. Default: what is there is enhanced, and ``truncated`` and
            ``warning`` of the result tell.
        recursive: Search subfolders that are not hidden.
        jobs: Recordings at a time, each in a process with a model of its own; a script that asks for
            2 or more does so below ``if __name__ == "__main__":``. Default: 1, in this process; on
            a cluster as many as it has room for.
        cluster: Run on Ray (extra ``[ray]``) in place of this machine.
        journal: JSON Lines file (.jsonl) that records each step of each recording.
        resume: Continue the run in the journal. Finished recordings are yielded with ``skipped=True``.
        force: Replace existing outputs; inputs and the model are never replaced.
        on_progress: Called with a `Progress` when a recording begins and when it has ended.
        on_passed_over: Called with name and reason of each file of a folder that is not enhanced.

    Returns:
        An iterator over results, in the order in which the recordings end.

    Raises:
        ArgumentError: Arguments are out of range or in conflict.
        MissingFileError: Model, manifest or journal cannot be read.
        ManifestError: The manifest is malformed.
        JournalError: The journal is malformed, or of a run with other settings.
        OutputError: Two inputs have one output, or a journal exists or is in use.
        ModelFileError: The model cannot be opened.
        ProviderError: The provider does not start; with "cuda" and several jobs, or on a cluster,
            raised while iterating.
        InstallError: A package is missing.
        WorkerError: Processes or the cluster cannot work; raised while iterating.

    Example:
        >>> import tempfile
        >>> from fsnp_onnx import Done, enhance_files
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for result in enhance_files("samples", folder, model="tests/data/unity.onnx"):
        ...         if isinstance(result, Done) and "hum" in result.input:
        ...             print(result.input, result.sample_rate, result.clipped)
        samples/hum_5db_noisy.flac 16000 0
    """
    given = [inputs] if isinstance(inputs, str | os.PathLike) else inputs
    names = [given_name("inputs", name) for name in given]
    target = None if output is None else given_name("output", output)
    files = {"manifest": manifest, "plot": plot, "residual": residual, "journal": journal}
    table, picture, removed, log = (
        None if value is None else Path(given_name(argument, value))
        for argument, value in files.items()
    )
    if not isinstance(model, bytes):
        if model is not None:
            given_name("model", model)
        model = model_path(model)
    signal = SignalOptions(
        attenuation_limit_db=attenuation_limit_db, strength=strength, channels=channels
    )
    settings = Settings(model, provider, threads, device_id, signal, picture, removed, strict)
    _check(settings, jobs, cluster)
    if resume and log is None:
        raise ArgumentError("resume", "needs a journal, which records what is finished")
    with ExitStack() as stack:
        kept = [str(path) for path in (model, table) if isinstance(path, Path)]
        plan = stack.enter_context(closing(Plan(kept)))
        _fill(plan, names, target, table, recursive, on_passed_over)
        _check_beside(settings, plan, log, force=force)
        engine = _engine(settings, jobs, cluster, n_jobs=len(plan))
        book = None
        if log:
            from fsnp_onnx.batch.journal import Journal  # noqa: PLC0415 - slow, by its lock

            plan.require_free(str(log), force=True)
            book = Journal(log, settings, resume=resume, force=force)
            stack.enter_context(closing(book))
        run = _Run(plan, book, force, on_progress, n_total=len(plan) + len(plan.failed))
        longest_first = cluster is not None or (jobs or 1) > 1
        results = run.results(engine, stack.pop_all(), longest_first=longest_first)
    next(results)  # begun, so that closing it closes what it holds
    return results


def _check(settings: Settings, jobs: int | None, cluster: Cluster | None) -> None:
    if jobs is not None and not (type(jobs) is int and jobs >= 1):
        raise ArgumentError("jobs", f"is {jobs!r}; give 1 or more")
    check_provider(settings.provider, settings.threads, settings.device_id)
    check_signal(settings.signal)
    if cluster and settings.device_id:
        raise ArgumentError("device_id", "applies only to this machine; Ray gives each job its GPU")
    for argument in settings.beside() if cluster else ():
        raise ArgumentError(argument, "is written on this machine only; leave the cluster out")


def _fill(
    plan: Plan,
    names: list[str],
    output: str | None,
    manifest: Path | None,
    recursive: bool,  # noqa: FBT001 - private
    on_passed_over: OnPassedOver,
) -> None:
    if manifest:
        if names or output is not None or recursive:
            problem = "names all inputs and outputs; leave inputs, output and recursive out"
            raise ArgumentError("manifest", problem)
        add_manifest(plan, manifest)
    elif names:
        add_inputs(plan, names, output, recursive=recursive, on_passed_over=on_passed_over)
    else:
        raise ArgumentError("inputs", "is missing; give sound files, folders or a manifest")


def _check_beside(settings: Settings, plan: Plan, journal: Path | None, *, force: bool) -> None:
    others = [journal] if journal else []
    for argument, path in settings.beside().items():
        if len(plan) > 1:
            raise ArgumentError(argument, f"is for one recording, not {len(plan)}")
        plan.require_free(str(path), force=force)
        others += [Path(job.target) for job in plan.jobs(longest_first=False)]
        if any(same_file(path, other) for other in others):
            problem = f"is another output of this run; give another file for the {argument}"
            raise OutputError(f"{path} {problem}")
        others.append(path)
    if settings.plot:
        check_plot(settings.plot)


def _engine(
    settings: Settings, jobs: int | None, cluster: Cluster | None, *, n_jobs: int
) -> Engine:
    """Return what turns jobs into results, with a model that is known to open."""
    if cluster:
        replace(settings, provider="cpu").open()
        require_ray()
        return partial(enhance_on_cluster, settings=settings, cluster=cluster, n_actors=jobs)
    n_processes = max(1, min(jobs or 1, n_jobs))
    if settings.threads is None:
        settings = replace(settings, threads=max(1, available_cpus()[0] // n_processes))
    if n_processes == 1:
        return partial(_enhance_here, settings=settings, enhancer=settings.open())
    from fsnp_onnx.batch.processes import enhance_in_processes  # noqa: PLC0415 - slow to import

    replace(settings, provider="cpu").open()  # which takes no GPU
    return partial(enhance_in_processes, settings=settings, n_processes=n_processes)


def _enhance_here(
    items: Iterator[Job | Done | Failed], settings: Settings, enhancer: Enhancer
) -> Generator[Done | Failed]:
    """Yield the result of each recording, enhanced one after the other in this process."""
    for item in items:
        yield enhance_job(item, enhancer, settings) if isinstance(item, Job) else item


@dataclass(slots=True)
class _Run:
    """The recordings of a plan through an engine, recorded and reported one by one."""

    plan: Plan
    journal: Journal | None
    force: bool
    on_progress: Callable[[Progress], object] | None
    n_total: int
    n_finished: int = 0

    def results(
        self, engine: Engine, resources: ExitStack, *, longest_first: bool
    ) -> Generator[Any]:
        """Yield None once, then the result of each recording."""
        with resources:
            yield None
            with closing(engine(self._items(longest_first=longest_first))) as results:
                for result in results:
                    if self.journal and not (isinstance(result, Done) and result.skipped):
                        self.journal.finish(result)
                    self.n_finished += 1
                    self._report(result.input)
                    yield result

    def _items(self, *, longest_first: bool) -> Iterator[Job | Done | Failed]:
        """Yield the recordings that are still to be enhanced, and the results of all others."""
        for name, error in self.plan.failed.items():
            yield Failed(name, None, error)
        for job in self.plan.jobs(longest_first=longest_first):
            if known := self._known_result(job):
                yield known
                continue
            self._report(job.source)
            if self.journal:
                self.journal.begin(job)
            yield job

    def _known_result(self, job: Job) -> Done | Failed | None:
        try:
            if self.journal and (done := self.journal.done(job)):
                return done
            may_replace = self.force or bool(self.journal and self.journal.is_own(job))
            self.plan.require_free(job.target, job.source, force=may_replace)
        except (FsnpError, OSError) as error:  # the journal keeps its row about the output
            return Failed(job.source, None, error)
        return None

    def _report(self, name: str) -> None:
        if self.on_progress:
            self.on_progress(Progress(name, self.n_finished, self.n_total))
