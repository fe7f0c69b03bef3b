"""The npm package: its own tests, its types, and WAV files held against libsndfile."""

from __future__ import annotations

import json
import re
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

import fsnp_onnx
from fsnp_onnx import Enhancer
from tests.web.tools import ROOT, WEB, installed, require, run_node

HERE = Path(__file__).parent

pytestmark = pytest.mark.slow


def test_the_core_passes_its_own_tests() -> None:
    command = [require("npm"), "test"]
    done = subprocess.run(command, cwd=installed(WEB), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_types_hold() -> None:
    run_node("node_modules/typescript/bin/tsc")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("kind", ["WAV", "WAVEX"])
def test_wav_files_are_read_and_written_as_libsndfile_does(
    kind: str, subtype: str, channels: int, tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).uniform(-1, 1, (1001, channels))
    given, copied = tmp_path / "given.wav", tmp_path / "copied.wav"
    soundfile.write(given, noise, 22050, subtype=subtype, format=kind)
    run_node(HERE / "wav_copy.mjs", given, copied)
    expected, _ = soundfile.read(given, dtype="float32", always_2d=True)
    found, rate = soundfile.read(copied, dtype="float32", always_2d=True)
    assert (rate, soundfile.info(copied).subtype) == (22050, "FLOAT")
    np.testing.assert_array_equal(found, expected)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as npm unpacks it, in a project that has onnxruntime-web, too."""
    folder = tmp_path_factory.mktemp("project")
    command = [require("npm"), "pack", "--silent", "--pack-destination", str(folder)]
    subprocess.run(command, cwd=installed(WEB), check=True, timeout=300)
    (packed,) = folder.glob("fsnp-onnx-*.tgz")
    with tarfile.open(packed) as archive:
        archive.extractall(folder, filter="data")
    modules = folder / "node_modules"
    modules.mkdir()
    for dependency in ("onnxruntime-web", "onnxruntime-common"):
        (modules / dependency).symlink_to(WEB / "node_modules" / dependency)
    (folder / "package").rename(modules / "fsnp-onnx")
    return modules / "fsnp-onnx"


def test_the_package_holds_the_core_its_types_and_the_licence(package: Path) -> None:
    names = {path.relative_to(package).as_posix() for path in package.rglob("*") if path.is_file()}
    assert {"package.json", "README.md", "src/core/index.js", "types/index.d.ts"} <= names
    assert (package / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert not [name for name in names if "page" in Path(name).parts or "node_modules" in name]


def test_the_example_of_the_package_runs(package: Path) -> None:
    project = package.parents[1]
    (example,) = re.findall("```js\n(.*?)```", (package / "README.md").read_text(), re.DOTALL)
    (project / "example.mjs").write_text(example)
    for name in ("default-waveform.onnx", "live.onnx"):
        (project / name).symlink_to(ROOT / "fsnp_onnx" / "models" / name)
    noisy, rate = soundfile.read(ROOT / "samples" / "hum_5db_noisy.flac", dtype="float32")
    soundfile.write(project / "noisy.wav", noisy, rate, subtype="FLOAT")
    run_node("example.mjs", folder=project)
    for name, model in (("clean.wav", "default"), ("live.wav", "live")):
        found, _ = soundfile.read(project / name, dtype="float32")
        expected = Enhancer(model, provider="cpu").enhance(noisy, rate)
        np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)


TYPED = """
import { Enhancer, LiveStream } from 'fsnp-onnx'
import * as ort from 'onnxruntime-web/wasm'

const enhancer: Enhancer = await Enhancer.create(ort, new Uint8Array(), { logSeverityLevel: 3 })
const stream: LiveStream = await LiveStream.create(ort, new Uint8Array())
const clean: Float32Array = await enhancer.enhance(await stream.process(new Float32Array(stream.hop)))
"""


@pytest.mark.parametrize(
    ("more", "error"),
    [("export { clean }", ""), ("clean.volume", "TS2339"), ("stream.run({})", "TS2445")],
)
def test_the_types_of_the_package_fit_the_runtime_and_find_errors(
    package: Path, more: str, error: str
) -> None:
    project = package.parents[1]
    (project / "typed.mts").write_text(TYPED + more)
    tsc = WEB / "node_modules" / "typescript" / "bin" / "tsc"
    options = ["--noEmit", "--strict", "--module", "nodenext", "--target", "es2022", "typed.mts"]
    done = subprocess.run(
        [require("node"), tsc, *options], cwd=project, capture_output=True, text=True, check=False
    )
    assert (done.returncode == 0) is (error == ""), done.stdout
    assert error in done.stdout


def test_the_package_has_the_version_of_the_python_package() -> None:
    assert json.loads((WEB / "package.json").read_text())["version"] == fsnp_onnx.__version__


def test_the_lock_file_names_no_host() -> None:
    assert "://" not in "".join(
        line for line in (WEB / "package-lock.json").read_text().splitlines() if "resolved" in line
    )
