"""Which ONNX Runtime runs, on which provider, with which options, and what it says about that."""

from __future__ import annotations

import ctypes
import io
import pickle
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from fsnp_onnx.errors import InstallError, ModelFileError, ProviderError
from fsnp_onnx.runtime import ort
from fsnp_onnx.runtime.cpus import available_cpus
from fsnp_onnx.runtime.open_model import open_model
from tests.runtime.models import SPEC, UNITY, with_metadata

Sum = Callable[[NDArray[np.int64]], NDArray[np.int64]]

INT8 = with_metadata(replace(SPEC, precision="int8").to_metadata())
MISSING = "libcublasLt.so.13: cannot open shared object file: No such file or directory"


class Driver:
    """Stands in for the driver's library, with one device, or none, or nothing that starts."""

    def __init__(self, n_devices: int = 1, error: int = 0) -> None:
        self.n_devices, self.error = n_devices, error

    def cuInit(self, _: int) -> int:  # noqa: N802
        return self.error

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        count._obj.value = self.n_devices
        return 0


class OnCuda:
    """Stands in for a session that runs on CUDA."""

    def __init__(self, session: Any, run_options: list[Any]) -> None:
        self._session, self._run_options = session, run_options

    def run(self, names: Any, feeds: Any, options: Any) -> Any:
        self._run_options.append(options)
        return self._session.run(names, feeds)  # without options, which only CUDA takes

    def get_providers(self) -> list[str]:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


class Machine:
    """Lets the tests decide what the GPU wheel finds; the CPU does all the work.

    Attributes:
        providers: Of each session that was made.
        cuda_options: Of each session that was made for CUDA.
        options: The session options of each.
        run_options: Of each run on CUDA.
        preload: What `onnxruntime.preload_dlls` does.
        driver: Loads the driver's library.
        starts: Whether a session for CUDA runs there.
    """

    def __init__(self) -> None:
        self.providers: list[list[str]] = []
        self.cuda_options: list[dict[str, Any]] = []
        self.options: list[Any] = []
        self.run_options: list[Any] = []
        self.preload: Callable[[], object] = lambda: None
        self.driver: Callable[[str], object] = lambda _: Driver()
        self.starts: Callable[[], bool] = lambda: True
        self._create = onnxruntime.InferenceSession

    def preload_dlls(self) -> None:
        self.preload()

    def load(self, name: str) -> object:
        return self.driver(name)

    def create(self, model: Any, options: Any, *, providers: list[Any], **others: Any) -> Any:
        self.providers.append([p if isinstance(p, str) else p[0] for p in providers])
        self.cuda_options += [p[1] for p in providers if not isinstance(p, str)]
        self.options.append(options)
        session = self._create(model, options, providers=["CPUExecutionProvider"], **others)
        if len(providers) > 1 and self.starts():
            return OnCuda(session, self.run_options)
        return session


@pytest.fixture
def gpu_wheel(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    names = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
    monkeypatch.setattr(onnxruntime, "preload_dlls", machine.preload_dlls, raising=False)
    monkeypatch.setattr(onnxruntime, "InferenceSession", machine.create)
    monkeypatch.setattr(ctypes, "CDLL", machine.load)
    return machine


@pytest.fixture
def cpu_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])


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
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any]]:
    """Model and options of every session that is made."""
    made: list[tuple[Any, Any]] = []
    create = onnxruntime.InferenceSession

    def spy(model: Any, options: Any, **others: Any) -> Any:
        made.append((model, options))
        return create(model, options, **others)

    monkeypatch.setattr(onnxruntime, "InferenceSession", spy)
    return made


def test_no_wheel_is_an_install_error(fake_wheels: Callable[..., None]) -> None:
    fake_wheels()
    with pytest.raises(InstallError, match=r"pip install 'fsnp-onnx\[cpu\]'"):
        open_model(UNITY)


def test_two_wheels_are_an_install_error(fake_wheels: Callable[..., None]) -> None:
    fake_wheels("onnxruntime", "onnxruntime-gpu")
    with pytest.raises(InstallError, match="overwrite each other"):
        open_model(UNITY)


def test_broken_wheel_is_an_install_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InstallError, match="--force-reinstall onnxruntime"):
        open_model(UNITY)


@pytest.mark.usefixtures("cpu_wheel")
def test_cuda_without_a_gpu_wheel_is_an_error() -> None:
    with pytest.raises(ProviderError, match=r"CPU build of ONNX Runtime.*fsnp-onnx\[gpu\]"):
        open_model(UNITY, "cuda")


@pytest.mark.usefixtures("cpu_wheel")
def test_auto_without_a_gpu_wheel_is_silent() -> None:
    assert open_model(UNITY, "auto").provider == "cpu"  # warnings are errors here


def test_cuda_runs_where_it_starts(gpu_wheel: Machine) -> None:
    assert open_model(UNITY, "auto").provider == "cuda"
    assert open_model(UNITY, "cuda").provider == "cuda"
    assert gpu_wheel.providers == [["CUDAExecutionProvider", "CPUExecutionProvider"]] * 2


def test_cpu_asks_for_no_cuda(gpu_wheel: Machine) -> None:
    assert open_model(UNITY, "cpu").provider == "cpu"
    assert gpu_wheel.providers == [["CPUExecutionProvider"]]


@pytest.mark.parametrize("device_id", [0, 2])
def test_cuda_gets_full_precision_a_frugal_arena_and_its_device(
    gpu_wheel: Machine, device_id: int
) -> None:
    gpu_wheel.driver = lambda _: Driver(n_devices=3)
    assert open_model(UNITY, "cuda", device_id=device_id).provider == "cuda"
    (options,) = gpu_wheel.cuda_options
    assert options["use_tf32"] == "0"
    assert options["arena_extend_strategy"] == "kSameAsRequested"
    assert options.get("device_id", 0) == device_id


def test_a_device_that_is_not_there_is_reported(gpu_wheel: Machine) -> None:
    with pytest.raises(ProviderError, match=r"CUDA device 1 .* has 1 CUDA devices"):
        open_model(UNITY, "cuda", device_id=1)
    assert gpu_wheel.cuda_options == []


def test_a_session_is_quiet_and_keeps_no_memory_in_an_arena(gpu_wheel: Machine) -> None:
    open_model(UNITY, "cpu")
    (options,) = gpu_wheel.options
    assert options.enable_cpu_mem_arena is False
    assert options.log_severity_level == 4


@pytest.mark.parametrize("device_id", [0, 2])
def test_a_run_gives_the_memory_of_its_device_back(gpu_wheel: Machine, device_id: int) -> None:
    gpu_wheel.driver = lambda _: Driver(n_devices=3)
    model = open_model(UNITY, "cuda", device_id=device_id)
    model.enhance(np.ones(3000, np.float32))
    (run_options,) = gpu_wheel.run_options
    entry = run_options.get_run_config_entry("memory.enable_memory_arena_shrinkage")
    assert entry == f"gpu:{device_id}"


def test_a_pickled_model_runs_with_the_same_threads_on_the_same_device(
    gpu_wheel: Machine,
) -> None:
    gpu_wheel.driver = lambda _: Driver(n_devices=3)
    threads = available_cpus()[0] + 1  # not the default
    model = open_model(UNITY, "cuda", threads=threads, device_id=2)
    copy = pickle.loads(pickle.dumps(model))
    assert copy.provider == "cuda"
    assert [options.intra_op_num_threads for options in gpu_wheel.options] == [threads] * 2
    assert [options["device_id"] for options in gpu_wheel.cuda_options] == [2, 2]


def missing_library(machine: Machine) -> None:
    machine.preload = lambda: print(  # noqa: T201
        f"Failed to load /nvidia/libcudart.so.13: no such file\n"
        f"Failed to load libcublasLt.so.13: {MISSING}\nPlease follow https://example.org"
    )


def missing_driver(machine: Machine) -> None:
    def fail(name: str) -> object:
        raise OSError(f"{name}: cannot open\nshared object file")

    machine.driver = fail


def broken_driver(machine: Machine) -> None:
    machine.driver = lambda _: Driver(error=100)


def no_device(machine: Machine) -> None:
    machine.driver = lambda _: Driver(n_devices=0)


@pytest.mark.parametrize(
    ("lack", "reason"),
    [
        (missing_library, MISSING),
        (missing_driver, "cannot open shared object file"),
        (broken_driver, "driver finds no device"),
        (no_device, "this machine has 0 CUDA devices"),
    ],
)
def test_what_cuda_lacks_is_found_before_a_session_is_made_for_it(
    gpu_wheel: Machine,
    capfd: pytest.CaptureFixture[str],
    lack: Callable[[Machine], None],
    reason: str,
) -> None:
    lack(gpu_wheel)
    with pytest.raises(ProviderError, match="CUDA device 0 does not start") as caught:
        open_model(UNITY, "cuda")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    assert gpu_wheel.providers == [["CPUExecutionProvider"]]
    assert capfd.readouterr() == ("", "")


def test_the_hosts_log_level_is_left_alone(
    gpu_wheel: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "set_default_logger_severity", pytest.fail)
    monkeypatch.setattr(onnxruntime, "set_default_logger_verbosity", pytest.fail)
    open_model(UNITY, "cuda")
    missing_driver(gpu_wheel)
    with pytest.warns(UserWarning, match="running on the CPU"):
        open_model(INT8, "auto")


def test_auto_says_once_that_it_falls_back(gpu_wheel: Machine) -> None:
    missing_library(gpu_wheel)
    with pytest.warns(UserWarning, match="libcublasLt.*running on the CPU") as caught:
        model = open_model(UNITY, "auto")
    assert len(caught) == 1
    assert model.provider == "cpu"
    noisy = np.ones(3000, np.float32)
    assert model.enhance(noisy).shape == (3000,)  # and warns no more


def test_a_library_that_the_system_finds_elsewhere_is_not_missing(gpu_wheel: Machine) -> None:
    gpu_wheel.preload = lambda: print("Failed to load /nvidia/libcufft.so.12: no such file")  # noqa: T201
    assert open_model(UNITY, "cuda").provider == "cuda"


def test_two_threads_that_open_models_leave_standard_output_as_it_was(
    gpu_wheel: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    stdout = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stdout)
    first = threading.Thread(target=open_model, args=(UNITY, "cuda"))
    second = threading.Thread(target=open_model, args=(UNITY, "cuda"))
    first_inside, second_inside = threading.Event(), threading.Event()

    def leave_in_the_order_of_entrance() -> None:
        if threading.current_thread() is first:
            first_inside.set()
            second_inside.wait(0.2)  # in vain, if only one may be inside
        else:
            second_inside.set()
            first.join()

    gpu_wheel.preload = leave_in_the_order_of_entrance
    first.start()
    first_inside.wait()
    second.start()
    second.join()
    assert sys.stdout is stdout


def test_cuda_that_onnxruntime_does_not_take_falls_back(gpu_wheel: Machine) -> None:
    gpu_wheel.starts = lambda: False
    with pytest.raises(ProviderError, match="chose the CPU"):
        open_model(UNITY, "cuda")
    with pytest.warns(UserWarning, match="running on the CPU"):
        assert open_model(UNITY, "auto").provider == "cpu"


def test_cuda_that_raises_falls_back(gpu_wheel: Machine) -> None:
    def refuse() -> bool:
        raise RuntimeError("CUDA failure 2: out of memory\nand more")

    gpu_wheel.starts = refuse
    with pytest.warns(UserWarning, match="out of memory"):
        assert open_model(UNITY, "auto").provider == "cpu"
    with pytest.raises(ProviderError, match="out of memory"):
        open_model(UNITY, "cuda")


@pytest.mark.usefixtures("gpu_wheel")
def test_a_damaged_file_is_not_blamed_on_cuda() -> None:
    with pytest.raises(ModelFileError, match="expected an ONNX file"):
        open_model(b"damaged", "cuda")


def test_int8_file_runs_on_the_cpu_and_never_claims_cuda(gpu_wheel: Machine) -> None:
    assert open_model(INT8, "auto").provider == "cpu"
    assert gpu_wheel.providers[-1] == ["CPUExecutionProvider"]
    with pytest.raises(ProviderError, match="int8, which runs on CPUs only"):
        open_model(INT8, "cuda")


def test_a_float32_file_never_opens_the_int8_probe(opened: list[tuple[Any, Any]]) -> None:
    ort.int8_overflows.cache_clear()
    open_model(UNITY)
    assert [model for model, _ in opened] == [str(UNITY)]
    open_model(INT8)
    assert ort.INT8_PROBE in [model for model, _ in opened]


@pytest.mark.parametrize("overflows", [True, False])
def test_int8_is_slowed_down_only_where_it_would_overflow(
    opened: list[tuple[Any, Any]], monkeypatch: pytest.MonkeyPatch, overflows: bool
) -> None:
    monkeypatch.setattr(ort, "int8_overflows", lambda _: overflows)
    open_model(INT8, "cpu")
    options = opened[-1][1]
    if overflows:
        assert options.get_session_config_entry("session.x64quantprecision") == "1"
    else:
        with pytest.raises(RuntimeError, match="does not have"):
            options.get_session_config_entry("session.x64quantprecision")


@pytest.mark.parametrize(("threads", "expected"), [(None, available_cpus()[0]), (1, 1)])
def test_sessions_get_their_threads(
    opened: list[tuple[Any, Any]], threads: int | None, expected: int
) -> None:
    open_model(UNITY, threads=threads)
    ((_, options),) = opened
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (expected, 1)


class PretendedRuntime:
    """Computes the probe as another CPU does."""

    SessionOptions = onnxruntime.SessionOptions
    __version__ = "0.0"

    def __init__(self, add_up: Sum) -> None:
        self.add_up = add_up
        self.n_sessions = 0

    def InferenceSession(self, *_: Any, **__: Any) -> PretendedRuntime:  # noqa: N802
        self.n_sessions += 1
        return self

    def run(self, _: list[str], feeds: dict[str, NDArray[np.uint8]]) -> list[NDArray[np.int64]]:
        return [self.add_up(feeds["inputs"].astype(np.int64) * 127)]


def exactly(terms: NDArray[np.int64]) -> NDArray[np.int64]:
    sums: NDArray[np.int64] = terms.sum(1)
    return sums


def in_pairs_of_16_bits(terms: NDArray[np.int64]) -> NDArray[np.int64]:
    pairs = terms[:, 0::2] + terms[:, 1::2]
    return exactly(np.clip(pairs, -(2**15), 2**15 - 1))


@pytest.mark.parametrize(("add_up", "overflows"), [(exactly, False), (in_pairs_of_16_bits, True)])
def test_sums_that_saturate_are_found_out_once(add_up: Sum, overflows: bool) -> None:
    runtime = PretendedRuntime(add_up)
    for _ in range(2):
        assert ort.int8_overflows(cast(ModuleType, runtime)) is overflows
    assert runtime.n_sessions == 1


def test_this_cpu_overflows_only_without_vnni() -> None:
    cpuinfo = Path("/proc/cpuinfo")
    words = set(cpuinfo.read_text().split()) if cpuinfo.exists() else set()
    flags = words & {"avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8"}
    only_16_bits = bool(flags) and flags <= {"avx2", "avx512f"}
    assert ort.int8_overflows(onnxruntime) is only_16_bits


def test_a_probe_that_does_not_run_is_an_install_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ort.int8_overflows.cache_clear()
    monkeypatch.setattr(ort, "INT8_PROBE", tmp_path / "overflow_probe.onnx")
    with pytest.raises(InstallError, match=r"cannot run overflow_probe\.onnx.*reinstall"):
        open_model(INT8)
