"""What the tests of all parts share: versions in the report and the model that changes nothing."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path

import pytest


def pytest_report_header() -> str:
    names = ("numpy", "onnxruntime", "soundfile", "soxr", "torch", "onnx")
    installed = {d.metadata["Name"].lower() for d in metadata.distributions()}
    versions = [f"{n} {metadata.version(n)}" for n in names if n in installed]
    return ", ".join([f"python {platform.python_version()}", *versions])


@pytest.fixture(scope="session")
def unity_path() -> Path:
    """An exported file in miniature whose mask decompresses to 1 everywhere."""
    return Path(__file__).parent / "data" / "unity.onnx"
