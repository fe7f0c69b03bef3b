"""The networks that are measured: checkpoints and their exports, kept while they are up to date."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from fsnp_onnx.errors import FsnpError
from fsnp_onnx.export.options import ExportOptions, Precision
from fsnp_onnx.export.pipeline import export_checkpoint
from fsnp_onnx.network.config import NetworkConfig
from fsnp_onnx.network.fullsubnet_plus import FullSubNetPlus

PRECISIONS: Final[tuple[Precision, ...]] = ("float32", "int8")
DEFAULT_CHECKPOINT = Path("training/checkpoints/fsnp_small_v4.tar")
WORK = Path("benchmarks/work")
_PACKAGE = Path(__file__).parents[1] / "fsnp_onnx"


@dataclass(frozen=True)
class Network:
    """A checkpoint and the files exported from it.

    Attributes:
        name: In tables.
        checkpoint: The file that torch loads.
        models: Exported files by precision.
        missing: Precisions beside float32 that could not be exported, with the reason.
    """

    name: str
    checkpoint: Path
    models: dict[str, Path]
    missing: dict[str, str]

    def by_precision(self, measure: Callable[[str, Path], Any]) -> dict[str, Any]:
        """Measure every exported file, given its precision and path, and add what is missing."""
        found = {precision: measure(precision, path) for precision, path in self.models.items()}
        return {"precisions": found, "missing": self.missing}


def prepare(names: Sequence[str], work: Path = WORK) -> list[Network]:
    """Export checkpoints in every precision.

    Args:
        names: "published" (the published sizes with seeded random weights, which speed does not
            depend on), "default" (the bundled model's checkpoint), or the path of a checkpoint.
        work: Folder for the exported files.

    Raises:
        FsnpError: A checkpoint cannot be exported in float32.
    """
    work.mkdir(parents=True, exist_ok=True)
    return [_prepare(name, work) for name in names]


def _prepare(name: str, work: Path) -> Network:
    if name == "published":
        checkpoint = work / "published.tar"
        if not checkpoint.exists():
            torch.manual_seed(0)
            state = FullSubNetPlus(NetworkConfig()).state_dict()
            torch.save({"model": state, "epoch": 0}, checkpoint)
    else:
        checkpoint = DEFAULT_CHECKPOINT if name == "default" else Path(name)
        name = name if name == "default" else checkpoint.stem
    network = Network(name, checkpoint, {}, {})
    for precision in PRECISIONS:
        try:
            network.models[precision] = _export(network, work, precision)
        except FsnpError as error:
            if precision == "float32":
                raise
            network.missing[precision] = str(error)
    return network


def _export(network: Network, work: Path, precision: Precision) -> Path:
    path = work / f"{network.name}.{precision}.onnx"
    code = [file for part in ("export", "network") for file in (_PACKAGE / part).rglob("*.py")]
    sources = [network.checkpoint, *code]
    if path.exists() and path.stat().st_mtime > max(source.stat().st_mtime for source in sources):
        return path
    print(f"exporting {network.name} in {precision}", flush=True)
    options = ExportOptions(precision=precision)
    export_checkpoint(network.checkpoint, path, mulca=["original"], options=options, force=True)
    return path
