"""Read a pickle of PyTorch without running anything that it names.

A pickle names classes and functions and says what to call them with. Here no name is ever looked up: the
few that rebuild tensors stand in a table, and every other one is replaced by an `Inert` class.
"""

from __future__ import annotations

import builtins
import pickle
import sys
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable
from typing import Any, BinaryIO, Final

import torch
from torch import Tensor


class Refused(pickle.UnpicklingError):
    """A pickle that wants to call what no checkpoint needs."""


class Inert(dict[Any, Any]):
    """Stands for a Python object: it keeps the entries of a dict, and does nothing else.

    Each name in a pickle becomes a subclass of the same name.
    """

    def __init__(self, *_: object, **__: object) -> None:
        super().__init__()

    def __call__(self, *_: object, **__: object) -> Inert:
        """Call nothing."""
        return Inert()

    def __setstate__(self, _: object) -> None: ...

    def append(self, _: object) -> None:
        """Keep nothing, as for a list."""

    add = extend = append

    def __hash__(self) -> int:  # type: ignore[override]  # a dict has none; a key of an entry may be inert
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


class _Rebuild:
    """A function that rebuilds tensors, which no pickle can change."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., object]) -> None:
        self._function = function

    def __call__(self, *arguments: object) -> object:
        return self._function(*arguments)

    def __setstate__(self, _: object) -> None: ...


def _tensor(storage: Tensor, offset: int, size: Any, stride: Any, *_: object) -> Tensor:
    """Cut a tensor from a storage; torch refuses one that ends beyond it."""
    return storage.as_strided(size, stride, offset)


def _data(data: Tensor, *_: object) -> Tensor:
    """Return the values of a parameter."""
    return data


def _without_type(
    rebuild: Callable[..., object], _: object, arguments: tuple[object, ...], *__: object
) -> object:
    """Rebuild a tensor of a subclass, or one that has attributes, as a plain tensor."""
    return rebuild(*arguments)


_TENSORS: Final = {
    "torch._utils._rebuild_tensor": _Rebuild(_tensor),
    "torch._utils._rebuild_tensor_v2": _Rebuild(_tensor),
    "torch._utils._rebuild_parameter": _Rebuild(_data),
    "torch._utils._rebuild_parameter_with_state": _Rebuild(_data),
    "torch._tensor._rebuild_from_type_v2": _Rebuild(_without_type),
}
_STORAGES: Final = {
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool, "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
}  # fmt: skip
# modules of the standard library whose objects are met beside weights
_DATA_MODULES: Final = {
    "_codecs", "argparse", "array", "collections", "copyreg", "datetime", "decimal", "enum", "fractions",
    "functools", "itertools", "logging", "pathlib", "random", "re", "time", "types", "typing", "uuid",
    "zoneinfo",
}  # fmt: skip


FindStorage = Callable[[str, torch.dtype, int], Tensor]  # by key, type and length


class _Unpickler(pickle._Unpickler):  # noqa: SLF001 - the one in C takes as much memory as a file asks for
    """Makes tensors, plain containers, text, numbers, and `Inert` objects for the rest."""

    def __init__(self, file: BinaryIO, storage: FindStorage | None) -> None:
        super().__init__(file, encoding="utf-8")  # of text that Python 2 wrote
        self._storage = storage

    def persistent_load(self, pid: Any) -> Any:
        """Return the storage, or the module's class, that the pickle refers to."""
        kind, what, *rest = pid
        if kind == "module":
            return what
        if kind != "storage" or self._storage is None:
            raise pickle.UnpicklingError(f"it refers to an unknown {kind}")
        key, _, length = rest[:3]
        return self._storage(key, what if isinstance(what, torch.dtype) else torch.uint8, length)

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a name; no name is imported."""
        full_name = f"{module}.{name}"
        if full_name in _TENSORS:
            return _TENSORS[full_name]
        if name in _STORAGES:
            return _STORAGES[name]
        if not _may_be_data(module, name):
            raise Refused(full_name)
        return type(name.rpartition(".")[2], (Inert,), {})


def _may_be_data(module: str, name: str) -> bool:
    """Whether a name can stand for data. Others, as os.system, show an attack: no trainer writes them."""
    # old protocols, as torch.save's, have the names of Python 2
    module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
    root = module.partition(".")[0]
    if root == "builtins":
        return isinstance(getattr(builtins, name, None), type)
    is_class = "." not in name  # not a method
    return (root in _DATA_MODULES and is_class) or root not in sys.stdlib_module_names


def load(file: BinaryIO, storage: FindStorage | None = None) -> Any:
    """Read one pickle; ``storage`` gives the numbers that tensors are cut from.

    Raises:
        Refused: The pickle names what no checkpoint needs.
        Exception: The bytes are no pickle, or a damaged one.
    """
    return _Unpickler(file, storage).load()
