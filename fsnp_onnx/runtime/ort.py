"""Which ONNX Runtime runs, and how it opens a file: the wheel, the options, CPU or CUDA.

Two wheels share one import package, so the distributions' metadata shows which one is installed. The
GPU wheel lists CUDA as available even where its libraries are missing, and a session then runs on the
CPU without an exception. So a finished session is asked which provider it runs on.
"""

from __future__ import annotations

import ctypes
import io
import os
import re
import threading
import warnings
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout, suppress
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Literal

import numpy as np

from fsnp_onnx.errors import InstallError, ModelFileError, ProviderError, one_line

Provider = Literal["auto", "cpu", "cuda"]

WHEELS: Final = ("onnxruntime", "onnxruntime-gpu")
INT8_PROBE: Final = Path(__file__).parents[1] / "models" / "overflow_probe.onnx"
SLOW_INT8: Final = (
    "this CPU's fast 8-bit matrix multiplications overflow (it has no VNNI), so int8 files take slower "
    "ones and are little faster than float32"
)

CPU_BUILD: Final = "the CPU build of ONNX Runtime is installed"
_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_FATAL_ONLY = 4  # an error is raised, and need not be printed
_DRIVER = "nvcuda.dll" if os.name == "nt" else "libcuda.so.1"
_STDOUT: Final = threading.Lock()  # standard output belongs to all threads
_PROBE_SHAPE, _LARGEST_INPUT, _LARGEST_WEIGHT = (12, 64), 255, 127


def installed(names: Iterable[str]) -> dict[str, str]:
    """Return which of these distributions are installed, name to version."""
    found = {}
    for name in names:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def load_onnxruntime() -> ModuleType:
    """Import ONNX Runtime, of which exactly one wheel must be installed."""
    wheels = installed(WHEELS)
    if len(wheels) == 0:
        raise InstallError(
            "ONNX Runtime is not installed; run pip install 'fsnp-onnx[cpu]' (or [gpu])"
        )
    if len(wheels) > 1:
        raise InstallError(
            f"{' and '.join(wheels)} are both installed and overwrite each other; "
            "run pip uninstall on both, then pip install 'fsnp-onnx[cpu]' or 'fsnp-onnx[gpu]'"
        )
    try:
        import onnxruntime  # noqa: PLC0415 - fsnp_onnx can be imported without it
    except ImportError as error:
        if isinstance(error.__cause__, KeyboardInterrupt):
            raise KeyboardInterrupt from error  # its library was interrupted, and is not broken
        raise InstallError(
            f"ONNX Runtime cannot be imported ({first_line(error)}); "
            f"run pip install --force-reinstall {next(iter(wheels))}"
        ) from error
    module: ModuleType = onnxruntime
    return module


def session_options(ort: ModuleType, threads: int, *, precision: str = "float32") -> Any:
    """Return the options of every session, for a file of precision "float32" or "int8"."""
    # Not session.set_denormal_as_zero: it sets the mode of the thread that opens the first session, and
    # all of the caller's subnormal numbers vanish.
    options = ort.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    options.intra_op_num_threads = threads  # implicit affinity breaks in containers
    options.inter_op_num_threads = 1
    # An arena keeps holes that nothing fits in, up to half of what a long recording needs.
    options.enable_cpu_mem_arena = False
    if precision == "int8" and int8_overflows(ort):
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def open_session(
    model: str | bytes, provider: Provider, *, threads: int, device_id: int, precision: str
) -> tuple[Any, Any]:
    """Open an ONNX file, given as its path or its bytes, as `Enhancer` describes the arguments.

    Return the session and the options of its runs.
    """
    ort = load_onnxruntime()
    options = session_options(ort, threads, precision=precision)
    session = _open(ort, partial(_create, ort, model, options), provider, device_id)
    run_options = ort.RunOptions()
    if runs_on_cuda(session):  # by itself an arena only grows
        arena = f"gpu:{device_id}"
        run_options.add_run_config_entry("memory.enable_memory_arena_shrinkage", arena)
    return session, run_options


def _open(
    ort: ModuleType, create: Callable[[list[Any]], Any], provider: Provider, device_id: int
) -> Any:
    if provider == "cpu":
        return create([_CPU])
    reason = _why_no_cuda(ort, device_id)
    if not reason:
        options: dict[str, str | int] = {
            "arena_extend_strategy": "kSameAsRequested",
            "use_tf32": "0",  # ten bits of mantissa would miss the tolerances of the verification
        }
        if device_id:  # ONNX Runtime 1.31 prints a warning where device 0, the default, is named
            options["device_id"] = device_id
        try:
            session = create([(_CUDA, options), _CPU])
            if runs_on_cuda(session):
                return session
            reason = "ONNX Runtime chose the CPU"
        except ModelFileError as error:
            reason = first_line(error.__cause__ or error)
    session = create([_CPU])  # an error of the file itself comes first
    if provider == "cuda":
        raise ProviderError(
            f"CUDA device {device_id} does not start ({reason}); install an NVIDIA driver and "
            "'fsnp-onnx[gpu]' (run pip uninstall onnxruntime first), or use provider cpu"
        )
    if has_cuda(ort):
        warnings.warn(f"CUDA does not start ({reason}); running on the CPU", stacklevel=2)
    return session


def has_cuda(ort: ModuleType) -> bool:
    """Whether this build of ONNX Runtime has CUDA, which may still not start."""
    return _CUDA in ort.get_available_providers()


def runs_on_cuda(session: Any) -> bool:
    """Whether a session really runs on CUDA."""
    return bool(session.get_providers()[0] == _CUDA)


@cache
def int8_overflows(ort: ModuleType) -> bool:
    """Return whether ONNX Runtime's fast multiplications of 8-bit matrices overflow on this CPU.

    x86 without VNNI adds pairs of products in 16 bits, which saturate. The session option
    `session.x64quantprecision` avoids that, but on AVX-512 CPUs with VNNI it makes the LSTM take slower
    kernels for nothing, and ONNX Runtime does not say which kernels it takes. So the largest sum of
    products, 64 times 255 times 127, is computed, once in a process, with as many rows as those kernels
    take at a time.
    """
    options = session_options(ort, 1)  # one thread: starts none
    inputs = np.full(_PROBE_SHAPE, _LARGEST_INPUT, np.uint8)
    try:
        session = ort.InferenceSession(INT8_PROBE, options, providers=[_CPU])
        (sums,) = session.run(["products"], {"inputs": inputs})
    except Exception as error:
        raise InstallError(
            f"ONNX Runtime {ort.__version__} cannot run {INT8_PROBE.name}; "
            "run pip install --force-reinstall fsnp-onnx"
        ) from error
    return bool(np.any(sums != _PROBE_SHAPE[1] * _LARGEST_INPUT * _LARGEST_WEIGHT))


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message; ONNX Runtime's have many."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def _why_no_cuda(ort: ModuleType, device_id: int) -> str:
    """Return what is missing for CUDA, "" where nothing is.

    A session that is made in vain would make ONNX Runtime print to standard error. The library of its
    CUDA provider cannot be loaded for a try: unless ONNX Runtime loads it, it ends the process.
    """
    if not has_cuda(ort):
        return CPU_BUILD
    said = io.StringIO()
    with (
        _STDOUT,
        redirect_stdout(said),
    ):  # it prints what is missing, and standard output may carry audio
        getattr(ort, "preload_dlls", lambda: None)()
    missing = re.search(r"^Failed to load [^\s/\\]+: (.+)$", said.getvalue(), re.MULTILINE)
    if missing:
        return missing[1]
    try:
        driver = ctypes.CDLL(_DRIVER)
    except OSError as error:
        return one_line(error)
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return "the NVIDIA driver finds no device"
    if device_id >= count.value:
        return f"this machine has {count.value} CUDA devices, numbered from 0"
    return ""


def _create(ort: ModuleType, model: str | bytes, options: Any, providers: list[Any]) -> Any:
    try:
        return ort.InferenceSession(model, options, providers=providers, enable_fallback=0)
    except Exception as error:
        raise ModelFileError(
            f"it cannot be opened by ONNX Runtime {ort.__version__} ({first_line(error)}); "
            "expected an ONNX file written by fsnp-export"
        ) from error
