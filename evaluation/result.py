"""What one evaluation found, as Python values and as JSON."""

import json
import math
import os
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt

from evaluation.metrics import PACKAGES
from evaluation.mixtures import Item
from evaluation.scoring import Scores

RESULTS = Path("evaluation/results")
DOCS = Path("docs")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All that quality.json holds.

    Attributes:
        digest: Name of the set, see `mixtures.digest_of`.
        duration_s: Length of every mixture.
        models: Titles of our models, the default one first.
        missing: Peers that did not start, one line each.
        versions: Of Python and of the packages that measure.
        machine: Processor and number of cores.
        items: What is in the mixtures.
        scores: By the title of the system; "noisy" first, then our models, then the peers.
    """

    digest: str
    duration_s: float
    models: list[str]
    missing: list[str]
    versions: dict[str, str]
    machine: str
    items: list[Item]
    scores: dict[str, Scores]

    def part(self, name: str) -> list[Item]:
        """The items of one part of the set."""
        return [item for item in self.items if item.part == name]

    @property
    def snrs_db(self) -> list[float]:
        """The signal-to-noise ratios in the noisy part, rising."""
        return sorted({item.snr_db for item in self.part("noisy")})

    def values(self, title: str, key: str, items: Iterable[Item]) -> npt.NDArray[np.float64]:
        """One metric of one system over these items, float64 [items]."""
        return np.array([self.scores[title][item.name][key] for item in items])

    def write(self, file: Path) -> None:
        """Write all of it as JSON; the ratio of clean speech, which is infinite, as null."""
        content = asdict(self)
        for item in content["items"]:
            item["snr_db"] = item["snr_db"] if math.isfinite(item["snr_db"]) else None
        file.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_evaluation(file: Path) -> Evaluation:
    """Read what `Evaluation.write` wrote."""
    content = json.loads(file.read_text(encoding="utf-8"))
    items = [
        Item(**item | {"snr_db": math.inf if item["snr_db"] is None else item["snr_db"]})
        for item in content.pop("items")
    ]
    return Evaluation(items=items, **content)


def measuring_versions() -> dict[str, str]:
    """Versions of Python and of the packages whose numbers may change with them."""
    names = (*PACKAGES, "pyroomacoustics", "numpy", "soxr")
    return {"python": platform.python_version()} | {name: version(name) for name in names}


def machine() -> str:
    """Processor and number of cores of this machine."""
    cpu_info = Path("/proc/cpuinfo")
    lines = cpu_info.read_text(encoding="utf-8").splitlines() if cpu_info.is_file() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"
