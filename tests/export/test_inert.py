"""Objects beside the weights are admitted; what a pickle asks to be run never runs."""

from __future__ import annotations

import argparse
import collections
import datetime as dt
import decimal
import enum
import fractions
import functools
import io
import itertools
import logging
import os
import pickle
import random
import re
import subprocess
import time
import types
import uuid
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import pytest
import torch

from fsnp_onnx.errors import CheckpointError
from fsnp_onnx.export.checkpoint import read_checkpoint
from tests.export.small import save, state_dict


class Mode(enum.Enum):
    """As in a user's settings."""

    TRAIN = 1


@dataclass
class Arguments:
    """As a user's settings."""

    rate: float = 1e-3
    mode: Mode = Mode.TRAIN


class Meter(dict[str, float]):
    """A dict of a user's own."""


def history() -> collections.defaultdict[str, list[float]]:
    losses: collections.defaultdict[str, list[float]] = collections.defaultdict(list)
    losses["train"] += [1.0, 0.5]
    return losses


SCALARS = "?bhilqpBHILQPefdgFDGSUVOMm"
OBJECTS: dict[str, Any] = {
    "array": np.arange(3.0),
    "array of objects": np.array([1, "a", None, Path("x")], dtype=object),
    "structured array": np.zeros(2, dtype=[("a", "f4"), ("b", "U3")]),
    "random state of numpy": np.random.get_state(),  # noqa: NPY002
    "RandomState": np.random.RandomState(0),
    "Generator": np.random.default_rng(0),
    "random state": random.getstate(),
    "random state of torch": torch.get_rng_state(),
    "np.str_": np.str_("a"),
    **{f"scalar {np.dtype(code).name}": np.zeros(1, code)[0] for code in SCALARS if code not in "OV"},
    "np.dtype": np.dtype("f4"),
    "Path": Path("x"),
    "PurePosixPath": PurePosixPath("x/y"),
    "PureWindowsPath": PureWindowsPath("c:/x"),
    "defaultdict": history(),
    "OrderedDict": collections.OrderedDict(a=1),
    "Counter": collections.Counter("aab"),
    "deque": collections.deque([1.0, 2.0], maxlen=5),
    "set": {1, "a"},
    "frozenset": frozenset({Path("x")}),
    "datetime": dt.datetime(2024, 1, 2, tzinfo=dt.UTC),
    "timedelta": dt.timedelta(seconds=3),
    "Decimal": decimal.Decimal("1.5"),
    "Fraction": fractions.Fraction(1, 3),
    "UUID": uuid.UUID(int=3),
    "Namespace": argparse.Namespace(rate=1e-3, folder=Path("x")),
    "SimpleNamespace": types.SimpleNamespace(a=np.float32(1)),
    "dataclass": Arguments(),
    "enum": Mode.TRAIN,
    "enum as a key": {Mode.TRAIN: 1},
    "a user's dict": Meter(loss=0.5),
    "pattern": re.compile("a+"),
    "logger": logging.getLogger("train"),
    "partial": functools.partial(history),
    "function": history,
    "counting": itertools.count(3),
    "range": range(3),
    "slice": slice(1, 2),
    "bytes": b"\x00\xff",
    "bytearray": bytearray(b"a"),
    "complex": 1j,
    "long": 1 << 3000,
    "device": torch.device("cpu"),
    "dtype": torch.float16,
    "Size": torch.Size([1, 2]),
    "uint16 tensor": torch.zeros(3, dtype=torch.uint16),
    "float8 tensor": torch.zeros(3).to(torch.float8_e4m3fn),
    "sparse tensor": torch.eye(2).to_sparse(),
    "network": torch.nn.Linear(2, 2),
    "optimizer": torch.optim.Adam(torch.nn.Linear(2, 2).parameters()),
    "scheduler": torch.optim.lr_scheduler.StepLR(
        torch.optim.SGD(torch.nn.Linear(2, 2).parameters(), lr=1), 3
    ).state_dict(),
}  # fmt: skip


def require_weights(path: Path) -> None:
    read = read_checkpoint(path)
    assert read.epoch == 3
    assert read.weights.entry == "model"
    assert all(torch.equal(read.tensors[name], value) for name, value in state_dict().items())


@pytest.mark.parametrize("thing", OBJECTS.values(), ids=OBJECTS.keys())
def test_objects_beside_the_weights_are_admitted(thing: Any, tmp_path: Path) -> None:
    content = {"before": thing, "model": state_dict(), "after": [thing], "epoch": 3}
    require_weights(save(tmp_path / "c.pt", content))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_objects_are_admitted_in_every_protocol(
    legacy: bool, protocol: int, tmp_path: Path
) -> None:
    path = save(
        tmp_path / "c.pt", OBJECTS | {"model": state_dict(), "epoch": 3},
        pickle_protocol=protocol, _use_new_zipfile_serialization=not legacy,
    )  # fmt: skip
    require_weights(path)


class Call:
    """Pickles as the call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call

    def __call__(self) -> None: ...


ATTACKS: dict[str, Any] = {
    "os.system": lambda flag: Call(os.system, f"touch {flag}"),
    "eval": lambda flag: Call(eval, f"open({str(flag)!r}, 'w')"),
    "exec": lambda flag: Call(exec, f"open({str(flag)!r}, 'w')"),
    "open": lambda flag: Call(open, str(flag), "w"),
    "Popen": lambda flag: Call(subprocess.Popen, ["touch", str(flag)]),
    "a method": lambda flag: Call(Path.touch, flag),
    "a chain of getattr": lambda flag: Call(
        Call(getattr, Call(__import__, "os"), "system"), f"touch {flag}"
    ),
}
GADGETS: dict[str, Any] = {  # functions of installed packages that can be made to run code
    "numpy": lambda flag: Call(np.memmap, str(flag), "u1", "w+", 0, (3,)),
    "numpy.save": lambda flag: Call(np.save, str(flag), 3),
    "torch.save": lambda flag: Call(torch.save, 3, str(flag)),
    "torch.load": lambda flag: Call(
        functools.partial(torch.load, weights_only=False), str(inner(flag))
    ),
}


def inner(flag: Path) -> Path:
    path = flag.with_name("inner.pt")
    path.write_bytes(pickle.dumps(Call(Path.touch, flag)))
    return path


def poisoned(attack: Any, path: Path, protocol: int, *, legacy: bool) -> Path:
    return save(
        path, {"model": state_dict(), "best_score": attack, "epoch": 3},
        pickle_protocol=protocol, _use_new_zipfile_serialization=not legacy,
    )  # fmt: skip


@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", ATTACKS)
def test_calls_of_python_itself_are_refused_and_never_run(
    name: str, legacy: bool, protocol: int, tmp_path: Path
) -> None:
    flag = tmp_path / "exploded"
    path = poisoned(ATTACKS[name](flag), tmp_path / "evil.tar", protocol, legacy=legacy)
    with pytest.raises(CheckpointError, match="not loaded because that would run code"):
        read_checkpoint(path)
    assert not flag.exists()


@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", GADGETS)
def test_calls_of_packages_never_run(
    name: str, legacy: bool, protocol: int, tmp_path: Path
) -> None:
    flag = tmp_path / "exploded"
    require_weights(poisoned(GADGETS[name](flag), tmp_path / "evil.tar", protocol, legacy=legacy))
    assert not list(tmp_path.glob("exploded*"))


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"
)
def test_the_attacks_of_these_tests_work_on_a_reader_that_runs_code(tmp_path: Path) -> None:
    for name, attack in {**ATTACKS, **GADGETS}.items():
        flag = tmp_path / name.replace(" ", "_")
        path = poisoned(attack(flag), tmp_path / "evil.tar", 2, legacy=False)
        with suppress(Exception):  # some give what torch.load cannot use
            torch.load(path, weights_only=False)
        for _ in range(100):  # Popen does not wait
            if list(tmp_path.glob(f"{flag.name}*")):
                break
            time.sleep(0.1)
        else:
            pytest.fail(f"{name} does nothing")


def with_pickle(path: Path, data: bytes) -> Path:
    """Write a checkpoint whose pickle is written by hand."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data)
    return path


@pytest.mark.parametrize(
    "state",
    [b"}X\x09\x00\x00\x00_functionNs", b"N}X\x09\x00\x00\x00_functionNs\x86"],
    ids=["its attributes", "its slots"],
)
def test_a_pickle_cannot_change_how_later_files_are_read(state: bytes, tmp_path: Path) -> None:
    sabotage = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n" + state + b"b."
    with pytest.raises(CheckpointError):
        read_checkpoint(with_pickle(tmp_path / "evil.pt", sabotage))
    read = read_checkpoint(save(tmp_path / "c.pt", state_dict()))
    assert all(torch.equal(read.tensors[name], value) for name, value in state_dict().items())


def test_a_program_of_torchscript_is_not_opened(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in ("data.pkl", "constants.pkl", "code/__torch__.py"):
            archive.writestr(f"archive/{name}", b"\x80\x02}.")
    (tmp_path / "c.pt").write_bytes(buffer.getvalue())
    with pytest.raises(CheckpointError, match="TorchScript"):
        read_checkpoint(tmp_path / "c.pt")
