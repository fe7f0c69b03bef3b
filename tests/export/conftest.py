"""Golden networks: outputs of the published code, and their exports, made once per session."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from fsnp_onnx.export.checkpoint import read_checkpoint
from fsnp_onnx.export.identify import infer, read_toml
from fsnp_onnx.export.pipeline import Report, export_checkpoint
from fsnp_onnx.network.config import MulcaForm
from fsnp_onnx.network.fullsubnet_plus import FullSubNetPlus

torch.set_num_threads(1)  # small networks; OpenMP threads that wait for each other spin

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
NAMES = sorted(path.stem for path in GOLDEN.glob("*.npz"))
WITH_MULCA = [name for name in NAMES if name.startswith("tsse")]
Array = NDArray[np.float32]


@dataclass(frozen=True)
class Utterance:
    """One noisy spectrum and what the published code makes of it in float32 and float64."""

    real: Array
    imag: Array
    mask32: Array
    mask64: NDArray[np.float64]

    @property
    def allowed(self) -> float:
        """Bound of the parity rule."""
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


def run(session: onnxruntime.InferenceSession, real: Array, imag: Array) -> Array:
    """Run a file as a stranger does, on [B, F, T]."""
    (mask,) = session.run(["mask"], {"noisy_real": real, "noisy_imag": imag})
    result: Array = mask
    return result


def open_session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="session")
def export_golden(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Report]:
    """Return a function that exports a golden network, all forms it has but the simplified one."""

    @cache
    def export(name: str) -> Report:
        forms: tuple[MulcaForm, ...] = ("original", "equivalent") if name in WITH_MULCA else ()
        return export_checkpoint(
            GOLDEN / f"{name}.tar",
            tmp_path_factory.mktemp(name) / f"{name}.onnx",
            config=GOLDEN / f"{name}.toml",
            mulca=forms,
        )

    return export
