"""Files made to deceive are refused in one line, in little time and memory, and never crash the reader."""

from __future__ import annotations

import io
import json
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save as safetensors_bytes

from fsnp_onnx.errors import CheckpointError, ConfigError, FsnpError
from fsnp_onnx.export.checkpoint import Checkpoint, read_checkpoint
from fsnp_onnx.export.identify import infer
from tests.export.small import save, state_dict

ANCHOR = "fb_model.fc_output_layer.weight"
ALL_FLOATS = "FloatStorage"


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value: int) -> bytes:
    return b"\x8a\x10" + value.to_bytes(16, "little", signed=True)


def numbers(*values: int) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def storage(length: int, kind: str = ALL_FLOATS, key: str = "0") -> bytes:
    return (
        b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu")
        + number(length) + b"tQ"
    )  # fmt: skip


def tensor(stored: bytes, size: bytes, stride: bytes, offset: int = 0) -> bytes:
    arguments = b"(" + stored + number(offset) + size + stride + b"\x89}t"
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"R"


def state_of(value: bytes) -> bytes:
    """A pickle of a state_dict with one weight."""
    return b"\x80\x02}" + text(ANCHOR) + value + b"s."


def zipped(pickle: bytes, **options: Any) -> bytes:
    """An archive whose one storage holds four numbers."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as archive:
        archive.writestr("archive/data.pkl", pickle)
        archive.writestr("archive/data/0", bytes(16))
    return buffer.getvalue()


def older(pickle: bytes, keys: str, *storages: bytes) -> bytes:
    """A file of the older format; a storage is its length and its bytes."""
    begin = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}."
    listed = b"\x80\x02]" + b"".join(text(key) + b"a" for key in keys) + b"."
    return begin + pickle + listed + b"".join(storages)


def stored(length: int, n_bytes: int) -> bytes:
    return struct.pack("<q", length) + bytes(n_bytes)


def read(data: bytes, folder: Path) -> Checkpoint:
    path = folder / "c.pt"
    path.write_bytes(data)
    return read_checkpoint(path)


FOUR = tensor(storage(4), numbers(4), numbers(1))


@pytest.mark.parametrize(
    "data", [zipped(state_of(FOUR)), older(state_of(FOUR), "0", stored(4, 16))]
)
def test_the_honest_file_is_read(data: bytes, tmp_path: Path) -> None:
    assert torch.equal(read(data, tmp_path).tensors[ANCHOR], torch.zeros(4))


HUGE = 10**12
LIES = {
    "a storage longer than its record": tensor(storage(HUGE), numbers(HUGE), numbers(1)),
    "a storage a little longer": tensor(storage(5), numbers(5), numbers(1)),
    "a storage of a wider type": tensor(storage(4, "DoubleStorage"), numbers(4), numbers(1)),
    "a tensor longer than its storage": tensor(storage(4), numbers(5), numbers(1)),
    "a tensor that begins behind its storage": tensor(storage(4), numbers(1), numbers(1), 4),
    "a tensor that begins before its storage": tensor(storage(4), numbers(1), numbers(1), -1),
    "strides that leave the storage": tensor(storage(4), numbers(2, 2), numbers(4, 1)),
    "negative strides": tensor(storage(4), numbers(4), numbers(-1)),
    "one number as a trillion": tensor(storage(4), numbers(HUGE), numbers(0)),
    "one number as five": tensor(storage(4), numbers(5), numbers(0)),
    "sizes whose product overflows": tensor(storage(4), numbers(2**62, 4), numbers(0, 0)),
    "no storage": tensor(b"N", numbers(4), numbers(1)),
    "a storage that is missing": tensor(storage(4, key="1"), numbers(4), numbers(1)),
    "a storage outside the archive": tensor(storage(4, key="../data.pkl"), numbers(4), numbers(1)),
    "a state for the tensor": FOUR + b"(" + storage(4) + number(2) + numbers(4) + numbers(1) + b"tb",
    "attributes for the type": tensor(storage(4), numbers(4), numbers(1)).replace(
        b"ctorch\nFloatStorage\n", b"ctorch\nFloatStorage\n}X\x05\x00\x00\x00dtypeNsb"
    ),
    "an entry for the tensor": FOUR + number(HUGE) + b"K\x00s",
    "a hundred thousand brackets": b"]" * 10**5 + b"a" * (10**5 - 1),
    "a number of ten thousand digits as a name": b"}\x8b" + struct.pack("<i", 5000) + b"\x01" * 5000 + FOUR + b"s",
    "a number of two billion for a mark": b"r\xff\xff\xff\x7f",
    "a text of two billion bytes": b"B\xff\xff\xff\x7f",
    "a terabyte of bytes": b"\x96" + struct.pack("<Q", 10**12),
    "a type of no name": b"c\n\n" + b")R",
    "a reference to something": b"(" + text("secret") + text("0") + b"tQ",
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
@pytest.mark.parametrize(
    "pack", [zipped, lambda p: older(p, "0", stored(4, 16))], ids=["zip", "older"]
)
def test_a_pickle_that_lies_is_refused(
    lie: bytes, pack: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    started = time.perf_counter()
    with pytest.raises(CheckpointError) as caught:
        read(pack(state_of(lie)), tmp_path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize(
    "data",
    [
        older(state_of(FOUR), "0", stored(4, 15)),
        older(state_of(FOUR), "0", stored(4, 4)),
        older(state_of(FOUR), "0", stored(5, 20)),
        older(state_of(FOUR), ""),
        older(state_of(FOUR), "1", stored(4, 16)),
        older(state_of(FOUR), "00", stored(4, 16), stored(4, 16)),
        older(state_of(tensor(storage(HUGE), numbers(4), numbers(1))), "0", stored(HUGE, 16)),
    ],
    ids=["cut", "one number", "longer", "none", "another", "twice", "huge"],
)
def test_a_storage_of_the_older_format_is_whole_or_refused(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="or is damaged"):
        read(data, tmp_path)


def bomb() -> bytes:
    return zipped(state_of(FOUR) + bytes(10**8), compression=zipfile.ZIP_DEFLATED)


def with_size(data: bytes, size: int) -> bytes:
    """Give another size to the pickle in the list at the end of an archive."""
    at = data.index(b"PK\x01\x02") + 24
    return data[:at] + struct.pack("<I", size) + data[at + 4 :]


def test_a_compressed_archive_is_read_and_a_bomb_is_not(tmp_path: Path) -> None:
    read(zipped(state_of(FOUR), compression=zipfile.ZIP_DEFLATED), tmp_path)
    with pytest.raises(CheckpointError, match="expands to more than 20 times its size"):
        read(bomb(), tmp_path)


@pytest.mark.parametrize(
    "data",
    [
        with_size(bomb(), 10),
        with_size(zipped(state_of(FOUR)), 10),
        with_size(zipped(state_of(FOUR)), 10**6),
        with_size(zipped(state_of(FOUR)), 2**31),
        zipped(state_of(FOUR)).replace(b"archive/data.pkl", b"archive/data.pk_", 1),
        zipped(state_of(FOUR)) + zipped(state_of(FOUR))[-22:],
    ],
    ids=["a bomb", "less", "more", "much more", "another name", "two ends"],
)
def test_an_archive_that_lies_about_its_parts_is_refused(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        read(data, tmp_path)


def safetensors(header: Any, data: bytes = bytes(16)) -> bytes:
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(content)) + content + data


def described(shape: Any, offsets: Any, dtype: str = "F32") -> dict[str, Any]:
    return {ANCHOR: {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


SAFETENSORS = {
    "a header beyond the end": struct.pack("<Q", 2**31) + b"{}",
    "numbers beyond the end": safetensors(described([8], [0, 32])),
    "numbers before the beginning": safetensors(described([4], [-16, 0])),
    "numbers that end before they begin": safetensors(described([4], [16, 0])),
    "a shape of more numbers": safetensors(described([5], [0, 16])),
    "a shape that overflows": safetensors(described([2**62, 4], [0, 16])),
    "a negative shape": safetensors(described([-4], [0, 16])),
    "an unknown type": safetensors(described([4], [0, 16], "F31")),
    "a hole": safetensors(described([2], [8, 16])),
    "two in one place": safetensors(described([4], [0, 16]) | {"b": described([4], [0, 16])[ANCHOR]}),
    "a rest": safetensors(described([4], [0, 16]), bytes(17)),
    "no offsets": safetensors({ANCHOR: {"dtype": "F32", "shape": [4]}}),
    "a list": safetensors({ANCHOR: [1, 2]}),
    "a deep header": safetensors(b'{"a":' * 10**5),
    "numbers that are whole": safetensors(described([4], [0, 16], "I32")),
}  # fmt: skip


@pytest.mark.parametrize("data", SAFETENSORS.values(), ids=SAFETENSORS.keys())
def test_safetensors_that_lie_are_refused(data: bytes, tmp_path: Path) -> None:
    read(safetensors(described([4], [0, 16])), tmp_path)
    with pytest.raises(CheckpointError) as caught:
        read(data, tmp_path)
    assert "\n" not in str(caught.value)


def test_an_epoch_that_is_no_epoch_is_left_out(tmp_path: Path) -> None:
    path = save(tmp_path / "c.pt", {"model": state_dict(), "epoch": 10**5000})
    assert read_checkpoint(path).epoch is None


def test_names_that_would_command_a_terminal_are_refused(tmp_path: Path) -> None:
    state = {**state_dict(), "\x1b[2J\r\nverified": torch.ones(2)}
    with pytest.raises(CheckpointError, match="is no name of a tensor") as caught:
        read_checkpoint(save(tmp_path / "c.pt", state))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "arguments",
    [
        {"look_ahead": torch.ones(2)},
        {"norm_type": torch.ones(2)},
        {"look_ahead": 10**5000},
        {"kersize": [3, 5, torch.ones(2)]},
        {1: 2},
        {torch.float32: 2},
        {"\x1b[2Jlook_ahead\n": 2},
    ],
    ids=[
        "tensor",
        "tensor for a name",
        "digits",
        "tensor in a list",
        "number as name",
        "type as name",
        "orders to the terminal",
    ],
)
def test_settings_that_no_toml_can_hold_are_one_line(
    arguments: dict[Any, Any], tmp_path: Path
) -> None:
    config = {"model": {"args": arguments}}
    read = read_checkpoint(save(tmp_path / "c.pt", {"model": state_dict(), "config": config}))
    with pytest.raises(ConfigError, match="the config ") as caught:
        infer(read.tensors, read.config)
    assert "\n" not in str(caught.value)


def valid(legacy: bool) -> bytes:
    buffer = io.BytesIO()
    content = {"model": state_dict(), "epoch": 3, "config": {"model": {"args": {"look_ahead": 2}}}}
    torch.save(content, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


VALID = {"zip": valid(legacy=False), "older": valid(legacy=True), "safetensors": safetensors_bytes(state_dict())}  # fmt: skip


def resealed(data: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """Change the pickle of an archive, whose sums are right again."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, change(content) if name.endswith("data.pkl") else content)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", VALID)
@given(
    changes=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=3))
    )
)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_is_changed_a_file_is_read_or_refused_in_one_line(
    kind: str, changes: list[tuple[float, bytes]], tmp_path: Path
) -> None:
    def change(data: bytes) -> bytes:
        for place, new in changes:
            at = int(place * len(data))
            data = data[:at] + new + data[at + len(new) :]
        return data

    data = VALID[kind]
    data = resealed(data, change) if kind == "zip" else change(data)
    try:
        found = read(data, tmp_path)
        infer(found.tensors, found.config)
        message = str(found.weights)
    except FsnpError as error:
        message = str(error)
    assert message.isprintable()
