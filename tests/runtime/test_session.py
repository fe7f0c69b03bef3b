"""What opens, what does not, and what the session says about it."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from fsnp_onnx.errors import InstallError, MissingFileError, ModelFileError, ProviderError
from fsnp_onnx.runtime import session
from fsnp_onnx.runtime.enhancer import DEFAULT_MODEL
from fsnp_onnx.runtime.session import MaskModel
from fsnp_onnx.spec import METADATA_KEY, StftSpec
from tests.data.make_unity import SPEC, build, compressed_one


def spectra(batch: int, n_frames: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    real, imag = np.random.default_rng(0).standard_normal((2, batch, 257, n_frames))
    return real.astype(np.float32), imag.astype(np.float32)


def with_metadata(text: str | None) -> bytes:
    model = build()
    del model.metadata_props[:]
    if text is not None:
        onnx.helper.set_model_props(model, {METADATA_KEY: text})
    return bytes(model.SerializeToString())


@pytest.fixture
def fake_wheels(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretend that exactly these distributions are installed."""

    def pretend(*names: str) -> None:
        def version(name: str) -> str:
            if name in names:
                return "1.0"
            raise metadata.PackageNotFoundError(name)

        monkeypatch.setattr(metadata, "version", version)

    return pretend


@pytest.fixture
def cuda_listed_but_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime lists CUDA, prints what it misses, and runs on the CPU without an error."""
    create = onnxruntime.InferenceSession

    def fall_back(model: Any, options: Any, **_: Any) -> Any:
        return create(model, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(
        onnxruntime,
        "get_available_providers",
        lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"],
    )
    monkeypatch.setattr(
        onnxruntime,
        "preload_dlls",
        lambda: print("Failed to load libcublas"),  # noqa: T201
        raising=False,
    )
    monkeypatch.setattr(onnxruntime, "InferenceSession", fall_back)


def test_committed_file_is_what_its_script_makes(unity_path: Path) -> None:
    assert unity_path.read_bytes() == build().SerializeToString(deterministic=True)
    assert unity_path.stat().st_size < 50_000


def test_spec_comes_from_the_file(unity_path: Path) -> None:
    assert MaskModel(unity_path).spec == SPEC


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("n_frames", [8, 65])
def test_mask_has_the_shape_of_the_contract(unity_path: Path, batch: int, n_frames: int) -> None:
    mask = MaskModel(unity_path).run(*spectra(batch, n_frames))
    assert mask.dtype == np.float32
    assert mask.shape == (batch, 2, 257, n_frames)
    assert np.all(mask[:, 0] == np.float32(compressed_one(SPEC.mask)))
    assert np.all(mask[:, 1] == 0)


def test_bytes_are_as_good_as_a_path(unity_path: Path) -> None:
    model = MaskModel(unity_path.read_bytes(), "cpu")
    assert model.name == "model bytes"
    assert model.run(*spectra(1, 9)).shape == (1, 2, 257, 9)


def test_strided_input_is_accepted(unity_path: Path) -> None:
    real, imag = spectra(1, 20)
    assert MaskModel(unity_path).run(real[..., ::2], imag[..., ::2]).shape == (1, 2, 257, 10)


def test_input_of_the_wrong_shape_is_an_error_of_ours(unity_path: Path) -> None:
    real, imag = spectra(1, 20)
    with pytest.raises(ProviderError, match="failed on a spectrum of shape"):
        MaskModel(unity_path).run(real[:, :100], imag[:, :100])


def test_threads_share_one_session(unity_path: Path) -> None:
    model = MaskModel(unity_path)
    with ThreadPoolExecutor(4) as pool:
        masks = list(pool.map(lambda n: model.run(*spectra(1, n)), range(8, 40)))
    assert [mask.shape[-1] for mask in masks] == list(range(8, 40))


def test_pickled_model_runs_with_the_same_arguments(unity_path: Path) -> None:
    model = pickle.loads(pickle.dumps(MaskModel(unity_path, "cpu", 0, 1)))
    assert model.threads == 1
    assert model.run(*spectra(1, 8)).shape == (1, 2, 257, 8)


def test_relative_path_survives_a_change_of_folder(
    unity_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(unity_path.parent)
    model = MaskModel("unity.onnx")
    monkeypatch.chdir(tmp_path)
    assert pickle.loads(pickle.dumps(model)).spec == SPEC


FORK = """
import gc, os, sys, time
import numpy as np
from fsnp_onnx.runtime.session import MaskModel

spectra = np.ones((2, 1, 257, 8), np.float32)
model, garbage = MaskModel(sys.argv[1], "cpu"), [MaskModel(sys.argv[1], "cpu")]
for each in model, *garbage:
    expected = each.run(*spectra)
gc.disable()
garbage.append(garbage)
del garbage, each
child = os.fork()
if child == 0:
    assert np.array_equal(model.run(*spectra), expected)
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


def test_forked_child_opens_a_session_of_its_own_and_frees_none_that_it_inherited() -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORK, str(DEFAULT_MODEL)]
    subprocess.run(command, check=True, timeout=120)


def test_inherited_session_is_not_used_after_a_fork(
    unity_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = MaskModel(unity_path, "cpu")
    parent_session = model._current().session
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert model._current().session is not parent_session


def test_missing_model_is_reported(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="cannot read the model"):
        MaskModel(tmp_path / "none.onnx")
    with pytest.raises(FileNotFoundError):
        MaskModel(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no graph at all", b"\x00" * 200])
def test_damaged_model_is_reported(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "damaged.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"damaged\.onnx cannot be opened"):
        MaskModel(path)


def test_cut_model_is_reported(unity_path: Path) -> None:
    with pytest.raises(ModelFileError):
        MaskModel(unity_path.read_bytes()[:500])


def test_foreign_model_is_reported() -> None:
    with pytest.raises(ModelFileError, match="without metadata 'fsnp_onnx'"):
        MaskModel(with_metadata(None))


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 1}'])
def test_damaged_metadata_is_reported(text: str) -> None:
    with pytest.raises(ModelFileError, match=r"model bytes.*metadata"):
        MaskModel(with_metadata(text))


def test_newer_format_is_reported() -> None:
    newer = json.dumps(json.loads(SPEC.to_metadata()) | {"format": 2})
    with pytest.raises(ModelFileError, match=r"format 2.*upgrade"):
        MaskModel(with_metadata(newer))


def test_graph_that_contradicts_its_metadata_is_reported() -> None:
    other = replace(SPEC, stft=StftSpec(n_fft=256, win_length=256, hop_length=128))
    with pytest.raises(ModelFileError, match="export the checkpoint again"):
        MaskModel(with_metadata(other.to_metadata()))


def test_frozen_length_is_reported() -> None:
    model = build()
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 100
    with pytest.raises(ModelFileError, match="noisy_real"):
        MaskModel(model.SerializeToString())


def test_other_tensor_names_are_reported() -> None:
    model = build()
    for node in model.graph.node:
        node.input[:] = ["x" if name == "noisy_real" else name for name in node.input]
    model.graph.input[0].name = "x"
    with pytest.raises(ModelFileError, match="'x'"):
        MaskModel(model.SerializeToString())


def test_default_threads_are_given_to_the_session(
    unity_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "available_cpus", lambda: (3, "test"))
    model = MaskModel(unity_path)
    options = model._current().session.get_session_options()
    assert model.threads == options.intra_op_num_threads == 3
    assert options.inter_op_num_threads == 1


@pytest.mark.parametrize("threads", [0, -1, "2", 1.5, True, 1 << 40])
def test_threads_that_are_no_number_of_threads_are_refused(unity_path: Path, threads: Any) -> None:
    with pytest.raises(ProviderError, match="threads is"):
        MaskModel(unity_path, threads=threads)


@pytest.mark.parametrize("device_id", [-1, "0", None, 0.0])
def test_device_that_is_no_number_is_refused(unity_path: Path, device_id: Any) -> None:
    with pytest.raises(ProviderError, match="device_id is"):
        MaskModel(unity_path, device_id=device_id)


@pytest.mark.parametrize("model", [3, None, 1.5, ["m.onnx"]])
def test_model_that_is_neither_path_nor_bytes_is_refused(model: Any) -> None:
    with pytest.raises(ModelFileError, match="give the path"):
        MaskModel(model)


def test_unknown_provider_is_refused(unity_path: Path) -> None:
    with pytest.raises(ProviderError, match="'tpu' is unknown"):
        MaskModel(unity_path, "tpu")  # type: ignore[arg-type]


def test_cuda_without_a_gpu_wheel_is_an_error(
    unity_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(ProviderError, match=r"fsnp-onnx\[gpu\]"):
        MaskModel(unity_path, "cuda")


def test_auto_without_a_gpu_wheel_is_silent(
    unity_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert MaskModel(unity_path, "auto").provider == "cpu"  # warnings are errors here


@pytest.mark.usefixtures("cuda_listed_but_missing")
def test_cuda_that_does_not_start_is_an_error(
    unity_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ProviderError, match=r"does not start \(Failed to load libcublas\)"):
        MaskModel(unity_path, "cuda")
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("cuda_listed_but_missing")
def test_auto_says_once_that_it_falls_back(unity_path: Path) -> None:
    with pytest.warns(UserWarning, match="running on the CPU") as caught:
        model = MaskModel(unity_path, "auto")
    assert len(caught) == 1
    assert model.provider == "cpu"
    assert model.run(*spectra(1, 8)).shape == (1, 2, 257, 8)  # warnings are errors here


@pytest.mark.usefixtures("cuda_listed_but_missing")
def test_cuda_that_raises_falls_back_too(unity_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create = onnxruntime.InferenceSession

    def refuse(model: Any, options: Any, *, providers: list[Any], **others: Any) -> Any:
        if len(providers) > 1:
            raise RuntimeError("CUDA failure 100: no CUDA-capable device is detected")
        return create(model, options, providers=providers, **others)

    monkeypatch.setattr(onnxruntime, "InferenceSession", refuse)
    with pytest.warns(UserWarning, match="no CUDA-capable device"):
        assert MaskModel(unity_path, "auto").provider == "cpu"
    with pytest.raises(ProviderError, match="no CUDA-capable device"):
        MaskModel(unity_path, "cuda")


@pytest.mark.usefixtures("cuda_listed_but_missing")
def test_int8_file_runs_on_the_cpu_and_never_claims_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    create = onnxruntime.InferenceSession

    def pretend(model: Any, options: Any, *, providers: list[Any], **others: Any) -> Any:
        asked.append(len(providers))
        return create(model, options, providers=["CPUExecutionProvider"], **others)

    monkeypatch.setattr(onnxruntime, "InferenceSession", pretend)
    monkeypatch.setattr(session, "_runs_on_cuda", lambda _: asked[-1] > 1)
    quantised = with_metadata(replace(SPEC, precision="int8").to_metadata())
    assert MaskModel(quantised, "auto").provider == "cpu"
    with pytest.raises(ProviderError, match="int8, which runs on CPUs only"):
        MaskModel(quantised, "cuda")
    assert MaskModel(with_metadata(SPEC.to_metadata()), "cuda").provider == "cuda"


@pytest.mark.parametrize("overflows", [True, False])
def test_int8_products_are_slowed_down_only_where_they_would_overflow(
    unity_path: Path, monkeypatch: pytest.MonkeyPatch, overflows: bool
) -> None:
    given: list[Any] = []
    create = onnxruntime.InferenceSession

    def spy(model: Any, options: Any, **others: Any) -> Any:
        given.append(options)
        return create(model, options, **others)

    monkeypatch.setattr(onnxruntime, "InferenceSession", spy)
    monkeypatch.setattr(session, "products_overflow", lambda _: overflows)
    MaskModel(unity_path, "cpu")
    option = "session.x64quantprecision"
    if overflows:
        assert given[0].get_session_config_entry(option) == "1"
    else:
        with pytest.raises(RuntimeError, match="does not have"):
            given[0].get_session_config_entry(option)


def test_no_wheel_is_an_install_error(unity_path: Path, fake_wheels: Callable[..., None]) -> None:
    fake_wheels()
    with pytest.raises(InstallError, match=r"pip install 'fsnp-onnx\[cpu\]'"):
        MaskModel(unity_path)


def test_two_wheels_are_an_install_error(
    unity_path: Path, fake_wheels: Callable[..., None]
) -> None:
    fake_wheels("onnxruntime", "onnxruntime-gpu")
    with pytest.raises(InstallError, match="overwrite each other"):
        MaskModel(unity_path)


def test_broken_wheel_is_an_install_error(
    unity_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InstallError, match="--force-reinstall onnxruntime"):
        MaskModel(unity_path)
