"""A network of a few thousand weights, exported once in every precision."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.networks import Network, prepare
from fsnp_onnx.network.config import NetworkConfig
from fsnp_onnx.network.fullsubnet_plus import FullSubNetPlus

CONFIG = NetworkConfig(
    n_freqs=33,
    sb_num_neighbors=3,
    tcn_hidden_size=8,
    tcn_blocks=2,
    sub_band_hidden_size=8,
    sub_band_layers=1,
)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.tar"
    torch.save(FullSubNetPlus(CONFIG).state_dict(), path)
    return path


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="session")
def tiny(checkpoint: Path, work: Path) -> Network:
    (network,) = prepare([str(checkpoint)], work)
    return network


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.rounds.PAUSE_S", 0.0)
    monkeypatch.setattr("benchmarks.gemm.LEAST_S", 0.01)
    monkeypatch.setattr("benchmarks.machine.BUSY_S", 0.05)
