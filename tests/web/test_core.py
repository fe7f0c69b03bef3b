"""The npm package: its own tests, its types, and WAV files held against libsndfile."""

from __future__ import annotations

import json
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.web.tools import ROOT, WEB, installed_web, require, run_node

HERE = Path(__file__).parent

pytestmark = pytest.mark.slow


def test_the_core_passes_its_own_tests() -> None:
    run_node("--test", HERE / "core.test.mjs")


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


def test_the_package_holds_the_core_its_types_and_the_licence(tmp_path: Path) -> None:
    npm = require("npm")
    subprocess.run(
        [npm, "pack", "--silent", "--pack-destination", tmp_path],
        cwd=installed_web(),
        check=True,
        timeout=300,
    )
    (packed,) = tmp_path.glob("fsnp-onnx-*.tgz")
    with tarfile.open(packed) as archive:
        archive.extractall(tmp_path, filter="data")
    names = {
        path.relative_to(tmp_path / "package").as_posix()
        for path in (tmp_path / "package").rglob("*.*")
    }
    assert {"package.json", "src/core/index.js", "types/index.d.ts"} <= names
    assert (tmp_path / "package" / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert not [name for name in names if "page" in name or "node_modules" in name]
    user = tmp_path / "user.mjs"
    user.write_text(
        "import * as core from './package/src/core/index.js'; console.log(Object.keys(core).join())"
    )
    exported = "Enhancer,LiveStream,ModelFileError,WavError,readSpec,readWav,writeWav"
    assert run_node(user).strip() == exported


def test_the_package_has_the_version_of_the_python_package() -> None:
    import fsnp_onnx

    assert json.loads((WEB / "package.json").read_text())["version"] == fsnp_onnx.__version__


def test_the_lock_file_names_no_host() -> None:
    assert "://" not in "".join(
        line for line in (WEB / "package-lock.json").read_text().splitlines() if "resolved" in line
    )
