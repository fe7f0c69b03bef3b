"""Every kind of checkpoint is read; whatever else is in a pickle is refused and never runs."""

from __future__ import annotations

import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fsnp_onnx.errors import CheckpointError, FsnpError, MissingFileError
from fsnp_onnx.export.checkpoint import read_checkpoint
from tests.export.small import save, state_dict


def with_prefix() -> dict[str, Any]:
    return {f"module.{name}": value for name, value in state_dict().items()}


KINDS: dict[str, Any] = {
    "published": lambda: {"model": state_dict(), "epoch": 7, "best_score": np.float64(1.5)},
    "numpy float32 score": lambda: {"model": state_dict(), "best_score": np.float32(1.5)},
    "optimizer and scaler beside it": lambda: {
        "model": OrderedDict(state_dict()),
        "optimizer": torch.optim.Adam([torch.nn.Parameter(torch.ones(2))]).state_dict(),
        "scaler": {"scale": 65536.0},
    },
    "bare state_dict": state_dict,
    "module. prefix": lambda: {"model": with_prefix()},
    "bare with prefix": with_prefix,
    "float16": lambda: {name: value.half() for name, value in state_dict().items()},
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
@pytest.mark.parametrize("ending", ["tar", "pt", "pth"])
def test_every_kind_gives_the_same_tensors(kind: Any, ending: str, tmp_path: Path) -> None:
    read = read_checkpoint(save(tmp_path / f"best_model.{ending}", kind()))
    assert read.name == "best_model"
    assert read.tensors.keys() == state_dict().keys()
    for name, value in state_dict().items():
        torch.testing.assert_close(read.tensors[name], value, rtol=0, atol=1e-3)


def test_the_format_before_zip_is_read_too(tmp_path: Path) -> None:
    path = save(tmp_path / "old.pth", {"model": state_dict()}, _use_new_zipfile_serialization=False)
    assert read_checkpoint(path).tensors.keys() == state_dict().keys()


def test_epoch_and_config_are_read(tmp_path: Path) -> None:
    config = {"model": {"args": {"look_ahead": 2}}}
    path = save(tmp_path / "c.tar", {"model": state_dict(), "epoch": 7, "config": config})
    read = read_checkpoint(path)
    assert (read.epoch, read.config) == (7, config)


@pytest.mark.parametrize("inner", [True, False], ids=["folder in a folder", "files in the folder"])
def test_an_unpacked_tar_is_read(inner: bool, tmp_path: Path) -> None:
    path = save(tmp_path / "best_model.tar", {"model": state_dict(), "epoch": 3})
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "unpacked")
    (root,) = (tmp_path / "unpacked").iterdir()
    read = read_checkpoint(tmp_path / "unpacked" if inner else root)
    assert read.epoch == 3
    for name, value in state_dict().items():
        torch.testing.assert_close(read.tensors[name], value)


class Bomb:
    def __init__(self, flag: Path) -> None:
        self.flag = flag

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.flag,))


def test_code_in_a_pickle_is_refused_and_never_runs(tmp_path: Path) -> None:
    flag = tmp_path / "exploded"
    path = save(tmp_path / "evil.tar", {"model": state_dict(), "best_score": Bomb(flag)})
    with pytest.raises(CheckpointError, match="not loaded because"):
        read_checkpoint(path)
    assert not flag.exists()


def test_a_whole_pickled_network_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "whole.pt", torch.nn.Linear(2, 2))
    with pytest.raises(CheckpointError, match="save the state_dict alone"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list"),
        ({"epoch": 3}, "no state_dict"),
        ({"model": {}, "epoch": 3}, "no tensors"),
        ({}, "no tensors"),
        ({"model": {"a": torch.ones(2, dtype=torch.int64)}}, "expected floats"),
        ({"model": {1: torch.ones(2)}}, "no state_dict"),
        ({"model": {"a": torch.eye(2).to_sparse()}}, "expected floats with values"),
        ({"model": {"a": torch.ones(2, device="meta")}}, "expected floats with values"),
        ({"model": {"a": torch.tensor([1e300], dtype=torch.float64)}}, "infinite"),
        ({"model": {"a": torch.tensor([1.0, torch.nan])}}, "'a' contains NaN"),
        ({"model": {"a": torch.tensor([1.0, torch.inf])}}, "'a' contains NaN or infinite"),
    ],
)
def test_other_content_is_named(content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(save(tmp_path / "c.tar", content))


@pytest.mark.parametrize("data", [b"", b"hello", b"PK\x03\x04 cut", b"\x80\x02}q\x00."])
def test_other_files_are_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "c.tar"
    path.write_bytes(data)
    with pytest.raises(CheckpointError):
        read_checkpoint(path)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "c.tar", state_dict())
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(CheckpointError):
        read_checkpoint(path)


def test_missing_files_and_empty_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="nothing"):
        read_checkpoint(tmp_path / "nothing.tar")
    with pytest.raises(CheckpointError, match=r"0 files data\.pkl"):
        read_checkpoint(tmp_path)


def test_every_error_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(FsnpError) as caught:
        read_checkpoint(save(tmp_path / "whole.pt", torch.nn.Linear(2, 2)))
    assert "\n" not in str(caught.value)
