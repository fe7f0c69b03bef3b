"""Read a FullSubNet+ checkpoint of any kind that is in use, without running code that is in it.

Kinds: ``{"model": state_dict, "epoch": n, ...}`` as the published trainer saves it, a bare state_dict,
parameter names with ``module.`` in front (saved from DataParallel), any file ending, and the folder that
comes out when somebody unpacks a ``.tar`` (which is a zip archive by PyTorch).
"""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fsnp_onnx.errors import CheckpointError, MissingFileError

_WEIGHTS = ("model", "state_dict")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint's content; epoch and training configuration are None where it has none."""

    name: str  # of the file, without its ending
    tensors: dict[str, Tensor]  # by published name, float32
    epoch: int | None
    sha256: str  # of the file; for an unpacked folder, of the files in it
    config: dict[str, Any] | None


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint file or unpacked folder."""
    try:
        if path.is_dir():
            data, sha256 = _pack_folder(path)
        else:
            data = path.read_bytes()
            sha256 = hashlib.sha256(data).hexdigest()
    except OSError as error:
        reason = error.strerror or str(error)
        raise MissingFileError(f"cannot read checkpoint {path}: {reason}") from error
    content = _unpickle(path, data)
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{path} holds a {type(content).__name__}; expected a checkpoint dict or a state_dict"
        )
    epoch, config = content.get("epoch"), content.get("config")
    return Checkpoint(
        name=path.stem if path.is_file() else path.name,
        tensors=_tensors(path, content),
        epoch=epoch if isinstance(epoch, int) else None,
        sha256=sha256,
        config=config if isinstance(config, dict) else None,
    )


def _pack_folder(folder: Path) -> tuple[bytes, str]:
    """Rebuild the zip archive that ``torch.save`` wrote and somebody unpacked."""
    pickles = [*folder.glob("data.pkl"), *folder.glob("*/data.pkl")]
    if len(pickles) != 1:
        raise CheckpointError(
            f"folder {folder} holds {len(pickles)} files data.pkl; expected one unpacked checkpoint"
        )
    root = pickles[0].parent
    digest = hashlib.sha256()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for file in sorted(p for p in root.rglob("*") if p.is_file()):
            name, data = file.relative_to(root).as_posix(), file.read_bytes()
            digest.update(f"{name} {len(data)}\n".encode() + data)
            archive.writestr(f"archive/{name}", data)
    return buffer.getvalue(), digest.hexdigest()


def _unpickle(path: Path, data: bytes) -> Any:
    """Load tensors, containers, numbers and numpy scalars; refuse everything else unexecuted."""
    try:
        with torch.serialization.safe_globals(_numpy_scalars()):
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # foreign bytes make the unpickler raise nearly anything
        refused = re.search(r"GLOBAL ([\w.]+)", str(error))
        if refused:
            raise CheckpointError(
                f"{path} holds a {refused[1]} beside its tensors, which was not loaded because "
                "that would run its code; save the state_dict alone"
            ) from error
        raise CheckpointError(
            f"{path} is not a PyTorch checkpoint; expected a file written by torch.save"
        ) from error


def _numpy_scalars() -> list[Any]:
    """What a numpy number (the published trainer's ``best_score``) pickles as, old and new."""
    scalar = np.float64(0).__reduce__()[0]
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    dtypes = [type(np.dtype(code)) for code in ("f2", "f4", "f8", "i4", "i8", "u1", "?")]
    return [*((scalar, name) for name in names), np.dtype, *dtypes]


def _tensors(path: Path, content: Mapping[Any, Any]) -> dict[str, Tensor]:
    """Find the state_dict, strip ``module.``, check the values and return them as float32."""
    state = next((content[k] for k in _WEIGHTS if isinstance(content.get(k), Mapping)), content)
    if not state:
        raise CheckpointError(f"{path} contains no tensors; expected 'model' or parameters by name")
    prefixed = all(str(name).startswith("module.") for name in state)
    tensors = {}
    for name, value in state.items():
        if not isinstance(value, Tensor) or not isinstance(name, str):
            keys = ", ".join(map(str, list(content)[:5]))
            raise CheckpointError(
                f"{path} has no state_dict: entry {name!r} is a {type(value).__name__} "
                f"(top-level entries: {keys}); expected 'model' or parameters by name"
            )
        if not value.is_floating_point() or value.layout is not torch.strided or value.is_meta:
            raise CheckpointError(
                f"{path}: tensor {name!r} is {value.dtype}, {value.layout} on {value.device}; "
                "expected floats with values"
            )
        weight = value.detach().to(torch.float32)
        if not torch.isfinite(weight).all():
            raise CheckpointError(
                f"{path}: tensor {name!r} contains NaN or infinite weights; pick an earlier checkpoint"
            )
        tensors[name.removeprefix("module.") if prefixed else name] = weight
    return tensors
