"""Golden networks: checkpoints of the published code and what it computes with them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fsnp_onnx.export.checkpoint import read_checkpoint
from fsnp_onnx.export.identify import infer, read_toml
from fsnp_onnx.network.fullsubnet_plus import FullSubNetPlus

GOLDEN = Path(__file__).parent / "data" / "golden"
NAMES = sorted(path.stem for path in GOLDEN.glob("*.npz"))
WITH_MULCA = [name for name in NAMES if name.startswith("tsse")]
Array = NDArray[np.float32]


@dataclass(frozen=True)
class Utterance:
    """One noisy spectrum and the masks of the published code in float32 and float64."""

    real: Array
    imag: Array
    mask32: Array
    mask64: NDArray[np.float64]

    @property
    def tolerance(self) -> float:
        return max(2e-5, 8 * float(np.abs(self.mask32 - self.mask64).max()))


def utterances(name: str) -> list[Utterance]:
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        lengths = sorted({int(key.split("_")[1]) for key in arrays.files})
        keys = ("real", "imag", "mask32", "mask64")
        return [Utterance(*(arrays[f"{key}_{n}"] for key in keys)) for n in lengths]


def golden_network(name: str) -> FullSubNetPlus:
    tensors = read_checkpoint(GOLDEN / f"{name}.tar").tensors
    network = FullSubNetPlus(infer(tensors, read_toml(GOLDEN / f"{name}.toml")).network)
    network.load_state_dict(tensors)
    return network.eval()
