"""Which input is written to which output, decided before any work is done."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import typer

from fsnp_onnx.errors import AudioError, OutputError
from fsnp_onnx.runtime.audio import AUDIO_EXTENSIONS

STREAM = "-"


@dataclass(frozen=True, slots=True)
class Job:
    """One recording to enhance.

    Attributes:
        source: The noisy file, None for standard input.
        target: The enhanced file, None for WAV on standard output.
    """

    source: Path | None
    target: Path | None

    @property
    def source_name(self) -> str:
        """The input as the user knows it."""
        return str(self.source or STREAM)

    @property
    def target_name(self) -> str:
        """The output as the user knows it."""
        return str(self.target or STREAM)


def plan_jobs(
    inputs: list[str], output: str | None, *, recursive: bool
) -> tuple[list[Job], dict[str, Exception]]:
    """Return the jobs of a command line and, by name, the folders that give none.

    Raises:
        typer.BadParameter: Inputs and output do not go together.
        OutputError: Two inputs would be written to one output.
    """
    failed: dict[str, Exception] = {}
    if "" in (*inputs, output):
        raise typer.BadParameter("a name is empty; is a shell variable not set?")
    into_folder = len(inputs) > 1 or any(Path(name).is_dir() for name in inputs)
    if STREAM in inputs or output == STREAM:
        jobs = [_stream_job(inputs, output, into_folder=into_folder)]
    elif output is not None and (into_folder or _names_folder(output)):
        jobs = []
        for name in inputs:
            try:
                jobs += _folder_jobs(name, Path(output), recursive=recursive)
            except (AudioError, OSError) as error:
                failed[name] = error
    else:
        jobs = [_file_job(Path(name), output) for name in inputs]
    _require_distinct_targets(jobs)
    return jobs, failed


def require_free(target: Path, sources: list[Path], *, force: bool) -> None:
    """Check that an output may be written.

    Raises:
        OutputError: It exists and ``force`` is not given, or it is one of the inputs or the model,
            be it under another name or through a link.
    """
    if any(same_file(path, target) for path in sources):
        raise OutputError(f"{target} is an input of this run or its model; give another output")
    if os.path.lexists(target) and not force:
        raise OutputError(f"{target} exists; use --force to replace it or give another output")


def require_free_plot(plot: Path, jobs: list[Job], sources: list[Path], *, force: bool) -> None:
    """Check that a picture may be written.

    Raises:
        OutputError: As for `require_free`, or it is an enhanced recording of this run.
    """
    require_free(plot, sources, force=force)
    if any(job.target and same_file(job.target, plot) for job in jobs):
        raise OutputError(f"{plot} is the enhanced recording; give another file for --plot")


def same_file(first: Path, second: Path) -> bool:
    """Whether two paths lead to one file, existing or not, through links of any kind."""
    if first.exists() and second.exists():
        return first.samefile(second)
    return os.path.realpath(first) == os.path.realpath(second)


def _stream_job(inputs: list[str], output: str | None, *, into_folder: bool) -> Job:
    if into_folder:
        raise typer.BadParameter("standard input and output take one recording", param_hint="'-'")
    (name,) = inputs
    source = None if name == STREAM else Path(name)
    if output in (None, STREAM):
        return Job(source, None)
    if _names_folder(str(output)):
        raise typer.BadParameter(
            "standard input needs a file name, not a folder", param_hint="'-o'"
        )
    return Job(source, Path(str(output)))


def _file_job(path: Path, output: str | None) -> Job:
    if path.is_dir():
        raise typer.BadParameter(f"{path} is a folder and needs -o FOLDER", param_hint="'INPUT...'")
    if output is not None:
        return Job(path, Path(output))
    return Job(path, path.with_name(f"{path.stem}.enhanced{path.suffix}"))


def _folder_jobs(name: str, folder: Path, *, recursive: bool) -> list[Job]:
    path = Path(name)
    if not path.is_dir():
        return [Job(path, folder / path.name)]
    own_output = folder.resolve() if folder.resolve() != path.resolve() else None
    sources = [
        file
        for file in sorted(path.rglob("*") if recursive else path.iterdir())
        if file.suffix.lower() in AUDIO_EXTENSIONS
        and not file.name.startswith(".")
        and file.is_file()
        and not (own_output and file.resolve().is_relative_to(own_output))
    ]
    if not sources:
        hint = "" if recursive else "; --recursive looks into the folders below"
        raise AudioError(f"{path} holds no sound files such as .wav, .flac, .ogg or .mp3{hint}")
    return [Job(file, folder / file.relative_to(path)) for file in sources]


def _names_folder(output: str) -> bool:
    return Path(output).is_dir() or output.endswith(("/", os.sep))


def _require_distinct_targets(jobs: list[Job]) -> None:
    sources: dict[Path, str] = {}
    for job in jobs:
        if job.target is None:
            continue
        target = job.target.resolve()
        if target in sources:
            raise OutputError(
                f"{sources[target]} and {job.source_name} would both be written to {job.target}; "
                "rename one or enhance them apart"
            )
        sources[target] = job.source_name
