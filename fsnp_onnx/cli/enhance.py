"""fsnp-enhance: noisy sound files in, enhanced sound files out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from fsnp_onnx.batch.cluster import Cluster
from fsnp_onnx.batch.files import enhance_files
from fsnp_onnx.cli.console import VersionOption, flag, new_app, run
from fsnp_onnx.cli.live import check_live, enhance_live
from fsnp_onnx.cli.pipe import PIPE, enhance_pipe, pipe_ends
from fsnp_onnx.cli.reporter import SUMMARY_START, Reporter
from fsnp_onnx.errors import ArgumentError, OutputError
from fsnp_onnx.runtime.bundled import model_path
from fsnp_onnx.runtime.enhancer import Enhancer
from fsnp_onnx.runtime.outputs import EXISTS, same_file
from fsnp_onnx.runtime.pcm import SampleFormat

app = new_app()

_signal = partial(typer.Option, rich_help_panel="Signal")
_live = partial(typer.Option, rich_help_panel="Live, with a causal stream file")
_output = partial(typer.Option, rich_help_panel="Other outputs")
_many = partial(typer.Option, rich_help_panel="Many recordings")
_where = partial(typer.Option, rich_help_panel="Where it runs")
_EXAMPLES = """Examples:
fsnp-enhance talk.wav                     writes talk.enhanced.wav
fsnp-enhance talk.mp3 -o clean.flac       also converts the container
fsnp-enhance recordings -o clean/ -r      keeps the subfolders
fsnp-enhance - < talk.wav > clean.wav     reads standard input, writes standard output
fsnp-enhance corpus -o clean/ -r --jobs 8 --journal clean.jsonl --resume
fsnp-enhance talk.wav --strength 0.8 --residual noise.wav --plot talk.png
fsnp-enhance stereo.wav --channels linked --attenuation-limit 20
arecord -t raw -f S16_LE -r 48000 | fsnp-enhance --live --rate 48000 | aplay -t raw -f S16_LE -r 48000""".replace(
    "\n", "\n\n"
)  # in rich text a single line end is a space


@app.command(epilog=_EXAMPLES)
def enhance(  # noqa: PLR0913 - one parameter for each option
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT",
            help="Sound files, folders, URLs such as s3://bucket/talks, or - for standard input.",
        ),
    ] = None,
    *,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE|DIR",
            help="A file. A folder if it exists as one, ends in / or there are several inputs. "
            "- is WAV on standard output. Default: NAME.enhanced.EXT beside the input.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "-m",
            "--model",
            metavar="NAME|FILE",
            help="default or live, the bundled models, or an exported file. Default: default, with "
            "--live live.",
        ),
    ] = None,
    recursive: Annotated[
        bool, flag("--recursive", "-r", help="Search subfolders that are not hidden.")
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option(
            "-j",
            "--jobs",
            help="Recordings at a time, each in its own process. Default: 1; with ray: as many as the "
            "cluster can run.",
        ),
    ] = None,
    force: Annotated[bool, flag("--force", "-f", help="Replace existing outputs.")] = False,
    strict: Annotated[
        bool, flag("--strict", help="Refuse truncated recordings. Default: warn.")
    ] = False,
    strength: Annotated[
        float,
        _signal(
            metavar="0..1",
            help="How much of the noise to remove, from 0 (the output is the input) to 1.",
        ),
    ] = 1.0,
    attenuation_limit: Annotated[
        float | None,
        _signal(metavar="DB", help="Largest noise reduction in dB (0 or more). Default: no limit."),
    ] = None,
    channels: Annotated[
        str,
        _signal(
            metavar="each|linked|N",
            help="each: every channel by itself. linked: one mask for all, so that a stereo "
            "image does not move. N with --live: how many come in. Default: each, with --live 1.",
        ),
    ] = "each",
    live: Annotated[
        bool,
        _live(
            "--live",
            metavar="",
            help="Read raw samples from standard input and write enhanced ones as they come.",
        ),
    ] = False,
    rate: Annotated[
        float | None, _live(metavar="HZ", help="Sample rate of both. Default: the model's.")
    ] = None,
    sample_format: Annotated[
        SampleFormat | None,
        _live("--format", help="Raw samples, interleaved. Default: s16le."),
    ] = None,
    residual: Annotated[
        Path | None,
        _output(
            metavar="FILE", help="Write what was removed, input minus output (for one recording)."
        ),
    ] = None,
    plot: Annotated[
        Path | None, _output(metavar="PNG", help="Draw both spectrograms (for one recording).")
    ] = None,
    as_json: Annotated[
        bool, _output("--json", metavar="", help="Print one JSON object per recording.")
    ] = False,
    summary: Annotated[
        Path | None,
        _output(metavar="FILE.csv", help="Write a table at the end, one row per recording."),
    ] = None,
    manifest: Annotated[
        Path | None,
        _many(
            metavar="FILE",
            help="Table (.csv or .jsonl) with the columns input and output, in place of INPUT.",
        ),
    ] = None,
    journal: Annotated[
        Path | None,
        _many(metavar="FILE.jsonl", help="Record each step of each recording."),
    ] = None,
    resume: Annotated[
        bool,
        _many(
            "--resume",
            metavar="",
            help="Continue the run in --journal. Skip finished recordings.",
        ),
    ] = False,
    provider: Annotated[
        Literal["auto", "cpu", "cuda"],
        _where(help="auto: CUDA if it starts, else CPU. cuda: fail if it does not start."),
    ] = "auto",
    threads: Annotated[
        int | None,
        _where(
            help="CPU threads of each job. Default: all this process may use, shared out; with --live 1."
        ),
    ] = None,
    device_id: Annotated[int, _where(help="Number of the CUDA device.")] = 0,
    engine: Annotated[
        Literal["local", "ray"], _where(help="This machine or a Ray cluster.")
    ] = "local",
    ray_address: Annotated[
        str | None,
        _where(
            metavar="ADDRESS",
            help="Address of a running cluster. Default: RAY_ADDRESS, or start one here.",
        ),
    ] = None,
    gpus: Annotated[
        float | None,
        _where(help="Share of a GPU that each job takes with ray and cuda. Default: 1."),
    ] = None,
    version: VersionOption = False,  # noqa: ARG001 - its callback ends the command
) -> None:
    """Remove noise from speech.

    Container, coding, sample rate, channels, length and level are kept.
    """
    cluster = _cluster(engine, provider, ray_address, gpus)
    names = [*(inputs or []), output]
    on: dict[str, Any] = {"provider": provider, "threads": threads, "device_id": device_id}
    if live:
        for_files: dict[str, Any] = {
            "attenuation_limit_db": attenuation_limit,
            "cluster": cluster,
            "force": force,
            "jobs": jobs,
            "journal": journal,
            "json": as_json,
            "manifest": manifest,
            "plot": plot,
            "recursive": recursive,
            "residual": residual,
            "resume": resume,
            "strict": strict,
            "summary": summary,
        }
        check_live(names, for_files)
        n_channels = 1 if channels == "each" else channels
        on["threads"] = 1 if threads is None else threads  # more spin between the chunks
        enhance_live(
            Enhancer("live" if model is None else model, **on),
            rate,
            n_channels,
            sample_format or "s16le",
            strength,
        )
        return
    for argument, value in (("rate", rate), ("format", sample_format)):
        if value is not None:
            raise ArgumentError(argument, f"needs --live; files say their {argument} themselves")
    if summary:
        others = [*names, manifest, journal, model and model_path(model), plot, residual]
        _check_summary(summary, others, may_replace=force or resume)
    reporter = Reporter(as_json=as_json)
    how: dict[str, Any] = {
        "attenuation_limit_db": attenuation_limit,
        "strength": strength,
        "channels": channels,
        "plot": plot,
        "residual": residual,
        "strict": strict,
        "force": force,
    }
    with reporter.progress():
        if PIPE in names:
            for_files = {
                "manifest": manifest,
                "cluster": cluster,
                "journal": journal,
                "resume": resume,
            }
            source, target = pipe_ends(inputs or [], output, for_files, as_json=as_json)
            results = enhance_pipe(Enhancer(model, **on), source, target, how)
        else:
            results = enhance_files(
                inputs or (),
                output,
                manifest=manifest,
                model=model,
                recursive=recursive,
                jobs=jobs,
                cluster=cluster,
                journal=journal,
                resume=resume,
                on_progress=reporter.advance,
                on_passed_over=reporter.pass_over,
                **on,
                **how,
            )
        with closing(results), reporter.summary(summary):
            for result in results:
                reporter.report(result)
    reporter.summarize()
    if reporter.n_failed:
        raise typer.Exit(1)


main = partial(run, app)


def _cluster(
    engine: str, provider: str, ray_address: str | None, gpus: float | None
) -> Cluster | None:
    if engine != "ray" and ray_address:
        raise ArgumentError("ray_address", "needs --engine ray")
    if gpus is not None and (engine, provider) != ("ray", "cuda"):
        raise ArgumentError("gpus", "needs --engine ray and --provider cuda")
    return Cluster(ray_address, 1.0 if gpus is None else gpus) if engine == "ray" else None


def _check_summary(
    summary: Path, others: Sequence[str | Path | None], *, may_replace: bool
) -> None:
    if summary.suffix != ".csv":
        raise ArgumentError("summary", f"{summary} does not end in .csv")
    if any(other and same_file(summary, Path(other)) for other in others):
        raise ArgumentError("summary", f"{summary} is another file of this run; give a new one")
    if os.path.lexists(summary):
        if not may_replace:
            raise OutputError(f"{summary} {EXISTS}")
        with summary.open("rb") as file:
            if file.read(len(SUMMARY_START)) != SUMMARY_START:
                raise OutputError(f"{summary} is not the summary of a run; give another file")
