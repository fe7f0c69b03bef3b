"""The public surface is a promise: these names, cheap to import, torch only at first use."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import typing
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import pytest

import fsnp_onnx
from fsnp_onnx.errors import FsnpError, InstallError


def annotations_of(public: Any) -> Iterator[Any]:
    """Yield the types in a signature, and in those of a class's public methods and properties."""
    members = [public]
    if inspect.isclass(public):
        members += [getattr(public, "__init__", None)]
        members += [value for name, value in vars(public).items() if not name.startswith("_")]
    for member in members:
        function = member.fget if isinstance(member, property) else member
        if inspect.isclass(function) or inspect.isfunction(function):
            public = {name: getattr(fsnp_onnx, name) for name in fsnp_onnx.__all__}
            yield from typing.get_type_hints(function, localns=public).values()


def test_exported_names_exist() -> None:
    assert fsnp_onnx.__all__ == sorted(fsnp_onnx.__all__)
    for name in fsnp_onnx.__all__:
        assert getattr(fsnp_onnx, name) is not None


def test_every_error_class_is_exported() -> None:
    errors = [value for value in vars(fsnp_onnx.errors).values() if isinstance(value, type)]
    assert {error.__name__ for error in errors if issubclass(error, FsnpError)} <= set(
        fsnp_onnx.__all__
    )


def test_everything_that_a_public_signature_mentions_is_exported() -> None:
    for name in fsnp_onnx.__all__:
        public = getattr(fsnp_onnx, name)
        for annotation in annotations_of(public):
            own = set(re.findall(r"fsnp_onnx[\w.]*\.(\w+)", str(annotation)))
            assert own <= set(fsnp_onnx.__all__), f"{name} mentions {own}"


def test_version_is_the_distributions() -> None:
    assert fsnp_onnx.__version__ == metadata.version("fsnp-onnx")


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = fsnp_onnx.nonsense


def test_import_brings_nothing_heavy() -> None:
    code = (
        "import sys, fsnp_onnx;"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'soundfile', 'soxr', 'typer', 'rich'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


def test_export_without_its_extra_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("fsnp_onnx.export")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InstallError, match=r"needs torch.*pip install 'fsnp-onnx\[export\]'"):
        _ = fsnp_onnx.export_checkpoint


def test_every_error_is_also_a_builtin() -> None:
    for error in FsnpError.__subclasses__():
        assert any(base.__module__ == "builtins" for base in error.__mro__[2:-3]), error
