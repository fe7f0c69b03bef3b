"""Read what ``torch.save`` writes without torch.load: a zip archive, its unpacked folder, or the older format.

All hold one pickle and, beside it, storages: plain numbers that the pickle cuts tensors from. A storage is
here what the file really holds, whatever the pickle says of its length.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from fsnp_onnx.errors import CheckpointError
from fsnp_onnx.export import inert

_MAGIC: Final = 0x1950A86A20F9469CFC6C  # the older format begins with its pickle
_MOST_EXPANSION: Final = 20  # times the size of a zip: weights hardly compress


def load(data: bytes) -> Any:
    """Return the content of a file: tensors, containers, text, numbers, and `inert.Inert` for the rest.

    Raises:
        inert.Refused: The file asks to run what no checkpoint needs.
        Exception: The bytes are something else, or damaged.
    """
    return load_records(_unzipped(data)) if data.startswith(b"PK") else _load_older(data)


def _unzipped(data: bytes) -> dict[str, bytes]:
    """Return the files of a zip archive, by their names in the folder of its data.pkl; sums are checked."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        infos = archive.infolist()
        if sum(info.file_size for info in infos) > _MOST_EXPANSION * len(data):
            raise ValueError(f"the archive expands to more than {_MOST_EXPANSION} times its size")
        (root,) = {
            info.filename.removesuffix("data.pkl")
            for info in infos
            if info.filename.rpartition("/")[2] == "data.pkl"
        }
        names = {info.filename for info in infos if info.filename.startswith(root)}
        return {name.removeprefix(root): archive.read(name) for name in names}


def read_folder(folder: Path) -> tuple[dict[str, bytes], str]:
    """Return the files of an unpacked archive, as those of a zip, and their sha256."""
    pickles = [*folder.glob("data.pkl"), *folder.glob("*/data.pkl")]
    if len(pickles) != 1:
        raise CheckpointError(
            f"folder {folder} holds {len(pickles)} files data.pkl; expected one unpacked checkpoint"
        )
    root = pickles[0].parent
    digest, records = hashlib.sha256(), {}
    for file in sorted(path for path in root.rglob("*") if path.is_file()):
        name, data = file.relative_to(root).as_posix(), file.read_bytes()
        digest.update(f"{name} {len(data)}\n".encode() + data)
        records[name] = data
    return records, digest.hexdigest()


def load_records(records: Mapping[str, bytes]) -> Any:
    """Return the content of an archive's files; the errors are those of `load`."""
    if records.get("byteorder", b"little") != b"little":
        raise ValueError("it was written on a big-endian machine")

    @cache  # tensors may share one
    def storage(key: str, dtype: torch.dtype) -> Tensor:
        return _numbers(records[f"data/{key}"], dtype)

    pickle = io.BytesIO(records["data.pkl"])
    return inert.load(pickle, lambda key, dtype, _: storage(key, dtype))


def _load_older(data: bytes) -> Any:
    """Read pickle after pickle, and the storages at the end, which are filled in last."""
    file = io.BytesIO(data)
    if inert.load(file) != _MAGIC:
        raise ValueError("it does not begin as one")
    inert.load(file), inert.load(file)  # a version, and the machine that wrote the file
    storages: dict[str, Tensor] = {}

    def storage(key: str, dtype: torch.dtype, length: int) -> Tensor:
        if key not in storages:
            storages[key] = torch.empty(length, dtype=dtype)
        return storages[key]

    content = inert.load(file, storage)
    for key in inert.load(file):
        empty = storages.pop(key)
        length = int.from_bytes(file.read(8), "little")
        numbers = _numbers(file.read(empty.nbytes), empty.dtype)
        if not length == len(numbers) == len(empty):
            raise ValueError(f"storage {key!r} is not as long as the pickle says")
        empty.copy_(numbers)
    if storages:
        raise ValueError(f"storage {min(storages)!r} is missing")
    return content


def _numbers(data: bytes, dtype: torch.dtype) -> Tensor:
    if not data:
        return torch.empty(0, dtype=dtype)
    return torch.frombuffer(bytearray(data), dtype=dtype)
