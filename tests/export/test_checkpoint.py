"""Every kind of checkpoint is read: whatever is around the weights, and in front of their names."""

from __future__ import annotations

import re
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from fsnp_onnx.errors import CheckpointError, FsnpError, MissingFileError
from fsnp_onnx.export.checkpoint import FoundWeights, read_checkpoint
from fsnp_onnx.export.identify import infer
from tests.export.small import save, small_network, state_dict
from tests.golden import GOLDEN, NAMES


def prefixed(prefix: str) -> dict[str, Any]:
    return {f"{prefix}{name}": value for name, value in state_dict().items()}


KINDS: dict[str, Any] = {
    "published": lambda: {"model": state_dict(), "epoch": 7, "best_score": np.float64(1.5)},
    "optimizer and scaler beside it": lambda: {
        "model": OrderedDict(state_dict()),
        "optimizer": torch.optim.Adam([torch.nn.Parameter(torch.ones(2))]).state_dict(),
        "scaler": {"scale": 65536.0},
    },
    "bare state_dict": state_dict,
    "other entries among the weights": lambda: {**state_dict(), "epoch": 3, "optimizer": {}},
    "a list": lambda: [{"epoch": 3}, state_dict()],
    "parameters": lambda: dict(small_network().named_parameters()),
    "a user's kind of dict": lambda: {"model": Settings(state_dict())},
    "float16": lambda: {name: value.half() for name, value in state_dict().items()},
    "bfloat16": lambda: {name: value.bfloat16() for name, value in state_dict().items()},
    "float64": lambda: {name: value.double() for name, value in state_dict().items()},
}


class Settings(dict[str, Any]):
    """As many training programs have them."""


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
@pytest.mark.parametrize("ending", ["tar", "pt", "pth"])
def test_every_kind_gives_the_same_tensors(kind: Any, ending: str, tmp_path: Path) -> None:
    read = read_checkpoint(save(tmp_path / f"best_model.{ending}", kind()))
    assert read.name == "best_model"
    assert read.tensors.keys() == state_dict().keys()
    for name, value in state_dict().items():
        torch.testing.assert_close(
            read.tensors[name], value, rtol=0, atol=4e-3
        )  # the step of bfloat16


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


PREFIXES = (
    "model.", "_orig_mod.", "module.", "module._orig_mod.", "model._orig_mod.", "ema_model.", "net_g.",
    "module.module.", "_fsdp_wrapped_module.", "student_",
)  # fmt: skip


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("entry", ["", "state_dict"])
def test_any_prefix_is_found_named_and_taken_off(entry: str, prefix: str, tmp_path: Path) -> None:
    state = prefixed(prefix)
    read = read_checkpoint(save(tmp_path / "c.ckpt", {entry: state} if entry else state))
    assert read.weights == FoundWeights(entry, prefix)
    assert prefix in str(read.weights)
    assert list(read.tensors) == list(state_dict())
    for name, value in state_dict().items():
        assert torch.equal(read.tensors[name], value)


@pytest.mark.parametrize("entry", ["model_state_dict", "net", "generator", "ema", "params", "0"])
@pytest.mark.parametrize("outer", ["", "state.best"])
def test_any_entry_is_found_and_named(outer: str, entry: str, tmp_path: Path) -> None:
    content: dict[str, Any] = {entry: state_dict(), "step": 5}
    for name in reversed(outer.split(".") if outer else []):
        content = {name: content, "other": [1, {"of": "them"}]}
    read = read_checkpoint(save(tmp_path / "c.pt", content))
    assert read.weights == FoundWeights(f"{outer}.{entry}" if outer else entry, "")
    assert read.tensors.keys() == state_dict().keys()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("legacy", [True, False])
def test_every_network_is_found_by_the_one_name(name: str, legacy: bool, tmp_path: Path) -> None:
    plain = read_checkpoint(GOLDEN / f"{name}.tar").tensors
    state = {f"module._orig_mod.{weight}": value for weight, value in plain.items()}
    options = {"_use_new_zipfile_serialization": False} if legacy else {}
    read = read_checkpoint(save(tmp_path / "c.pt", {"net": state}, **options))
    assert read.weights == FoundWeights("net", "module._orig_mod.")
    assert list(read.tensors) == list(plain)
    assert all(torch.equal(read.tensors[weight], value) for weight, value in plain.items())


def test_wrappers_around_parts_of_the_network_are_taken_off(tmp_path: Path) -> None:
    state = {
        "module." + re.sub(r"^(fb_model|sb_model)\.", r"\1._orig_mod.", name): value
        for name, value in state_dict().items()
    }
    assert read_checkpoint(save(tmp_path / "c.pt", state)).tensors.keys() == state_dict().keys()


def test_a_network_that_is_there_by_two_names_is_one(tmp_path: Path) -> None:
    state = state_dict()
    read = read_checkpoint(save(tmp_path / "c.pt", {"model": state, "best": state}))
    assert read.weights.entry == "model"


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ({"model": prefixed(""), "ema": prefixed("")}, ["model", "ema"]),
        (
            {"nets": {**prefixed("student."), **prefixed("teacher.")}},
            ["nets.student", "nets.teacher"],
        ),
        ({**prefixed(""), "swa": prefixed("module.")}, [".", "swa.module"]),
        ([prefixed(""), prefixed("")], ["0", "1"]),
    ],
    ids=["model and ema", "student and teacher", "bare and swa", "a list of two"],
)
def test_one_of_several_networks_is_chosen_by_its_name(
    content: Any, names: list[str], tmp_path: Path
) -> None:
    path = save(tmp_path / "c.pt", content)
    listed = ", ".join(map(repr, names))
    with pytest.raises(CheckpointError, match=re.escape(f"2 networks: {listed}; choose one with")):
        read_checkpoint(path)
    with pytest.raises(CheckpointError, match=re.escape(f"no network 'other'; expected {listed}")):
        read_checkpoint(path, "other")
    for name in names:
        read = read_checkpoint(path, name)
        assert read.weights.name == name
        assert read.tensors.keys() == state_dict().keys()


def test_the_chosen_network_has_its_own_values(tmp_path: Path) -> None:
    other = {name: value + 1 for name, value in state_dict().items()}
    path = save(tmp_path / "c.pt", {"model": state_dict(), "ema": other})
    for name, expected in (("model", state_dict()), ("ema", other)):
        tensors = read_checkpoint(path, name).tensors
        assert all(torch.equal(tensors[weight], value) for weight, value in expected.items())


def test_counters_and_other_modules_are_left_out_and_named(tmp_path: Path) -> None:
    counters = {
        "total_ops": torch.zeros(1, dtype=torch.float64),
        "model.fb_model.total_ops": torch.zeros(1, dtype=torch.float64),
        "model.fb_model.total_params": torch.zeros(1),
        "n_averaged": torch.tensor(5),
        "model.sb_model.num_batches_tracked": torch.tensor(9),
        "loss.window": torch.ones(4),
    }
    read = read_checkpoint(save(tmp_path / "c.pt", {**prefixed("model."), **counters}))
    assert read.tensors.keys() == state_dict().keys()
    assert read.weights.left_out == tuple(counters)
    assert str(read.weights) == (
        "not in an entry, names without 'model.'; "
        "left out: loss.window, total_ops (2), total_params, n_averaged, 1 more"
    )


@pytest.mark.parametrize("name", ["extra.weight", "fb_model.extra", "n_averaged", "total_ops"])
def test_a_weight_that_is_no_counter_stays_an_error(name: str, tmp_path: Path) -> None:
    path = save(tmp_path / "c.pt", {"model": {**state_dict(), name: torch.ones(2)}})
    with pytest.raises(CheckpointError, match=f"unexpected: {name}"):
        infer(read_checkpoint(path).tensors, None)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_safetensors_are_read(dtype: torch.dtype, prefix: str, tmp_path: Path) -> None:
    state = {name: value.to(dtype) for name, value in prefixed(prefix).items()}
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    read = read_checkpoint(tmp_path / "model.safetensors")
    assert (read.name, read.epoch, read.config) == ("model", None, None)
    assert read.weights == FoundWeights("", prefix)
    for name in state_dict():
        assert torch.equal(read.tensors[name], state[prefix + name].float())


def test_truncated_safetensors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(state_dict(), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="damaged"):
        read_checkpoint(path)


def test_a_whole_pickled_network_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "whole.pt", small_network())
    with pytest.raises(
        CheckpointError, match=r"holds a FullSubNetPlus\); save the state_dict alone"
    ):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "the file holds a list"),
        ({"epoch": 3}, "the file holds a dict: 'epoch'"),
        ({"model": {}, "epoch": 3}, "no tensor's name ends in 'fb_model.fc_output_layer.weight'"),
        ({}, "no weights"),
        ({"net": {"conv.weight": torch.ones(2)}}, "no weights of a FullSubNet"),
        ({"fb_model.fc_output_layer.weight": "a text"}, "no weights"),
    ],
)
def test_other_content_is_named(content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(save(tmp_path / "c.tar", content))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.ones(2, dtype=torch.int64), "'a' is torch.int64; expected floats"),
        (torch.ones(2, dtype=torch.complex64), "expected floats"),
        (torch.eye(2).to_sparse(), "'a' is _rebuild_sparse_tensor; expected floats with values"),
        (torch.ones(2, device="meta"), "expected floats with values"),
        (torch.tensor([1e300], dtype=torch.float64), "infinite"),
        (torch.tensor([1.0, torch.nan]), "'a' contains NaN"),
        (torch.tensor([1.0, torch.inf]), "'a' contains NaN or infinite"),
    ],
    ids=str,
)
def test_bad_weights_are_named(value: torch.Tensor, message: str, tmp_path: Path) -> None:
    path = save(tmp_path / "c.tar", {"model": {**state_dict(), "a": value}})
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(path)


@pytest.mark.parametrize("end", [10, 1000, -5000, -1])
def test_a_truncated_file_is_refused_as_such(end: int, tmp_path: Path) -> None:
    path = save(tmp_path / "c.tar", state_dict())
    path.write_bytes(path.read_bytes()[:end])
    with pytest.raises(CheckpointError, match="truncated or damaged"):
        read_checkpoint(path)


def test_one_wrong_byte_in_the_weights_is_found(tmp_path: Path) -> None:
    path = save(tmp_path / "c.tar", state_dict())
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="damaged"):
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
