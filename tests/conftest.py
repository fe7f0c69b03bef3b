"""What all tests share: versions in the report, and a model whose mask changes nothing."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path

import pytest

import fsnp_onnx


def pytest_report_header() -> list[str]:
    names = ("numpy", "onnxruntime", "soundfile", "soxr", "typer", "torch", "onnx", "ray")
    installed = {d.metadata["Name"].lower() for d in metadata.distributions()}
    versions = [f"{n} {metadata.version(n)}" for n in names if n in installed]
    return [
        ", ".join([f"python {platform.python_version()}", *versions]),
        f"fsnp_onnx from {Path(fsnp_onnx.__file__).parent}",
    ]


@pytest.fixture(scope="session")
def unity_path() -> Path:
    """A small exported file whose decompressed mask is 1 everywhere."""
    return Path(__file__).parent / "data" / "unity.onnx"
