"""Two pictures: memory against duration, and speed against quality."""

from pathlib import Path
from statistics import median
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

Document = dict[str, Any]


def draw_memory(document: Document, path: Path) -> None:
    """Draw peak memory over duration, one panel per network, one line per system."""
    networks = document["results"]
    figure = Figure(figsize=(5 * len(networks), 4), layout="constrained")
    panels = figure.subplots(1, len(networks), squeeze=False, sharey=True)[0]
    for axes, (network, result) in zip(panels, networks.items(), strict=True):
        for system, points in result["points"].items():
            there = [point for point in points if "peak_mb" in point]
            minutes = [point["audio_s"] / 60 for point in there]
            axes.plot(minutes, [median(p["peak_mb"]) for p in there], marker="o", label=system)
        axes.set(xscale="log", yscale="log", title=network, xlabel="minutes of audio")
        ticks = sorted({p["audio_s"] / 60 for there in result["points"].values() for p in there})
        axes.set_xticks(ticks, [f"{minutes:.3g}" for minutes in ticks])
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    panels[0].set_ylabel("peak memory of the process (MB)")
    figure.savefig(path, dpi=110, metadata={"Software": None})


def draw_peers(document: Document, path: Path) -> None:
    """Draw PESQ over real-time factor, ours filled."""
    results = document["results"]
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    rtfs = {title: median(s) / results["audio_s"] for title, s in results["seconds"].items()}
    both = [title for title in sorted(rtfs, key=rtfs.__getitem__) if title in results["quality"]]
    for index, title in enumerate(both):
        place = (rtfs[title], results["quality"][title]["pesq"])
        own = title in results["own"]
        axes.scatter(*place, s=60, facecolor="C0" if own else "none", edgecolor="C0")
        beside = (0, 8 if index % 2 else -17)  # else the labels of neighbours overlap
        axes.annotate(title, place, beside, textcoords="offset points", ha="center")
    noisy = results["quality"]["noisy"]["pesq"]
    axes.axhline(noisy, linestyle="--", color="black", linewidth=1, label="noisy input")
    axes.set(xscale="log", xlabel="RTF (real-time factor), one thread", ylabel="PESQ-WB")
    axes.margins(0.15)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110, metadata={"Software": None})
