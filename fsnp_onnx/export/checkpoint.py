"""Read a FullSubNet+ checkpoint of any kind that is in use, without running code that is in it.

Kinds: what ``torch.save`` writes, whatever is around the weights and whatever stands in front of their
names; the folder that comes out when somebody unpacks such a file (a zip archive, even if it ends in
``.tar``); and safetensors. docs/checkpoints.md lists them.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from fsnp_onnx.errors import (
    CheckpointError,
    FsnpError,
    InstallError,
    MissingFileError,
    one_line,
)
from fsnp_onnx.export import archive, inert
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
        content, sha256 = _read(path)
        return _checkpoint(path, content, sha256, entry)
    except FsnpError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise MissingFileError(f"cannot read checkpoint {path}: {reason}") from error
    except inert.Refused as error:
        raise CheckpointError(
            f"{path} names {one_line(error)[:100]} beside its tensors, which was not loaded because that would run "
            "code; do not trust the file, or save the state_dict alone"
        ) from error
    except Exception as error:  # foreign bytes can raise nearly anything
        raise CheckpointError(
            f"{path} is not a PyTorch checkpoint, or is damaged ({one_line(error)[:100]}); "
            "expected a file written by torch.save, or .safetensors"
        ) from error


def _read(path: Path) -> tuple[Any, str]:
    """Return the content of a file or folder, and its sha256."""
    if path.is_dir():
        records, sha256 = archive.read_folder(path)
        return archive.load_records(records), sha256
    data = path.read_bytes()
    if kind := foreign_kind(data):
        raise CheckpointError(f"{path} is {kind}")
    content = _load_safetensors(data) if is_safetensors(data) else archive.load(data)
    return content, hashlib.sha256(data).hexdigest()


def _checkpoint(path: Path, content: Any, sha256: str, entry: str | None) -> Checkpoint:
    found, state = _choose(path, content, entry)
    tensors, left_out = _tensors(path, state, found.prefix)
    others = content if isinstance(content, Mapping) else {}
    epoch, config = others.get("epoch"), others.get("config")
    return Checkpoint(
        name=path.stem if path.is_file() else path.name,
        tensors=tensors,
        weights=FoundWeights(found.entry, found.prefix, left_out),
        epoch=epoch if isinstance(epoch, int) and abs(epoch) < 1 << 63 else None,
        sha256=sha256,
        config=config if isinstance(config, dict) else None,
    )


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
    found: list[tuple[FoundWeights, Mapping[Any, Any]]] = []
    parts: list[tuple[Any, Any]] = [(None, content)]
    seen = set()
    for place, part in parts:  # grows as parts are found in parts
        if id(part) in seen or not isinstance(part, Mapping | list | tuple):
            continue
        seen.add(id(part))
        for name, value in part.items() if isinstance(part, Mapping) else enumerate(part):
            anchor = _ANCHOR.fullmatch(str(name))
            if anchor and isinstance(part, Mapping) and isinstance(value, Tensor):
                found.append((FoundWeights(_entry(place), anchor[1]), part))
            parts.append(((place, name), value))
    return found


def _entry(place: Any) -> str:
    """Join the names that lead to a part; its place is that of the part around it, and its name there."""
    names: list[str] = []
    while place:
        place, name = place
        names.insert(0, str(name))
    return ".".join(names)


def _tensors(
    path: Path, state: Mapping[Any, Any], prefix: str
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the weights by their published names as float32, and the names of what else is there."""
    tensors, left_out = {}, []
    for key, value in state.items():
        name = str(key)
        if not name.isprintable():  # it will be printed
            raise CheckpointError(f"{path}: {name!r} is no name of a tensor; the file is damaged")
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
    if value.numel() * value.itemsize > value.untyped_storage().nbytes():
        raise CheckpointError(f"{path}: tensor {name!r} has more values than the file holds for it")
    weight = value.detach().to(torch.float32)
    if not torch.isfinite(weight).all():
        raise CheckpointError(
            f"{path}: tensor {name!r} contains NaN or infinite weights; pick an earlier checkpoint"
        )
    return weight
