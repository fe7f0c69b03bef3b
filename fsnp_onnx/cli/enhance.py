"""fsnp-enhance: noisy sound files in, enhanced sound files out."""

from __future__ import annotations

import io
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer
from numpy.typing import NDArray

from fsnp_onnx.cli.console import (
    VersionOption,
    interruptible,
    new_app,
    one_line,
    run,
    say,
    say_error,
)
from fsnp_onnx.cli.plan import STREAM, Job, plan_jobs, require_free, require_free_plot
from fsnp_onnx.cli.plot import require_matplotlib, save_spectrograms
from fsnp_onnx.errors import FsnpError
from fsnp_onnx.runtime import audio
from fsnp_onnx.runtime.enhancer import DEFAULT_MODEL, Enhancer

app = new_app()

_EXAMPLES = """\b
Examples:
  fsnp-enhance talk.wav                   writes talk.enhanced.wav
  fsnp-enhance talk.mp3 -o clean.flac     converts the container, too
  fsnp-enhance recordings -o clean/ -r    keeps the folders below
  fsnp-enhance - < talk.wav > clean.wav   works in a pipe
  fsnp-enhance talk.wav --attenuation-limit 20 --plot talk.png
"""


@dataclass(frozen=True, slots=True)
class Report:
    """What --json prints for one recording.

    Attributes:
        input: The noisy file, "-" for standard input.
        output: The enhanced file, "-" for standard output.
        seconds: Time that the enhancement took.
        rtf: Real-time factor, that time per second of audio.
        provider: Where the model ran, "cpu" or "cuda".
        sample_rate: Of both files in Hz.
        channels: Of both files.
        duration_s: Length of the recording.
        clipped: Number of samples beyond full scale that were clipped.
    """

    input: str
    output: str
    seconds: float
    rtf: float
    provider: str
    sample_rate: int
    channels: int
    duration_s: float
    clipped: int


@dataclass(frozen=True, slots=True)
class Options:
    """What all recordings of a run share."""

    attenuation_limit_db: float | None
    plot: Path | None
    force: bool


@app.command(epilog=_EXAMPLES)
def enhance(  # noqa: PLR0913 - one parameter for each option
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT", help="Sound files, folders, or - for a WAV on standard input."
        ),
    ],
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
    device_id: Annotated[int, typer.Option(min=0, help="Number of the CUDA device.")] = 0,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads. Default: all this process may use.")
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
    version: VersionOption = False,  # noqa: ARG001 - its callback ends the command
) -> None:
    """Remove noise from speech.

    Container, coding, sample rate, channels, length and level are kept.
    """
    jobs, failed = plan_jobs(inputs, output, recursive=recursive)
    _check_usage(jobs, plot=plot, as_json=as_json)
    sources = [*(job.source for job in jobs if job.source), model or DEFAULT_MODEL]
    if plot:
        require_matplotlib()
        require_free_plot(plot, jobs, sources, force=force)
    enhancer = Enhancer(model, provider, threads, device_id)
    options = Options(attenuation_limit, plot, force)
    for name, error in failed.items():
        _tell_failure(name, error, as_json=as_json)
    n_failed = len(failed) + _enhance_all(jobs, enhancer, options, sources, as_json=as_json)
    if n_failed:
        raise typer.Exit(1)


def main() -> None:
    """Entry point of the command."""
    run(app)


def _enhance_all(
    jobs: list[Job], enhancer: Enhancer, options: Options, sources: list[Path], *, as_json: bool
) -> int:
    """Enhance one after the other and return how many failed."""
    n_failed = 0
    on_terminal = sys.stderr is not None and sys.stderr.isatty()
    with _progress(len(jobs), shown=on_terminal and not as_json) as announce:
        for job in jobs:
            announce(job.source_name)
            try:
                report = _enhance_one(job, enhancer, options, sources)
            except BrokenPipeError:
                raise  # nobody listens any more: not an error of this recording
            except (FsnpError, OSError, MemoryError) as error:
                n_failed += 1
                _tell_failure(job.source_name, error, as_json=as_json)
            else:
                _tell(report, as_json=as_json)
    return n_failed


def _check_usage(jobs: list[Job], *, plot: Path | None, as_json: bool) -> None:
    if plot and len(jobs) > 1:
        raise typer.BadParameter(f"draws one recording, not {len(jobs)}", param_hint="'--plot'")
    if any(job.source is None for job in jobs) and sys.stdin is None:
        raise typer.BadParameter("standard input is closed", param_hint="'-'")
    if any(job.target is None for job in jobs):
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


def _enhance_one(job: Job, enhancer: Enhancer, options: Options, sources: list[Path]) -> Report:
    if job.target:
        require_free(job.target, sources, force=options.force)
    noisy, audio_format = _read(job.source)
    target_format = _target_format(job, audio_format)
    audio.require_writable(target_format)
    started = time.perf_counter()
    enhanced = interruptible(
        lambda: enhancer.enhance(noisy, audio_format.sample_rate, options.attenuation_limit_db)
    )
    seconds = time.perf_counter() - started
    clipped = _write(job.target, enhanced, target_format)
    if options.plot:
        save_spectrograms(noisy, enhanced, audio_format.sample_rate, options.plot)
    duration_s = len(noisy) / audio_format.sample_rate
    return Report(
        input=job.source_name,
        output=job.target_name,
        seconds=round(seconds, 4),
        rtf=round(seconds / duration_s, 4),
        provider=enhancer.provider,
        sample_rate=audio_format.sample_rate,
        channels=audio_format.channels,
        duration_s=round(duration_s, 4),
        clipped=clipped,
    )


def _read(source: Path | None) -> tuple[NDArray[np.float32], audio.AudioFormat]:
    if source:
        return audio.read(source)
    with tempfile.NamedTemporaryFile(prefix="fsnp-", suffix=".wav") as file:  # seekable
        shutil.copyfileobj(sys.stdin.buffer, file)
        file.flush()
        return audio.read(Path(file.name), name="standard input")


def _target_format(job: Job, source_format: audio.AudioFormat) -> audio.AudioFormat:
    """Keep the source's format unless the target's name asks for another."""
    if job.target is None:
        return audio.format_for(Path("stdout.wav"), source_format)
    if job.source and job.source.suffix.lower() == job.target.suffix.lower():
        return source_format
    return audio.format_for(job.target, source_format)


def _write(
    target: Path | None, samples: NDArray[np.float32], audio_format: audio.AudioFormat
) -> int:
    if target:
        return audio.write(target, samples, audio_format)
    buffer = io.BytesIO()  # a WAV header is completed at the end, which needs a seek
    clipped = audio.write(buffer, samples, audio_format)
    with open(sys.stdout.fileno(), "wb", closefd=False) as stdout:
        stdout.write(buffer.getbuffer())  # whole, even where sys.stdout itself is not buffered
    return clipped


def _tell(report: Report, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(asdict(report)))
        return
    clipped = f", {report.clipped} samples clipped" if report.clipped else ""
    say(
        f"{report.input} -> {report.output} ({report.duration_s:.2f} s of audio in "
        f"{report.seconds:.2f} s on {report.provider}, real-time factor {report.rtf:.3f}{clipped})"
    )


def _tell_failure(name: str, error: Exception, *, as_json: bool) -> None:
    say_error(error, about="" if name == STREAM else name)
    if as_json:
        typer.echo(json.dumps({"input": name, "error": one_line(error)}))


@contextmanager
def _progress(n_jobs: int, *, shown: bool) -> Iterator[Callable[[str], None]]:
    """Show a bar while the block runs; it calls what it gets with each recording it begins."""
    if not shown:
        yield lambda _: None
        return
    from rich.console import Console  # noqa: PLC0415 - slow to import, needed on terminals only
    from rich.progress import Progress, SpinnerColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (SpinnerColumn(), *Progress.get_default_columns()[:3], TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, redirect_stdout=False, transient=True) as bar:
        task = bar.add_task("", total=n_jobs)
        n_begun = 0

        def announce(name: str) -> None:
            nonlocal n_begun
            bar.update(task, description=name, completed=n_begun)
            n_begun += 1

        yield announce
