"""fsnp-enhance: noisy sound files in, enhanced sound files out."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from fsnp_onnx.batch.inputs import add_inputs, add_manifest
from fsnp_onnx.batch.journal import Results
from fsnp_onnx.batch.lock import locked
from fsnp_onnx.batch.manifest import SUFFIXES
from fsnp_onnx.batch.plan import Plan, require_free
from fsnp_onnx.batch.processes import enhance_in_processes
from fsnp_onnx.batch.recording import Settings
from fsnp_onnx.batch.run import Engine, Run, enhance_here
from fsnp_onnx.cli.console import VersionOption, new_app, run
from fsnp_onnx.cli.reporter import Reporter
from fsnp_onnx.errors import OutputError
from fsnp_onnx.runtime.cpus import available_cpus
from fsnp_onnx.runtime.enhancer import DEFAULT_MODEL
from fsnp_onnx.runtime.plot import require_matplotlib

app = new_app()

_EXAMPLES = """\b
Examples:
  fsnp-enhance talk.wav                   writes talk.enhanced.wav
  fsnp-enhance talk.mp3 -o clean.flac     converts the container, too
  fsnp-enhance recordings -o clean/ -r    keeps the folders below
  fsnp-enhance - < talk.wav > clean.wav   works in a pipe
  fsnp-enhance corpus -o clean/ -r --jobs 8 --results clean.csv --resume
  fsnp-enhance talk.wav --attenuation-limit 20 --plot talk.png
"""


@app.command(epilog=_EXAMPLES)
def enhance(  # noqa: PLR0913 - one parameter for each option
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT...", help="Sound files, folders, or - for a WAV on standard input."
        ),
    ] = None,
    *,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE|DIR",
            help="File, or folder if it exists as one, ends in / or there are several inputs; "
            "- is WAV on standard output. Default: NAME.enhanced.EXT beside the input.",
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            "-m", "--model", help="File written by fsnp-export. Default: the bundled one."
        ),
    ] = None,
    provider: Annotated[
        Literal["auto", "cpu", "cuda"],
        typer.Option(help="Where to run; cuda is an error where CUDA does not start."),
    ] = "auto",
    device_id: Annotated[
        int | None, typer.Option(min=0, help="Number of the CUDA device. Default: 0.")
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, help="CPU threads of each job. Default: all this process may use, shared out."
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            "-j",
            "--jobs",
            min=1,
            help="Recordings at a time, a process for each. Default: 1; with ray all there is "
            "room for.",
        ),
    ] = None,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(help="Run on this machine or on the machines of a Ray cluster."),
    ] = "local",
    ray_address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Of a running cluster. Default: RAY_ADDRESS, or start one here."
        ),
    ] = None,
    gpus: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            max=1,
            help="Share of a GPU that each job takes with ray and cuda. Default: 1.",
        ),
    ] = None,
    attenuation_limit: Annotated[
        float | None,
        typer.Option(
            min=0, metavar="DB", help="Mix the noisy signal back: no bin is attenuated by more."
        ),
    ] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Look into the folders below, too.")
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="PNG", help="Draw both spectrograms (for one recording)."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per recording.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace existing outputs.")] = False,
    manifest: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Table (.csv or .jsonl) with the columns input and output, in place of INPUT.",
        ),
    ] = None,
    results: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Note each step of each recording in a table (.csv or .jsonl)."
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option(help="Go on with the run that --results tells of; skip what is done.")
    ] = False,
    version: VersionOption = False,  # noqa: ARG001 - its callback ends the command
) -> None:
    """Remove noise from speech.

    Container, coding, sample rate, channels, length and level are kept.
    """
    _check_tables(manifest, results, resume=resume)
    _check_engine(engine, provider, ray_address, gpus, device_id)
    model = model or DEFAULT_MODEL
    with _full_disk_is_one_line(), ExitStack() as stack:
        plan = stack.enter_context(closing(Plan()))
        _fill(plan, inputs or [], output, manifest, recursive=recursive)
        _check_usage(plan, plot=plot, as_json=as_json)
        if plot:
            require_matplotlib()
            _require_free_plot(plot, plan, model, force=force)
        settings = Settings(model, provider, threads or 1, device_id or 0, attenuation_limit, plot)
        n_processes = max(1, min(jobs or 1, len(plan)))
        if engine == "ray":
            work = _ray_engine(plan, settings, ray_address, jobs, gpus or 1.0)
        else:
            threads = threads or max(1, available_cpus()[0] // n_processes)
            work = _local_engine(replace(settings, threads=threads), n_processes)
        record = None
        if results:
            require_free(str(results), plan, [str(p) for p in (model, manifest) if p], force=True)
            stack.enter_context(locked(results))
            if not (force or resume) and results.exists() and results.stat().st_size:
                raise OutputError(
                    f"{results} exists; go on with --resume or replace it with --force"
                )
            record = Results(results, model, attenuation_limit, resume=resume)
            stack.enter_context(closing(record))
        reporter = Reporter(as_json=as_json)
        longest_first = engine == "ray" or n_processes > 1
        Run(plan, str(model), reporter, record, force).enhance(work, longest_first=longest_first)
    if reporter.n_failed:
        raise typer.Exit(1)


def main() -> None:
    """Entry point of the command."""
    run(app)


@contextmanager
def _full_disk_is_one_line() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise OutputError(
            f"the temporary folder cannot hold the list of recordings ({error}); "
            "give one with room in SQLITE_TMPDIR"
        ) from error


def _local_engine(settings: Settings, n_processes: int) -> Engine:
    if n_processes > 1:
        return partial(enhance_in_processes, settings=settings, n_processes=n_processes)
    return partial(enhance_here, settings=settings)


def _ray_engine(
    plan: Plan, settings: Settings, address: str | None, n_actors: int | None, gpus: float
) -> Engine:
    from fsnp_onnx.batch.cluster import Cluster, enhance_on_cluster  # noqa: PLC0415 - seldom used

    if settings.plot:
        raise typer.BadParameter("is drawn on this machine only", param_hint="'--plot'")
    if plan.has_stream():
        raise typer.BadParameter(
            "standard input and output stay on this machine", param_hint="'--engine'"
        )
    return partial(enhance_on_cluster, settings=settings, cluster=Cluster(address, n_actors, gpus))


def _fill(
    plan: Plan, inputs: list[str], output: str | None, manifest: Path | None, *, recursive: bool
) -> None:
    if manifest is None:
        if not inputs:
            raise typer.BadParameter("give sound files, folders or --manifest", param_hint="INPUT")
        add_inputs(plan, inputs, output, recursive=recursive)
        return
    if inputs or output or recursive:
        raise typer.BadParameter(
            "names all inputs and outputs; give no INPUT, -o or -r beside it",
            param_hint="'--manifest'",
        )
    add_manifest(plan, manifest)


def _check_engine(
    engine: str, provider: str, ray_address: str | None, gpus: float | None, device_id: int | None
) -> None:
    if engine == "ray":
        if device_id is not None:
            raise typer.BadParameter(
                "is of this machine alone; Ray gives each job its GPU", param_hint="'--device-id'"
            )
    elif ray_address:
        raise typer.BadParameter("needs --engine ray", param_hint="'--ray-address'")
    if gpus is not None and (engine, provider) != ("ray", "cuda"):
        raise typer.BadParameter("needs --engine ray and --provider cuda", param_hint="'--gpus'")


def _check_tables(manifest: Path | None, results: Path | None, *, resume: bool) -> None:
    for option, path in (("--manifest", manifest), ("--results", results)):
        if path and path.suffix not in SUFFIXES:
            raise typer.BadParameter(
                f"{path} ends neither in .csv nor in .jsonl", param_hint=option
            )
    if resume and not results:
        raise typer.BadParameter(
            "needs --results FILE, which tells what is done", param_hint="'--resume'"
        )


def _check_usage(plan: Plan, *, plot: Path | None, as_json: bool) -> None:
    if plot and len(plan) > 1:
        raise typer.BadParameter(f"draws one recording, not {len(plan)}", param_hint="'--plot'")
    if not plan.has_stream():
        return
    (job,) = plan.jobs(longest_first=False)
    if job.source is None and sys.stdin is None:
        raise typer.BadParameter("standard input is closed", param_hint="'-'")
    if job.target is not None:
        return
    if sys.stdout is None:
        raise typer.BadParameter("standard output is closed", param_hint="'-o'")
    if as_json:
        raise typer.BadParameter(
            "standard output carries the sound; write it to a file with -o FILE",
            param_hint="'--json'",
        )
    if sys.stdout.isatty():
        raise typer.BadParameter(
            "standard output is a terminal; redirect it or give -o FILE", param_hint="'-o'"
        )


def _require_free_plot(plot: Path, plan: Plan, model: Path, *, force: bool) -> None:
    require_free(str(plot), plan, [str(model)], force=force)
    if plan.is_output(str(plot)):
        raise OutputError(f"{plot} is the enhanced recording; give another file for --plot")
