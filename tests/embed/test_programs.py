"""Programs in C++ and Node against this package's Enhancer, and against other metadata."""

from __future__ import annotations

import json
import shutil
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import soundfile

from fsnp_onnx import Enhancer
from fsnp_onnx.runtime.bundled import MODELS
from tests.embed.programs import NODE, Program, Samples, build_cpp, node, node_live, node_whole
from tests.runtime.models import DELAY, DELAY_SPEC, HALVES, UNITY, WAVEFORM_SPEC, with_metadata
from tests.web.tools import ROOT

pytestmark = pytest.mark.slow
WAVEFORM, LIVE = MODELS / "default-waveform.onnx", MODELS / "live.onnx"
SAMPLE = ROOT / "samples" / "hum_5db_noisy.flac"
FULL_SCALE = 1e-4  # of this part: what programs on one runtime may differ by, 16 bits included


@pytest.fixture(scope="session")
def cpp(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """The program in C++, built from its own CMakeLists.txt."""
    program = build_cpp(tmp_path_factory.mktemp("cpp"))

    def run(model: Path, noisy: Path, clean: Path) -> subprocess.CompletedProcess[str]:
        command = [program, model, noisy, clean]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    return run


@pytest.fixture(params=["cpp, waveform", "cpp, stream", "node, waveform", "node, stream"])
def kind(request: pytest.FixtureRequest) -> tuple[Program, str]:
    """Return a program and the interface of the files that it takes."""
    language, interface = request.param.split(", ")
    if language == "cpp":
        return request.getfixturevalue("cpp"), interface
    return {"waveform": node_whole, "stream": node_live}[interface], interface


def sound(n_samples: int) -> Samples:
    """Return loud noise that 16 bits hold exactly."""
    integers = np.random.default_rng(n_samples).integers(-16384, 16384, n_samples)
    return (integers / 32768).astype(np.float32)


def refusal(program: Program, model: Path, noisy: Path, clean: Path) -> str:
    """Return the one line with which a program ends that can do nothing; it writes nothing."""
    done = program(model, noisy, clean)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert done.stderr.startswith("error: ")
    assert not clean.exists()
    return done.stderr


def enhanced_by(
    program: Program, model: Path, noisy: Samples, folder: Path, *, rate: int = 16000
) -> Samples:
    soundfile.write(folder / "noisy.wav", noisy, rate, subtype="PCM_16")
    done = program(model, folder / "noisy.wav", folder / "clean.wav")
    assert done.returncode == 0, done.stderr
    clean, found_rate = soundfile.read(folder / "clean.wav", dtype="float32")
    assert found_rate == rate
    return np.asarray(clean)


def test_a_program_gives_the_samples_of_the_python_enhancer(
    kind: tuple[Program, str], tmp_path: Path
) -> None:
    program, interface = kind
    model = {"waveform": WAVEFORM, "stream": LIVE}[interface]
    noisy, rate = soundfile.read(SAMPLE, dtype="float32")
    clean = enhanced_by(program, model, noisy, tmp_path)
    reference = Enhancer(model).enhance(noisy, rate)
    assert clean.shape == reference.shape
    assert np.abs(clean - reference).max() <= FULL_SCALE
    assert np.abs(noisy - reference).max() > 100 * FULL_SCALE  # the model has done something


@pytest.mark.parametrize("n_samples", [1, 255, 256, 257, 1000])
def test_as_many_samples_come_out_as_go_in_and_each_in_its_place(
    kind: tuple[Program, str], n_samples: int, tmp_path: Path
) -> None:
    program, interface = kind
    model = {"waveform": HALVES, "stream": DELAY}[interface]
    noisy = sound(n_samples)
    clean = enhanced_by(program, model, noisy, tmp_path)
    np.testing.assert_allclose(clean, noisy / 2, rtol=0, atol=1 / 32768)  # one step of 16 bits


@pytest.mark.parametrize("language", ["cpp", "node"])
def test_floats_pass_with_all_their_digits(
    language: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    program = request.getfixturevalue("cpp") if language == "cpp" else node_whole
    noisy = np.random.default_rng(1).standard_normal(1000).astype(np.float32)  # also above 1
    soundfile.write(tmp_path / "noisy.wav", noisy, 16000, subtype="FLOAT")
    assert program(HALVES, tmp_path / "noisy.wav", tmp_path / "clean.wav").returncode == 0
    clean, _ = soundfile.read(tmp_path / "clean.wav", dtype="float32")
    assert np.array_equal(clean, noisy / 2)


def changed(folder: Path, interface: str, **stft_or_top: Any) -> Path:
    """Return a miniature file whose metadata says something else."""
    spec, file = (DELAY_SPEC, DELAY) if interface == "stream" else (WAVEFORM_SPEC, HALVES)
    text = json.loads(spec.to_metadata())
    for key, value in stft_or_top.items():
        (text["stft"] if key in text["stft"] else text)[key] = value
    model = folder / "changed.onnx"
    model.write_bytes(with_metadata(json.dumps(text), file.read_bytes()))
    return model


def test_the_rate_is_that_of_the_metadata(kind: tuple[Program, str], tmp_path: Path) -> None:
    program, interface = kind
    model = changed(tmp_path, interface, sample_rate_hz=8000)
    noisy = sound(500)
    clean = enhanced_by(program, model, noisy, tmp_path, rate=8000)
    np.testing.assert_allclose(clean, noisy / 2, rtol=0, atol=1 / 32768)
    if program is node_live:  # it takes bytes, which have no rate
        return
    soundfile.write(tmp_path / "noisy.wav", noisy, 16000, subtype="PCM_16")
    line = refusal(program, model, tmp_path / "noisy.wav", tmp_path / "none.wav")
    assert "16000" in line
    assert "8000" in line


@pytest.mark.parametrize("language", ["cpp", "node"])
def test_the_latency_is_that_of_the_metadata(
    language: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    program = request.getfixturevalue("cpp") if language == "cpp" else node_live
    model = changed(tmp_path, "stream", latency_samples=256)  # the graph is 512 late all the same
    noisy = sound(1000)
    clean = enhanced_by(program, model, noisy, tmp_path)
    assert not clean[:256].any()
    np.testing.assert_allclose(clean[256:], noisy[:-256] / 2, rtol=0, atol=1 / 32768)


def test_the_hop_is_that_of_the_metadata(cpp: Program, tmp_path: Path) -> None:
    model = onnx.load(changed(tmp_path, "stream", hop_length=128))
    (samples,) = [i.type.tensor_type.shape.dim[1] for i in model.graph.input if i.name == "noisy"]
    samples.dim_value = 128  # the runtime refuses every other number
    fixed = _written(tmp_path / "fixed.onnx", model.SerializeToString())
    noisy = sound(1000)
    clean = enhanced_by(cpp, fixed, noisy, tmp_path)
    np.testing.assert_allclose(clean, noisy / 2, rtol=0, atol=1 / 32768)


def test_the_live_program_says_the_rate_and_the_latency_of_the_metadata(tmp_path: Path) -> None:
    own = changed(tmp_path, "stream", sample_rate_hz=8000, hop_length=128)
    assert b"16000 Hz; the output is late by 48 ms" in node("live.mjs", DELAY, data=b"").stderr
    assert b"8000 Hz; the output is late by 80 ms" in node("live.mjs", own, data=b"").stderr


def test_bytes_may_come_in_halves_of_samples() -> None:
    noisy = (sound(1001) * 32768).astype("<i2").tobytes()
    script = "for f in 1 2 999 300; do head -c $f; sleep 0.05; done; cat"
    command = f"({script}) | {shutil.which('node')} {NODE / 'live.mjs'} {DELAY}"
    node("live.mjs", DELAY, data=b"")  # installs what it needs
    done = subprocess.run(["bash", "-c", command], input=noisy, capture_output=True, check=True)
    assert done.stdout == node("live.mjs", DELAY, data=noisy).stdout
    assert len(done.stdout) == len(noisy)


@pytest.mark.parametrize("problem", ["interface", "format", "foreign"])
def test_what_a_program_cannot_take_is_one_line_and_writes_nothing(
    kind: tuple[Program, str], problem: str, tmp_path: Path
) -> None:
    program, interface = kind
    own = partial(changed, tmp_path, interface)
    models = {
        "interface": lambda: UNITY,
        "format": lambda: own(format=99),
        "foreign": lambda: _written(tmp_path / "foreign.onnx", with_metadata(None)),
    }
    noisy, clean = tmp_path / "noisy.wav", tmp_path / "clean.wav"
    soundfile.write(noisy, sound(100), 16000, subtype="PCM_16")
    refusal(program, models[problem](), noisy, clean)


@pytest.mark.parametrize("language", ["cpp", "node"])
def test_what_is_not_a_sound_file_is_one_line_and_writes_nothing(
    language: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    program = request.getfixturevalue("cpp") if language == "cpp" else node_whole
    noisy = _written(tmp_path / "noisy.wav", b"not a sound file")
    refusal(program, HALVES, noisy, tmp_path / "clean.wav")


@pytest.mark.parametrize("language", ["cpp", "node"])
def test_a_folder_that_is_not_there_is_named_as_the_reason(
    language: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    program = request.getfixturevalue("cpp") if language == "cpp" else node_whole
    noisy = tmp_path / "noisy.wav"
    soundfile.write(noisy, sound(100), 16000, subtype="PCM_16")
    done = program(HALVES, noisy, tmp_path / "nowhere" / "clean.wav")
    assert done.returncode == 1
    assert "nowhere" in done.stderr
    assert "no such file or directory" in done.stderr.lower()


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
