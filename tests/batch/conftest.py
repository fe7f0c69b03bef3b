"""How the tests of batch work call the library."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fsnp_onnx.batch.files import enhance_files
from fsnp_onnx.batch.worker import Failed
from fsnp_onnx.runtime.recording import Done

Run = Callable[..., list[Done | Failed]]

_PRINT = """
    for result in results:
        print(result, flush=True)
"""


@pytest.fixture
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(unity_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Enhance with the unity model in an empty folder and return all results."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: Any, **options: Any) -> list[Done | Failed]:
        return list(enhance_files(*arguments, **{"model": unity_path} | options))

    return call


@pytest.fixture
def main(unity_path: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """Return a function that writes a program which enhances, and returns its command line."""

    def write(arguments: str, *, before: str = "", after: str = _PRINT) -> list[str]:
        path = tmp_path / "main.py"
        path.write_text(
            f"{before}\nimport multiprocessing, time\nfrom pathlib import Path\n"
            "from fsnp_onnx.batch.files import enhance_files\n"
            "from fsnp_onnx.batch.cluster import Cluster\n"
            "if __name__ == '__main__':\n"
            f"    results = enhance_files({arguments}, model={str(unity_path)!r})\n{after}"
        )
        return [sys.executable, str(path)]

    return write
