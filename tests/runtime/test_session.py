"""What opens, what does not, and what an opened file survives."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fsnp_onnx.errors import (
    ArgumentError,
    ArgumentTypeError,
    MissingFileError,
    ModelFileError,
    RunError,
)
from fsnp_onnx.runtime.bundled import DEFAULT_MODEL
from fsnp_onnx.runtime.mask_model import MaskModel
from fsnp_onnx.runtime.open_model import open_model
from fsnp_onnx.runtime.session import Session
from fsnp_onnx.spec import StftSpec
from tests.runtime.models import FROZEN, ONE, SPEC, UNITY, with_metadata


def spectra(batch: int, n_frames: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    real, imag = np.random.default_rng(0).standard_normal((2, batch, 257, n_frames))
    return real.astype(np.float32), imag.astype(np.float32)


def test_spec_comes_from_the_file() -> None:
    assert open_model(UNITY).spec == MaskModel(Session(UNITY)).spec == SPEC


def test_the_bundled_model_opens() -> None:
    assert open_model(DEFAULT_MODEL, "cpu").spec.interface == "mask"


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("n_frames", [8, 65])
def test_mask_has_the_shape_of_the_contract(batch: int, n_frames: int) -> None:
    mask = MaskModel(Session(UNITY)).run(*spectra(batch, n_frames))
    assert mask.dtype == np.float32
    assert mask.shape == (batch, 2, 257, n_frames)
    assert np.all(mask[:, 0] == np.float32(ONE))
    assert np.all(mask[:, 1] == 0)


@pytest.mark.parametrize("n_samples", [1792, 1793, 2047, 5000])
def test_a_model_returns_as_many_samples_as_it_gets(n_samples: int) -> None:
    noisy = np.linspace(-1, 1, n_samples, dtype=np.float32)
    enhanced = open_model(UNITY).enhance(noisy)
    assert enhanced.dtype == np.float32
    np.testing.assert_allclose(enhanced, noisy, rtol=0, atol=1e-5)


def test_bytes_are_as_good_as_a_path() -> None:
    model = MaskModel(Session(UNITY.read_bytes(), "cpu"))
    assert model.run(*spectra(1, 9)).shape == (1, 2, 257, 9)


def test_strided_input_is_accepted() -> None:
    real, imag = spectra(1, 20)
    assert MaskModel(Session(UNITY)).run(real[..., ::2], imag[..., ::2]).shape == (1, 2, 257, 10)


@pytest.mark.parametrize("imag", [(1, 100, 20), (2, 257, 20), (1, 257)])
def test_a_run_that_fails_is_an_error_of_ours_and_prints_nothing(
    capfd: pytest.CaptureFixture[str], imag: tuple[int, ...]
) -> None:
    real, _ = spectra(3, 20)
    with pytest.raises(
        RunError, match=r"unity\.onnx failed on noisy_real \(3, 257, 20\)"
    ) as caught:
        MaskModel(Session(UNITY)).run(real, np.zeros(imag, np.float32))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_threads_share_one_session() -> None:
    model = MaskModel(Session(UNITY))
    with ThreadPoolExecutor(4) as pool:
        masks = list(pool.map(lambda n: model.run(*spectra(1, n)), range(8, 40)))
    assert [mask.shape[-1] for mask in masks] == list(range(8, 40))


def test_relative_path_survives_a_change_of_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(UNITY.parent)
    model = MaskModel(Session(UNITY.name, "cpu", threads=1))
    monkeypatch.chdir(tmp_path)
    copy = pickle.loads(pickle.dumps(model))
    assert copy.spec == SPEC
    assert copy.run(*spectra(1, 8)).shape == (1, 2, 257, 8)


FORK = """
import gc, os, sys, time
import numpy as np
import onnxruntime
from fsnp_onnx.runtime.mask_model import MaskModel
from fsnp_onnx.runtime.session import Session

made, create = [], onnxruntime.InferenceSession
onnxruntime.InferenceSession = lambda *a, **k: made.append(1) or create(*a, **k)
spectra = np.ones((2, 1, 257, 100), np.float32)  # enough for two threads to share
model, *garbage = (MaskModel(Session(sys.argv[1], "cpu", threads=2)) for _ in range(2))
for each in model, *garbage:
    expected = each.run(*spectra)
gc.disable()
garbage.append(garbage)
del garbage, each
made.clear()
child = os.fork()
if child == 0:
    assert np.array_equal(model.run(*spectra), expected)
    assert len(made) == 1
    gc.collect()
    sys.exit(0)  # as the workers of a pre-forking server end
deadline = time.monotonic() + 60
while time.monotonic() < deadline:
    pid, status = os.waitpid(child, os.WNOHANG)
    if pid:
        sys.exit(os.waitstatus_to_exitcode(status))
    time.sleep(0.01)
os.kill(child, 9)
sys.exit("the child hangs")
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_forked_child_opens_a_session_of_its_own_and_frees_none_that_it_inherited() -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORK, str(DEFAULT_MODEL)]
    subprocess.run(command, check=True, timeout=120)


def test_missing_model_is_reported(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="cannot read the model"):
        open_model(tmp_path / "none.onnx")
    with pytest.raises(FileNotFoundError):
        open_model(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no graph at all", b"\x00" * 200])
def test_damaged_model_is_reported(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "damaged.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"damaged\.onnx: it cannot be opened"):
        open_model(path)


def test_truncated_model_is_reported() -> None:
    with pytest.raises(ModelFileError):
        open_model(UNITY.read_bytes()[:500])


def test_foreign_model_is_reported() -> None:
    with pytest.raises(ModelFileError, match="without metadata 'fsnp_onnx'"):
        open_model(with_metadata(None))


def test_a_file_of_format_1_opens() -> None:
    document = json.loads(SPEC.to_metadata())
    for key in ("interface", "outputs", "state", "verification"):
        del document[key]
    older = {"format": 1, "inputs": ["noisy_real", "noisy_imag"], "output": "mask", "parity": []}
    assert open_model(with_metadata(json.dumps(document | older))).spec == SPEC


def test_a_run_leaves_the_callers_subnormal_numbers_alone() -> None:
    code = """
import sys
import numpy as np
from fsnp_onnx import Enhancer
Enhancer(threads=2).enhance(np.zeros(16000, np.float32), 16000)
assert np.float32(1e-40) * np.float32(1) > 0
assert float("1e-310") * 1 > 0
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 1}'])
def test_damaged_metadata_is_reported(text: str) -> None:
    with pytest.raises(ModelFileError, match=r"model bytes.*metadata"):
        open_model(with_metadata(text))


@pytest.mark.parametrize(
    ("change", "message"),
    [({"format": 3}, r"format 3.*upgrade"), ({"interface": "chunks"}, r"interface 'chunks'")],
)
def test_newer_file_is_reported(change: dict[str, Any], message: str) -> None:
    newer = json.dumps(json.loads(SPEC.to_metadata()) | change)
    with pytest.raises(ModelFileError, match=message):
        open_model(with_metadata(newer))


def test_graph_that_contradicts_its_metadata_is_reported() -> None:
    other = replace(SPEC, stft=StftSpec(n_fft=256, win_length=256, hop_length=128))
    with pytest.raises(ModelFileError, match="export the checkpoint again"):
        open_model(with_metadata(other.to_metadata()))


def test_frozen_length_is_reported() -> None:
    with pytest.raises(ModelFileError, match=r"frozen\.onnx has the tensors.*noisy_real"):
        open_model(FROZEN)


def test_other_tensor_names_are_reported() -> None:
    renamed = UNITY.read_bytes().replace(b"noisy_real", b"other_real")
    with pytest.raises(ModelFileError, match="'other_real'"):
        open_model(with_metadata(SPEC.to_metadata(), renamed))


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        *(("threads", value) for value in (0, -1, "2", 1.5, True, 1 << 40)),
        *(("device_id", value) for value in (-1, "0", None, 0.0)),
        *(("provider", value) for value in ("tpu", None, 1)),
    ],
)
def test_arguments_out_of_range_are_refused_by_name(argument: str, value: Any) -> None:
    with pytest.raises(ArgumentError, match=f"^{argument} is {value!r}; give ") as caught:
        open_model(UNITY, **{argument: value})
    assert caught.value.argument == argument


@pytest.mark.parametrize("model", [3, None, 1.5, ["m.onnx"]])
def test_model_that_is_neither_path_nor_bytes_is_refused(model: Any) -> None:
    with pytest.raises(ArgumentTypeError, match=r"model is .*; give the path"):
        open_model(model)
