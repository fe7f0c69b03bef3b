"""`python -m evaluation [NAME=]MODEL ...`: fetch, mix, score, report."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from evaluation.material import fetch, load_material
from evaluation.metrics import METRICS
from evaluation.mixtures import build_mixtures, digest_of
from evaluation.peers import find_peers
from evaluation.report import write_report
from evaluation.result import DOCS, RESULTS, Evaluation, machine, measuring_versions
from evaluation.scoring import Scores, System, evaluate, model, unprocessed
from evaluation.tables import mean
from fsnp_onnx import FsnpError
from training.recording import SAMPLE_RATE


def main(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=]MODEL", help="A file, default or live; the default model first."
        ),
    ],
    data: Annotated[
        Path, typer.Option(help="Folder for packages, enhanced speech and cached scores.")
    ] = Path("evaluation/data"),
    results: Annotated[Path, typer.Option(help="Folder for quality.json.")] = RESULTS,
    docs: Annotated[Path, typer.Option(help="Folder for quality.md and quality.png.")] = DOCS,
    processes: Annotated[int, typer.Option(min=1, help="Mixtures scored at once.")] = 2,
) -> None:
    """Score models, the noisy input and all peers on the fixed mixtures; write docs/quality.md."""
    console = Console()
    try:
        own = [_parse(argument) for argument in models]
        for folder in (results, docs):
            folder.mkdir(parents=True, exist_ok=True)
        evaluation = _evaluate(own, data, processes)
    except (FsnpError, OSError, RuntimeError, ValueError) as error:
        Console(stderr=True).print(f"error: {error}", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    evaluation.write(results / "quality.json")
    write_report(results, docs)
    console.print(_table(evaluation))
    for line in evaluation.missing:
        console.print(f"not scored: {line}", markup=False)
    console.print(f"wrote {results / 'quality.json'} and {docs / 'quality.md'}", markup=False)


def _parse(argument: str) -> System:
    name, _, path = argument.rpartition("=")
    return model(name or Path(path).stem, path)


def _evaluate(own: list[System], data: Path, processes: int) -> Evaluation:
    fetch(data)
    mixtures = build_mixtures(load_material(data))
    peers, missing = find_peers()
    systems = [unprocessed(), *own, *peers]
    scores: dict[str, Scores] = {system.title: {} for system in systems}
    if len(scores) < len(systems):
        raise ValueError(f"expected different names, got {[system.title for system in systems]}")
    results = evaluate(systems, mixtures, data / "scores", processes)
    total = len(systems) * len(mixtures)
    for system, mixture, row in track(results, "scoring", total, console=Console(stderr=True)):
        scores[system.title][mixture.item.name] = {key: round(row[key], 6) for key in METRICS}
    return Evaluation(
        digest=digest_of(mixtures),
        duration_s=mixtures[0].noisy.size / SAMPLE_RATE,
        models=[system.title for system in own],
        missing=missing,
        versions=measuring_versions(),
        machine=machine(),
        items=[mixture.item for mixture in mixtures],
        scores=scores,
    )


def _table(evaluation: Evaluation) -> Table:
    table = Table("", *METRICS)
    noisy = evaluation.part("noisy")
    for title in evaluation.scores:
        table.add_row(title, *(mean(evaluation, title, key, noisy) for key in METRICS))
    return table


if __name__ == "__main__":
    typer.run(main)
