"""Scores over SNR as lines: the noisy input dashed, our models thick, the peers thin."""

import itertools
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from evaluation.metrics import METRICS
from evaluation.result import Evaluation


def draw(evaluation: Evaluation, keys: tuple[str, ...], path: Path) -> None:
    """Draw one panel per metric.

    Args:
        evaluation: What was scored.
        keys: Four metrics.
        path: PNG to write.
    """
    noisy, snrs_db = evaluation.part("noisy"), evaluation.snrs_db
    by_snr = [[item for item in noisy if item.snr_db == snr_db] for snr_db in snrs_db]
    figure = Figure(figsize=(10, 7.5), layout="constrained")
    for axes, key in zip(figure.subplots(2, 2).flat, keys, strict=True):
        colours = itertools.cycle(mpl.color_sequences["tab10"])
        for title in evaluation.scores:
            means = [evaluation.values(title, key, there).mean() for there in by_snr]
            axes.plot(
                snrs_db,
                means,
                label=title,
                color="black" if title == "noisy" else next(colours),
                linestyle="--" if title == "noisy" else "-",
                linewidth=2.8 if title in evaluation.models else 1.2,
                marker=".",
            )
        axes.set(xlabel="SNR of the input (dB)", ylabel=METRICS[key].title, xticks=snrs_db)
        axes.grid(alpha=0.3)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, frameon=False)
    figure.savefig(path, dpi=110, metadata={"Software": None})
