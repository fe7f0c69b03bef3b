"""`python -m evaluation [NAME=]MODEL.onnx ...`: fetch, mix, score, report."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from evaluation.material import fetch, load_material
from evaluation.metrics import METRICS
from evaluation.mixtures import build_mixtures
from evaluation.peers import find_peers
from evaluation.report import write_report
from evaluation.scoring import Scores, System, evaluate, model, unprocessed
from evaluation.tables import Evaluation
from fsnp_onnx import FsnpError


def main(
    models: Annotated[
        list[str], typer.Argument(metavar="[NAME=]MODEL.onnx", help="The default model first.")
    ],
    data: Annotated[
        Path, typer.Option(help="Folder for packages, outputs and cached scores.")
    ] = Path("training/data"),
    docs: Annotated[Path, typer.Option(help="Where quality.md, .png and .json go.")] = Path("docs"),
    processes: Annotated[int, typer.Option(min=1, help="Mixtures scored at once.")] = 2,
) -> None:
    """Score models, the noisy input and all peers on the fixed mixtures; write docs/quality.md."""
    console = Console()
    try:
        own = [_parse(argument) for argument in models]
        docs.mkdir(parents=True, exist_ok=True)
        evaluation = _evaluate(own, data, processes)
    except (FsnpError, OSError, RuntimeError, ValueError) as error:
        Console(stderr=True).print(f"error: {error}", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    write_report(evaluation, docs)
    console.print(_table(evaluation))
    for line in evaluation.missing:
        console.print(f"not scored: {line}", markup=False)
    console.print(f"wrote {docs / 'quality.md'}", markup=False)


def _parse(argument: str) -> System:
    name, _, path = argument.rpartition("=")
    return model(name or Path(path).stem, Path(path))


def _evaluate(own: list[System], data: Path, processes: int) -> Evaluation:
    fetch(data)
    mixtures = build_mixtures(load_material(data))
    peers, missing = find_peers()
    systems = [unprocessed(), *own, *peers]
    scores: dict[str, Scores] = {system.title: {} for system in systems}
    if len(scores) < len(systems):
        raise ValueError(f"expected different names, got {[system.title for system in systems]}")
    results = evaluate(systems, mixtures, data / "evaluation", processes)
    total = len(systems) * len(mixtures)
    for system, mixture, row in track(results, "scoring", total, console=Console(stderr=True)):
        scores[system.title][mixture.name] = row
    return Evaluation(mixtures, scores, [system.title for system in own], missing)


def _table(evaluation: Evaluation) -> Table:
    table = Table("", *METRICS)
    noisy = evaluation.part("noisy")
    for title in evaluation.scores:
        table.add_row(title, *(evaluation.mean(title, key, noisy) for key in METRICS))
    return table


if __name__ == "__main__":
    typer.run(main)
