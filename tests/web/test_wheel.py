"""The page of an installed wheel: fsnp-serve serves it, and it gives the samples of Python."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fsnp_onnx import Enhancer
from tests.serve.running import Running, running
from tests.web.conftest import SAMPLE, OpenPage
from tests.web.test_recording_tab import TOLERANCE, downloaded, enhance
from tests.web.tools import ROOT

MOST_BYTES = 25_000_000
MARK = "of the wheel"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(built_page: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, built from a copy of the sources that has the page."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "fsnp_onnx", source / "fsnp_onnx")
    shutil.copytree(built_page, source / "web" / "dist")
    with (source / "web" / "dist" / "licences.txt").open("a") as text:
        text.write(MARK)
    shutil.copy(ROOT / "web" / "wheel.py", source / "web")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir"]
    subprocess.run([*command, source / "built", source], check=True, timeout=600)
    (built,) = (source / "built").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed_service(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The service of the unpacked wheel, with the dependencies that are here."""
    site, folder = (tmp_path_factory.mktemp(name) for name in ("site", "service"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(site))
        patch.chdir(folder)
        with running(folder) as service:
            assert MARK in service.get("/licences.txt")[1]  # else it is not the wheel that runs
            yield service


def test_the_wheel_with_the_page_is_small_and_holds_each_model_once(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "fsnp_onnx/serve/page/index.html" in names
    models = [Path(name).name for name in names if name.endswith(".onnx")]
    assert len(models) == len(set(models))
    assert wheel.stat().st_size < MOST_BYTES


def test_the_page_of_an_installed_wheel_gives_the_samples_of_python(
    installed_service: Running, open_page: OpenPage, tmp_path: Path
) -> None:
    page = open_page(base=f"http://127.0.0.1:{installed_service.port}/")
    assert page.evaluate("self.crossOriginIsolated") is True
    enhance(page, SAMPLE)
    _, found, _ = downloaded(page, "#download", tmp_path)
    expected = Enhancer("default", provider="cpu").enhance(*soundfile.read(SAMPLE))
    np.testing.assert_allclose(found, expected, atol=TOLERANCE, rtol=0)
