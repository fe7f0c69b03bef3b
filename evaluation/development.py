"""`python -m evaluation.development NAME=MODEL.onnx ...`: scores on the development set.

Decisions about the recipe of training are made on this set, so that the evaluation of docs/quality.md
stays unseen. It is made of the readers and the recorded noise that the bank holds out of training, mixed
as training mixes them.
"""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

from evaluation.metrics import METRICS, bootstrap, score
from fsnp_onnx import Enhancer
from training.bank import Bank
from training.mix import Mixer
from training.recording import SAMPLE_RATE, Wave

SEED = 7_777
SECONDS = 8
BATCH = 8
BANK = Path("training/data/bank")

Mixture = tuple[Wave, Wave]  # noisy and target, float32 [N]
Scores = dict[str, list[float]]


def development_set(bank: Bank, n_mixtures: int) -> list[Mixture]:
    """Mix held-out readers with noise; the same mixtures at every call for one bank."""
    mixer = Mixer(bank, SEED, SECONDS * SAMPLE_RATE, "_held_out")
    mixtures: list[Mixture] = []
    for step in range(-(-n_mixtures // BATCH)):
        noisy, target = (part.numpy() for part in mixer.batch(step, BATCH))
        mixtures += zip(noisy, target, strict=True)
    return mixtures[:n_mixtures]


def score_model(model: Path | None, mixtures: list[Mixture]) -> Scores:
    """Score a model on all mixtures, None for the noisy input itself."""
    enhancer = Enhancer(model, "cpu", threads=1) if model else None
    results = []
    for noisy, target in mixtures:
        enhanced = enhancer.enhance(noisy, SAMPLE_RATE) if enhancer else noisy
        results.append(score(target, np.asarray(enhanced, np.float32)))
    return {key: [result[key] for result in results] for key in METRICS}


def main(
    models: Annotated[
        list[str], typer.Argument(help="NAME=MODEL.onnx, the first is compared with")
    ],
    bank: Annotated[Path, typer.Option(help="folder that training.prepare wrote")] = BANK,
    mixtures: Annotated[int, typer.Option(min=2, help="number of mixtures of 8 s")] = 48,
    processes: Annotated[int, typer.Option(min=1)] = 2,
) -> None:
    """Print means over the development set, and how far each model is from the first."""
    named = dict(model.split("=", 1) for model in models)
    paths = [None, *map(Path, named.values())]
    dataset = development_set(Bank(bank, torch.device("cpu")), mixtures)
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        scores = list(pool.map(score_model, paths, [dataset] * len(paths)))
    table = Table("", *(metric.title for metric in METRICS.values()))
    for name, values in zip(("noisy", *named), scores, strict=True):
        means = (f"{np.mean(values[key]):.3f}" for key in METRICS)
        table.add_row(name, *means)
    for name, values in zip([*named][1:], scores[2:], strict=True):
        gains = [bootstrap(np.subtract(values[key], scores[1][key])) for key in METRICS]
        table.add_row(
            f"{name} - {next(iter(named))}",
            *(f"{g.mean:+.3f} [{g.low:+.3f}, {g.high:+.3f}]" for g in gains),
        )
    Console(width=160).print(table)


if __name__ == "__main__":
    typer.run(main)
