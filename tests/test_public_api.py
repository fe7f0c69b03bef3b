"""The public surface is a promise: these names, cheap to import, torch only at first use."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import pytest

import fsnp_onnx
from fsnp_onnx.errors import FsnpError, InstallError


def test_exported_names_exist() -> None:
    assert fsnp_onnx.__all__ == ["Enhancer", "FsnpError", "ModelSpec", "export_checkpoint"]
    for name in fsnp_onnx.__all__:
        assert callable(getattr(fsnp_onnx, name))


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
