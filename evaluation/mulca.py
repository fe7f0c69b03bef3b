"""results/mulca.json -> the tables and the figure of docs/mulca.md.

`python -m evaluation.mulca SCORES.json` takes the quality.json of an evaluation whose models are
called VARIANT-SEED: original-0, simplified-0, converted-0, original-1, ... (converted-SEED is what
the exporter makes of original-SEED without training). It keeps the scores as results/mulca.json,
replaces the page's part between its two marks, and draws the figure. Without SCORES.json it reads
results/mulca.json.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer
from matplotlib.figure import Figure

from evaluation.markdown import table
from evaluation.metrics import METRICS, Interval, bootstrap
from evaluation.result import DOCS, RESULTS, Evaluation, read_evaluation
from fsnp_onnx.network.fullsubnet_plus import FullSubNetPlus
from training.network import fresh_network

KEYS = ("pesq", "stoi", "si_sdr_db", "ovrl")
VARIANTS = ("original", "simplified", "converted")
MARKS = ("<!-- measured -->", "<!-- end of measured -->")
SCORES = RESULTS / "mulca.json"
Values = npt.NDArray[np.float64]


class Runs:
    """Scores of every run on the noisy part of the set.

    Attributes:
        seeds: Seeds of which all variants were scored.
    """

    def __init__(self, evaluation: Evaluation) -> None:
        """Find the runs in an evaluation.

        Raises:
            typer.BadParameter: A variant of a seed was not scored.
        """
        self._evaluation = evaluation
        self._noisy = evaluation.part("noisy")
        names = sorted(name for name in evaluation.scores if name.startswith("original-"))
        self.seeds = [name.removeprefix("original-") for name in names]
        missing = {f"{v}-{s}" for v in VARIANTS for s in self.seeds} - evaluation.scores.keys()
        if missing or not self.seeds:
            raise typer.BadParameter(
                f"lacks scores of {', '.join(sorted(missing)) or 'original-0'}"
            )

    def of(self, title: str, key: str) -> Values:
        """One metric of one system, float64 [mixtures]."""
        return self._evaluation.values(title, key, self._noisy)

    def mean_of(self, variant: str, key: str) -> Values:
        """One metric of one variant, the mean over the seeds, float64 [mixtures]."""
        values = [self.of(f"{variant}-{seed}", key) for seed in self.seeds]
        return np.asarray(np.mean(values, axis=0))

    def differences(self, key: str) -> dict[str, Values]:
        """What is compared with what, mixture by mixture."""
        found = {
            f"simplified - original, seed {seed}": self.of(f"simplified-{seed}", key)
            - self.of(f"original-{seed}", key)
            for seed in self.seeds
        }
        original = self.mean_of("original", key)
        found["simplified - original, mean of seeds"] = self.mean_of("simplified", key) - original
        found["converted - original, mean of seeds"] = self.mean_of("converted", key) - original
        for seed in self.seeds[1:]:
            other = self.of(f"original-{seed}", key) - self.of(f"original-{self.seeds[0]}", key)
            found[f"original, seed {seed} - seed {self.seeds[0]}"] = other
        return found


def main(
    scores: Annotated[Path, typer.Argument(help="All variants and seeds, scored.")] = SCORES,
    results: Annotated[Path, typer.Option(help="Folder for mulca.json.")] = RESULTS,
    docs: Annotated[Path, typer.Option(help="Folder of mulca.md.")] = DOCS,
) -> None:
    """Write the tables and the figure of docs/mulca.md, and keep the scores."""
    evaluation = read_evaluation(scores)
    runs = Runs(evaluation)
    evaluation.write(results / "mulca.json")
    page = docs / "mulca.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(MARKS[0])
    after = rest.partition(MARKS[1])[2]
    measured = "\n".join([sizes_table(), scores_table(runs), differences_table(runs)])
    page.write_text(f"{before}{MARKS[0]}\n{measured}\n{MARKS[1]}{after}", encoding="utf-8")
    draw(runs, docs / "mulca.png")


def sizes_table() -> str:
    """Parameters and multiplications of both variants in the default model's sizes.

    A frame uses every weight of the full-band stage once, and every weight of the sub-band model
    once per bin. What follows MulCA's squeeze is used once per recording.
    """
    rows = []
    for variant in ("original", "simplified"):
        network = fresh_network(variant, 0)
        sizes = {name: p.numel() for name, p in network.named_parameters()}
        total = sum(sizes.values())
        attention = sum(n for name, n in sizes.items() if name.startswith("channel_attention"))
        per_frame = sum(n for name, n in sizes.items() if name.endswith("Conv1d.0.weight"))
        share = per_frame / (multiplications_per_frame(network) + per_frame)
        rows.append([variant, f"{total:,}", f"{attention:,}", f"{per_frame:,}", f"{share:.3%}"])
    header = ["variant", "parameters", "parameters of MulCA", "multiplications of MulCA per frame"]
    return table([*header, "share of all multiplications"], rows)


def multiplications_per_frame(network: FullSubNetPlus) -> int:
    """Multiplications of the TCNs and the sub-band model, per frame."""
    full_band = sum(p.numel() for n, p in network.named_parameters() if n.startswith("fb_model"))
    sub_band = sum(p.numel() for n, p in network.named_parameters() if n.startswith("sb_model"))
    return full_band + network.config.n_freqs * sub_band


def scores_table(runs: Runs) -> str:
    """Means over files and seeds with the interval over files."""
    rows = [["noisy", *(_cell(key, bootstrap(runs.of("noisy", key))) for key in KEYS)]]
    rows += [
        [variant, *(_cell(key, bootstrap(runs.mean_of(variant, key))) for key in KEYS)]
        for variant in VARIANTS
    ]
    return table(["", *(METRICS[key].title for key in KEYS)], rows)


def differences_table(runs: Runs) -> str:
    """Differences file by file with their intervals."""
    columns = {key: runs.differences(key) for key in KEYS}
    rows = [
        [name, *(_cell(key, bootstrap(columns[key][name]), extra=1, sign="+") for key in KEYS)]
        for name in columns[KEYS[0]]
    ]
    return table(["difference", *(METRICS[key].title for key in KEYS)], rows)


def draw(runs: Runs, path: Path) -> None:
    """Draw the differences with their intervals, one panel per metric."""
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    panels = figure.subplots(1, len(KEYS), sharey=True)
    for axes, key in zip(panels, KEYS, strict=True):
        names, values = zip(*runs.differences(key).items(), strict=True)
        for row, value in enumerate(values):
            interval = bootstrap(value)
            reach = [[interval.mean - interval.low], [interval.high - interval.mean]]
            axes.errorbar(interval.mean, row, xerr=reach, fmt="o", color=f"C{row}", capsize=4)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set(xlabel=f"difference in {METRICS[key].title}", yticks=range(len(names)))
        axes.set_yticklabels(names)
        axes.grid(alpha=0.3)
    panels[0].invert_yaxis()
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _cell(key: str, interval: Interval, extra: int = 0, sign: str = "") -> str:
    digits = METRICS[key].digits + extra
    mean, low, high = (
        f"{value:{sign}.{digits}f}" for value in (interval.mean, interval.low, interval.high)
    )
    return f"{mean} [{low}, {high}]"


if __name__ == "__main__":
    typer.run(main)
