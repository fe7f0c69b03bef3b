"""Read a FullSubNet+ checkpoint of any kind that is in use, without running code that is in it.

Kinds: what ``torch.save`` writes, whatever is around the weights and whatever stands in front of their
names; the folder that comes out when somebody unpacks such a file (a zip archive, even if it ends in
``.tar``); and safetensors. docs/checkpoints.md lists them.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
import zipfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import torch
from torch import Tensor

from fsnp_onnx.errors import CheckpointError, InstallError, MissingFileError, one_line
from fsnp_onnx.export import inert
from fsnp_onnx.export.file_kinds import foreign_kind, is_safetensors

# What wraps a module, or a part of it, and adds itself to the names of its weights
_WRAPPER: Final = r"(?:module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
_WRAPPERS: Final = re.compile(rf"(?<![^.]){_WRAPPER}")
# The name that each FullSubNet+ has, and has once
_ANCHOR: Final = re.compile(rf"(.*)fb_model\.(?:{_WRAPPER})*fc_output_layer\.weight", re.DOTALL)
# What tools that count put among the weights: thop, torch's AveragedModel, batch norm
_COUNTERS: Final = {"total_ops", "total_params", "n_averaged", "num_batches_tracked"}


@dataclass(frozen=True)
class FoundWeights:
    """Where in a checkpoint the weights are.

    Attributes:
        entry: The entries that lead to them, joined by dots; empty if they are not in an entry.
        prefix: What stands in front of their names.
        left_out: Names beside them that are not weights of the network: counters, other modules.
    """

    entry: str
    prefix: str
    left_out: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name to choose them by where a checkpoint has several networks."""
        return ".".join(filter(None, [self.entry, self.prefix.strip(".")])) or "."

    def __str__(self) -> str:
        """Return all of it as a line."""
        parts = [f"entry {self.entry!r}" if self.entry else "not in an entry"]
        parts += [f"names without {self.prefix!r}"] if self.prefix else []
        others = [name for name in self.left_out if _last(name) not in _COUNTERS]
        counters = Counter(_last(name) for name in self.left_out if _last(name) in _COUNTERS)
        texts = others + [f"{name} ({n})" if n > 1 else name for name, n in counters.items()]
        texts[4:] = [f"{len(texts) - 4} more"] if len(texts) > 4 else []
        return ", ".join(parts) + (f"; left out: {', '.join(texts)}" if texts else "")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint's content; epoch and training configuration are None where it has none."""

    name: str  # of the file, without its ending
    tensors: dict[str, Tensor]  # by published name, float32
    weights: FoundWeights  # where they were found
    epoch: int | None
    sha256: str  # of the file; for an unpacked folder, of the files in it
    config: dict[str, Any] | None


def read_checkpoint(path: Path, entry: str | None = None) -> Checkpoint:
    """Read a checkpoint file or unpacked folder; ``entry`` chooses one of several networks in it."""
    try:
        if path.is_dir():
            data, sha256 = _pack_folder(path)
        else:
            data = path.read_bytes()
            sha256 = hashlib.sha256(data).hexdigest()
    except OSError as error:
        reason = error.strerror or str(error)
        raise MissingFileError(f"cannot read checkpoint {path}: {reason}") from error
    kind = foreign_kind(data)
    if kind:
        raise CheckpointError(f"{path} is {kind}")
    content = _load(path, data)
    found, state = _choose(path, content, entry)
    tensors, left_out = _tensors(path, state, found.prefix)
    others = content if isinstance(content, Mapping) else {}
    epoch, config = others.get("epoch"), others.get("config")
    return Checkpoint(
        name=path.stem if path.is_file() else path.name,
        tensors=tensors,
        weights=FoundWeights(found.entry, found.prefix, left_out),
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
    files = {}
    for file in sorted(p for p in root.rglob("*") if p.is_file()):
        name, data = file.relative_to(root).as_posix(), file.read_bytes()
        digest.update(f"{name} {len(data)}\n".encode() + data)
        files[name] = data
    return _pack(files), digest.hexdigest()


def _repack(data: bytes) -> bytes:
    """Copy a zip archive, so that torch sees the files that were looked at here, and checked sums."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        paths = [PurePosixPath(name) for name in archive.namelist() if not name.endswith("/")]
        (root,) = (path.parent for path in paths if path.name == "data.pkl")
        inside = [path for path in paths if path.is_relative_to(root)]
        return _pack({str(p.relative_to(root)): archive.read(str(p)) for p in inside})


def _pack(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(f"archive/{name}", data)
    return buffer.getvalue()


def _load(path: Path, data: bytes) -> Any:
    """Load tensors, containers, text and numbers; every other object is left out unexecuted."""
    try:
        if is_safetensors(data):
            return _load_safetensors(data)
        if data.startswith(b"PK"):
            data = _repack(data)
        with warnings.catch_warnings(action="ignore"):
            return torch.load(
                io.BytesIO(data), map_location="cpu", pickle_module=inert, weights_only=False
            )
    except InstallError:
        raise
    except inert.Refused as error:
        raise CheckpointError(
            f"{path} names {error} beside its tensors, which was not loaded because that would run "
            "code; do not trust the file, or save the state_dict alone"
        ) from error
    except Exception as error:  # foreign bytes make the unpickler raise nearly anything
        raise CheckpointError(
            f"{path} is not a PyTorch checkpoint, or is damaged ({one_line(error)[:100]}); "
            "expected a file written by torch.save, or .safetensors"
        ) from error


def _load_safetensors(data: bytes) -> dict[str, Tensor]:
    try:
        from safetensors.torch import load  # noqa: PLC0415 - only these files need it
    except ImportError as error:
        raise InstallError(
            "this checkpoint needs safetensors, not installed; run pip install 'fsnp-onnx[export]'"
        ) from error
    return load(data)


def _choose(path: Path, content: Any, entry: str | None) -> tuple[FoundWeights, Mapping[Any, Any]]:
    """Return the one network in a checkpoint, or the one that was asked for."""
    networks = _networks(content)
    if not networks:
        kind = type(content).__name__
        entries = ", ".join(map(repr, list(content)[:5])) if isinstance(content, Mapping) else ""
        raise CheckpointError(
            f"{path} holds no weights of a FullSubNet+: no tensor's name ends in "
            f"'fb_model.fc_output_layer.weight' (the file holds a {kind}{entries and ': '}{entries}); "
            "save the state_dict alone"
        )
    names = ", ".join(repr(weights.name) for weights, _ in networks)
    if entry is None and len(networks) > 1:
        raise CheckpointError(
            f"{path} holds {len(networks)} networks: {names}; "
            "choose one with --entry NAME (entry= in Python)"
        )
    chosen = [found for found in networks if entry in {None, found[0].name}]
    if not chosen:
        raise CheckpointError(f"{path} has no network {entry!r}; expected {names}")
    return chosen[0]


def _networks(content: Any) -> list[tuple[FoundWeights, Mapping[Any, Any]]]:
    """Find each network in nested dicts and lists, and what stands in front of its names."""
    found = []
    parts, seen = [("", content)], set()
    for entry, part in parts:  # grows as parts are found in parts
        if id(part) in seen or not isinstance(part, Mapping | list | tuple):
            continue
        seen.add(id(part))
        for name, value in part.items() if isinstance(part, Mapping) else enumerate(part):
            anchor = _ANCHOR.fullmatch(str(name))
            if anchor and isinstance(part, Mapping) and isinstance(value, Tensor):
                found.append((FoundWeights(entry, anchor[1]), part))
            parts.append((f"{entry}.{name}" if entry else str(name), value))
    return found


def _tensors(
    path: Path, state: Mapping[Any, Any], prefix: str
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the weights by their published names as float32, and the names of what else is there."""
    tensors, left_out = {}, []
    for key, value in state.items():
        name = str(key)
        if not name.startswith(prefix) or _is_no_weight(name, value):
            left_out.append(name)
            continue
        tensors[_WRAPPERS.sub("", name.removeprefix(prefix))] = _weight(path, name, value)
    return tensors, tuple(left_out)


def _is_no_weight(name: str, value: object) -> bool:
    if not isinstance(value, Tensor):  # a tensor of another kind is an error, not left out
        return not type(value).__name__.startswith("_rebuild")
    is_count = not value.is_floating_point() or _last(name) in _COUNTERS
    return is_count and value.numel() == 1


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _weight(path: Path, name: str, value: Any) -> Tensor:
    if not isinstance(value, Tensor) or not value.is_floating_point():
        kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise CheckpointError(f"{path}: tensor {name!r} is {kind}; expected floats with values")
    weight = value.detach().to(torch.float32)
    if not torch.isfinite(weight).all():
        raise CheckpointError(
            f"{path}: tensor {name!r} contains NaN or infinite weights; pick an earlier checkpoint"
        )
    return weight
