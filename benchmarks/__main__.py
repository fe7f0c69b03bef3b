"""`python -m benchmarks NAME`: measure one thing, store the numbers, write the page."""

import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import machine
from benchmarks.report import write_report
from fsnp_onnx import FsnpError
from fsnp_onnx.runtime.bundled import DEFAULT_MODEL
from fsnp_onnx.runtime.cpus import available_cpus

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
RESULTS = Path(__file__).parent / "results"

Networks = Annotated[
    list[str], typer.Option("--network", help="published, default, or a checkpoint; repeatable")
]
Threads = Annotated[int, typer.Option(min=1, help="of every system")]
Seconds = Annotated[float, typer.Option(min=0.1, help="of audio")]
Repeats = Annotated[int, typer.Option(min=1, help="rounds; the systems take turns in each")]
Durations = Annotated[list[float], typer.Option(min=0.1, help="in seconds; repeatable")]
Measure = Callable[..., dict[str, Any]]
BOTH = ["published", "default"]


@app.callback()
def main(
    context: typer.Context,
    results: Annotated[Path, typer.Option(help="folder of the raw numbers")] = RESULTS,
) -> None:
    """Measure speed and memory. The page lies beside the folder of results and is named after it."""
    results.mkdir(parents=True, exist_ok=True)
    context.obj = results


@app.command()
def speed(
    context: typer.Context,
    network: Networks = BOTH,
    threads: Threads = 2,
    duration: Durations = [10.0, 60.0],  # noqa: B006 - typer copies it
    repeats: Repeats = 7,
) -> None:
    """Float32 and int8 against torch run eagerly."""
    from benchmarks.speed import measure

    per_network = _per_network(network, measure)
    _record(context, per_network, threads=threads, durations_s=duration, repeats=repeats)


@app.command()
def memory(
    context: typer.Context,
    network: Networks = BOTH,
    threads: Threads = 2,
    duration: Durations = [10.0, 60.0, 600.0, 3600.0],  # noqa: B006 - typer copies it
    torch_duration: Durations = [10.0, 60.0],  # noqa: B006
    repeats: Repeats = 3,
) -> None:
    """Peak memory against duration. The published size takes over 15 minutes for an hour."""
    from benchmarks.memory import measure

    durations = {"durations_s": duration, "torch_durations_s": torch_duration}
    per_network = _per_network(network, measure)
    _record(context, per_network, threads=threads, **durations, repeats=repeats)


@app.command()
def cold_start(
    context: typer.Context, network: Networks = BOTH, threads: Threads = 2, repeats: Repeats = 7
) -> None:
    """Import, load and one second of audio in a fresh process."""
    from benchmarks.startup import measure

    _record(context, _per_network(network, measure), threads=threads, repeats=repeats)


@app.command()
def gemm(
    context: typer.Context,
    network: Networks = BOTH,
    threads: Threads = 2,
    seconds: Seconds = 5.0,
    repeats: Repeats = 7,
) -> None:
    """The sub-band stage against its matrix multiplications alone."""
    from benchmarks.gemm import measure

    per_network = _per_network(network, measure)
    _record(context, per_network, threads=threads, seconds=seconds, repeats=repeats)


@app.command()
def scaling(
    context: typer.Context,
    network: Networks = BOTH,
    files: Annotated[int, typer.Option(min=1, help="in the folder that the jobs share")] = 16,
    file_seconds: Seconds = 20.0,
    seconds: Seconds = 10.0,
    repeats: Repeats = 3,
) -> None:
    """Over threads of one session, and over jobs of fsnp-enhance of one thread each."""
    from benchmarks.scaling import measure

    folder = {"files": files, "file_seconds": file_seconds}
    per_network = _per_network(network, measure)
    counts = steps(available_cpus()[0])
    _record(context, per_network, counts=counts, **folder, seconds=seconds, repeats=repeats)


@app.command()
def peers(
    context: typer.Context,
    model: Annotated[
        list[str] | None, typer.Option(metavar="NAME=MODEL.onnx", help="ours; repeatable")
    ] = None,
    seconds: Seconds = 10.0,
    repeats: Repeats = 5,
) -> None:
    """Other enhancers: real-time factor on one thread, beside their quality."""
    from benchmarks.peers import measure

    pairs = [text.rpartition("=") for text in model or [f"default={DEFAULT_MODEL}"]]
    models = {name or Path(path).stem: Path(path) for name, _, path in pairs}
    _record(context, partial(measure, models), seconds=seconds, repeats=repeats)


@app.command()
def live(
    context: typer.Context,
    minutes: Annotated[float, typer.Option(help="of audio for each stream")] = 10.0,
    hours: Annotated[float, typer.Option(help="of audio for the memory")] = 1.0,
) -> None:
    """Time of a hop of a live stream on one thread, and memory over an hour."""
    from benchmarks.live import measure

    _record(context, measure, minutes=minutes, hours=hours)


@app.command()
def serve(
    context: typer.Context,
    clients: Annotated[int, typer.Option(min=1, help="uploads at a time")] = 50,
    minutes: Annotated[float, typer.Option(help="of the uploads")] = 2.0,
    streams: Annotated[list[int], typer.Option(min=1, help="at a time; repeatable")] = [10, 20],  # noqa: B006
    stream_minutes: Annotated[float, typer.Option(help="of each number of streams")] = 5.0,
) -> None:
    """The service on loopback: statuses, lateness of streams in real time, memory. Prints the numbers."""
    from benchmarks.serve import measure

    settings = {"clients": clients, "minutes": minutes, "streams": streams}
    _record(context, measure, **settings, stream_minutes=stream_minutes)
    typer.echo((context.obj / "serve.json").read_text(encoding="utf-8"))


@app.command()
def profile(
    context: typer.Context,
    network: Networks = BOTH,
    threads: Threads = 2,
    seconds: Seconds = 10.0,
    repeats: Repeats = 5,
) -> None:
    """Where the time goes, by stage and operator."""
    from benchmarks.profile import measure

    per_network = _per_network(network, measure)
    _record(context, per_network, threads=threads, seconds=seconds, repeats=repeats)


@app.command()
def cuda_pack(
    folder: Annotated[Path, typer.Option(help="for the other machine")] = Path("build/cuda-check"),
    python: Annotated[
        list[str] | None, typer.Option(help="its version of Python, for the wheels; repeatable")
    ] = None,
    part_mb: Annotated[float, typer.Option(min=0.001, help="size of a part")] = 55.0,
) -> None:
    """Pack files, references and wheels for a machine that has a GPU and no network."""
    from benchmarks.cuda.pack import GOLDEN, bundled, cut, download, golden, write

    with tempfile.TemporaryDirectory() as exported:
        names = sorted(file.stem for file in GOLDEN.glob("*.npz"))
        write(folder, chain(golden(names, Path(exported)), bundled()))
    download(folder, python or [])
    for part in cut(folder, part_mb):
        typer.echo(f"wrote {part}")


@app.command()
def cuda_page(context: typer.Context) -> None:
    """Write the tables of docs/cuda.md from cuda.json among the results."""
    from benchmarks.cuda.page import PAGE, write_page

    write_page(context.obj / "cuda.json")
    typer.echo(f"wrote {PAGE}")


@app.command()
def report(context: typer.Context) -> None:
    """Write the page again from the raw numbers."""
    typer.echo(f"wrote {write_report(context.obj)}")


def steps(most: int) -> list[int]:
    """Return 1, 2, 4, ... up to a number, and that number."""
    return sorted({2**i for i in range(most.bit_length())} | {most})


def _per_network(names: list[str], measure: Measure) -> Measure:
    """Measure one network after the other."""

    def all_networks(**settings: Any) -> dict[str, Any]:
        from benchmarks.networks import prepare

        return {network.name: measure(network, **settings) for network in prepare(names)}

    return all_networks


def _record(context: typer.Context, measure: Measure, **settings: Any) -> None:
    """Measure, store the results with settings and machine, and write the page."""
    name = context.info_name
    environment = machine.describe()
    given = sys.argv[sys.argv.index(name) :] if name in sys.argv else [name]
    command = shlex.join(["python", "-m", "benchmarks", *given])
    try:
        results = measure(**settings)
    except (FsnpError, OSError, RuntimeError, subprocess.SubprocessError) as error:
        typer.echo(f"error: {name} was not measured: {error}", err=True)
        raise typer.Exit(1) from error
    environment["load_after"] = machine.load()
    document = {
        "environment": environment,
        "command": command,
        "settings": settings,
        "results": results,
    }
    text = json.dumps(document, indent=1, allow_nan=False)
    (context.obj / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    typer.echo(f"wrote {write_report(context.obj)}")


if __name__ == "__main__":
    try:
        app()
    except ModuleNotFoundError as error:
        sys.exit(
            f"error: benchmarks need {error.name}, which is not installed; run make .venv/develop, or "
            "pip install -c constraints-dev.txt -e '.[cpu,export,plot,training,bench]'"
        )
