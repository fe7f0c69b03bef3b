"""The script for a machine without network, dry-run on the CPU: pack, receive, train, go on elsewhere."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from fsnp_onnx.export.checkpoint import read_checkpoint
from training import prepare, train
from training.network import fresh_network, small_config, toml_args

ROOT = Path(__file__).parents[2]
NAMES = ("offline", "causal")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("speech")
    draw = np.random.default_rng(0)
    for name in ("anna", "bert", "carl"):
        soundfile.write(folder / f"{name}.flac", 0.1 * draw.standard_normal(48_000), 16_000)
    out = tmp_path_factory.mktemp("bank")
    prepare.main(folder / "none", out, speech=[folder])
    return out


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A narrow network to begin with: seconds instead of minutes."""
    folder = tmp_path_factory.mktemp("weights")
    sizes = replace(small_config("original"), tcn_hidden_size=16, sub_band_hidden_size=8)
    run = train.start(fresh_network("original", 0, sizes), "cpu")
    run.save(folder, toml_args(run.network.config))
    return folder / "checkpoint.tar"


class Machine:
    """A machine with folders of its own, on which the script runs."""

    def __init__(self, folder: Path, bank: Path, weights: Path, hours: float) -> None:
        self.parts, self.out = folder / "parts", folder / "out"
        self._settings = {
            "BANK": str(bank),
            "PARTS": str(self.parts),
            "PART_SIZE": "100K",
            "PYTHONS": "",
            "DATA": str(folder / "data"),
            "OUT": str(self.out),
            "BACK": str(folder / "back"),
            "PYTHON": sys.executable,
            "DEVICE": "cpu",
            "HOURS": str(hours),
            "BATCH": "2",
            "SECONDS_EACH": "1",
            "EVERY_S": "1",
            "OFFLINE": f"--init {weights}",
            "CAUSAL": f"--init {weights}",
            "BOTH": "--groups 2",
        }

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            ["bash", "training/on_gpu.sh", *arguments],
            cwd=ROOT,
            env=os.environ | self._settings,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def steps(self, name: str) -> list[int]:
        log = (self.out / f"{name}.jsonl").read_text("utf-8").splitlines()
        return [json.loads(line)["step"] for line in log]


@pytest.fixture(scope="module")
def packed(bank: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The parts, in which a bank travels."""
    here = Machine(tmp_path_factory.mktemp("here"), bank, weights, 1)
    here.run("pack")
    return sorted(here.parts.iterdir())


@pytest.fixture(scope="module")
def trained(
    bank: Path, weights: Path, packed: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Machine:
    """A machine that got the parts one by one and has trained both networks for four steps."""
    machine = Machine(tmp_path_factory.mktemp("there"), bank, weights, 8 / 3600)
    for number, part in enumerate(packed, 1):
        machine.parts.mkdir(exist_ok=True)
        shutil.copy(part, machine.parts)
        assert f"{number} of {len(packed)} parts" in machine.run("receive")
    machine.run("start")
    machine.run("watch", "200")
    return machine


def test_parts_are_no_larger_than_asked_for(packed: list[Path]) -> None:
    assert len(packed) > 1
    assert max(part.stat().st_size for part in packed) <= 100 * 1024


def test_both_networks_come_back_as_checkpoints_that_can_be_exported(trained: Machine) -> None:
    assert {path.name for path in trained.out.iterdir()} == {
        f"{name}.{ending}" for name in NAMES for ending in ("tar", "jsonl")
    }
    configs = [read_checkpoint(trained.out / f"{name}.tar").config for name in NAMES]
    causal = [(config or {})["model"]["args"].get("causal", False) for config in configs]
    assert causal == [False, True]
    assert all(trained.steps(name)[-1] == 4 for name in NAMES)


def test_a_later_machine_goes_on_from_what_came_back(
    trained: Machine, bank: Path, weights: Path, packed: list[Path], tmp_path: Path
) -> None:
    later = Machine(tmp_path, bank, weights, 12 / 3600)
    shutil.copytree(trained.out, tmp_path / "back")
    later.parts.mkdir()
    for part in packed:
        shutil.copy(part, later.parts)
    later.run("receive")
    later.run("start")
    later.run("watch", "200")
    for name in NAMES:
        before, after = trained.steps(name), later.steps(name)
        assert after[: len(before)] == before
        assert after[-1] == 6
        old, new = (read_checkpoint(machine.out / f"{name}.tar") for machine in (trained, later))
        assert any(not torch.equal(old.tensors[key], new.tensors[key]) for key in old.tensors)
