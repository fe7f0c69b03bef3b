"""An exported file as a function, run by ONNX Runtime.

ONNX Runtime lists CUDA as available even where its libraries are missing, and a session then runs
on the CPU without an exception, even if only CUDA was asked for. So the providers of the finished
session are what counts here.
"""

from __future__ import annotations

import io
import os
import warnings
import weakref
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fsnp_onnx.errors import FsnpError, MissingFileError, ModelFileError, ProviderError
from fsnp_onnx.runtime.cpus import available_cpus
from fsnp_onnx.runtime.overflow import products_overflow
from fsnp_onnx.runtime.wheels import load_onnxruntime
from fsnp_onnx.spec import INPUT_NAMES, METADATA_KEY, OUTPUT_NAME, ModelSpec

Provider = Literal["auto", "cpu", "cuda"]

_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_ERRORS_ONLY, _FATAL_ONLY, _WARNINGS = 3, 4, 2


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class _Opened:
    """A session, the process it belongs to, and the options of its runs."""

    pid: int
    session: Any
    run_options: Any


class MaskModel:
    """An exported file that maps noisy spectra to compressed masks.

    Safe to use from many threads. A forked child opens a session of its own, as sessions do not
    survive a fork; a pickled model is opened again where it is unpickled.

    Attributes:
        spec: What the file says about itself.
        name: Path of the file, or "model bytes".
        threads: CPU threads of one run.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes,
        provider: Provider = "auto",
        device_id: int = 0,
        threads: int | None = None,
    ) -> None:
        """Open a file.

        Args:
            model: Path of an exported file, or its bytes.
            provider: "cuda" runs there or raises; "auto" takes CUDA where it starts.
            device_id: Number of the CUDA device.
            threads: CPU threads, default all CPUs that this process may use.

        Raises:
            MissingFileError: No file can be read there.
            ModelFileError: The file is no export of this package, damaged or too new.
            ProviderError: The provider does not start.
            InstallError: No ONNX Runtime is installed, or two are.
        """
        if provider not in ("auto", "cpu", "cuda"):
            raise ProviderError(f"provider {provider!r} is unknown; use 'auto', 'cpu' or 'cuda'")
        most = max(os.cpu_count() or 1, 64)  # more would spin against each other
        if threads is not None and not (_is_count(threads, 1) and threads <= most):
            raise ProviderError(f"threads is {threads!r}; give 1 to {most}, or None for all CPUs")
        if not _is_count(device_id, 0):
            raise ProviderError(f"device_id is {device_id!r}; give a whole number of 0 or more")
        if not isinstance(model, str | os.PathLike | bytes):
            raise ModelFileError(
                f"model is {type(model).__name__}; give the path of an exported file or its bytes"
            )
        self._model = model if isinstance(model, bytes) else _existing(Path(model))
        self._arguments = (self._model, provider, device_id, threads)
        self.name = "model bytes" if isinstance(model, bytes) else os.fspath(model)
        self.threads = threads or available_cpus()[0]
        self._opened = self._open()
        self.spec = _read_spec(self._opened.session, self.name)
        if self.spec.precision == "int8" and self.provider == "cuda":
            self._opened = self._leave_cuda()

    def __reduce__(self) -> tuple[type[MaskModel], tuple[Any, ...]]:
        return MaskModel, self._arguments

    @property
    def provider(self) -> Literal["cpu", "cuda"]:
        """Where the session really runs."""
        return "cuda" if _runs_on_cuda(self._current().session) else "cpu"

    def run(
        self, noisy_real: NDArray[np.float32], noisy_imag: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Compute the compressed masks of a batch.

        Args:
            noisy_real: Real part of the noisy spectra, float32 [B, F, T], T >= spec.min_frames.
            noisy_imag: Imaginary part, likewise.

        Returns:
            Real and imaginary part of the masks, float32 [B, 2, F, T].

        Raises:
            ProviderError: The run failed, most often for want of memory.
        """
        parts = (np.ascontiguousarray(part) for part in (noisy_real, noisy_imag))
        feeds = dict(zip(INPUT_NAMES, parts, strict=True))
        current = self._current()
        try:
            (mask,) = current.session.run([OUTPUT_NAME], feeds, current.run_options)
        except Exception as error:
            raise ProviderError(
                f"{self.name} failed on a spectrum of shape {noisy_real.shape} "
                f"({_first_line(error)}); if memory is short, give shorter audio"
            ) from error
        result: NDArray[np.float32] = mask
        return result

    def _current(self) -> _Opened:
        if self._opened.pid != os.getpid():  # two threads may both do this: either one is good
            self._opened = self._open()
        return self._opened

    def _leave_cuda(self) -> _Opened:
        """Open an int8 file on the CPU: its LSTM has no CUDA kernel and would run there anyway."""
        model, provider, device_id, threads = self._arguments
        if provider == "cuda":
            raise ProviderError(
                f"{self.name} is quantised to int8, which runs on CPUs only; "
                "use provider cpu, or a float32 file on CUDA"
            )
        self._arguments = (model, "cpu", device_id, threads)
        return self._open()

    def _open(self) -> _Opened:
        ort = load_onnxruntime()
        _, _, device_id, _ = self._arguments
        session = self._open_session(ort)
        run_options = ort.RunOptions()
        if _runs_on_cuda(session):  # by itself an arena only grows
            arena = f"gpu:{device_id}"
            run_options.add_run_config_entry("memory.enable_memory_arena_shrinkage", arena)
        opened = _Opened(os.getpid(), session, run_options)
        _alive.add(opened)
        return opened

    def _open_session(self, ort: ModuleType) -> Any:
        _, provider, device_id, _ = self._arguments
        if provider == "cpu":
            return self._create(ort, [_CPU])
        if _CUDA not in ort.get_available_providers():
            if provider == "cuda":
                raise ProviderError(
                    "this onnxruntime has no CUDA; run pip uninstall onnxruntime, then "
                    "pip install 'fsnp-onnx[gpu]', or use provider cpu"
                )
            return self._create(ort, [_CPU])
        return self._open_cuda(ort, device_id, required=provider == "cuda")

    def _open_cuda(self, ort: ModuleType, device_id: int, *, required: bool) -> Any:
        options = {
            "device_id": device_id,
            "arena_extend_strategy": "kSameAsRequested",
            "use_tf32": "0",  # ten bits of mantissa would break the parity certificate
        }
        said = io.StringIO()
        ort.set_default_logger_severity(_FATAL_ONLY)
        try:
            with redirect_stdout(said):  # it prints what is missing, and stdout may carry audio
                getattr(ort, "preload_dlls", lambda: None)()
            session = self._create(ort, [(_CUDA, options), _CPU])
            reason = said.getvalue().partition("\n")[0] or "its libraries or the device are missing"
        except ModelFileError as error:
            session, reason = self._create(ort, [_CPU]), str(error)
        finally:
            ort.set_default_logger_severity(_WARNINGS)
        if _runs_on_cuda(session):
            return session
        if required:
            raise ProviderError(
                f"CUDA device {device_id} does not start ({reason}); "
                "install 'fsnp-onnx[gpu]' and a driver, or use provider cpu"
            )
        warnings.warn(f"CUDA does not start ({reason}); running on the CPU", stacklevel=2)
        return session

    def _create(self, ort: ModuleType, providers: list[Any]) -> Any:
        options = session_options(ort, self.threads)
        model = self._model if isinstance(self._model, bytes) else os.fspath(self._model)
        try:
            return ort.InferenceSession(model, options, providers=providers, enable_fallback=0)
        except Exception as error:
            raise ModelFileError(
                f"{self.name} cannot be opened by ONNX Runtime {ort.__version__} "
                f"({_first_line(error)}); expected an ONNX file written by fsnp-export"
            ) from error


# Freeing an inherited session in a forked child waits for its threads, whose ids now belong to threads
# of a new session: for ever. So a child keeps every session that existed, be it garbage that only
# waits for its collection.
_alive: weakref.WeakSet[_Opened] = weakref.WeakSet()
_inherited: list[_Opened] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _inherited.extend(_alive))


def session_options(ort: ModuleType, threads: int) -> Any:
    """Return the options that every session here has.

    Args:
        ort: The onnxruntime module.
        threads: CPU threads of one run.

    Raises:
        InstallError: ONNX Runtime does not work.
    """
    options = ort.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = threads  # implicit affinity breaks in containers
    options.inter_op_num_threads = 1
    # An arena keeps holes that nothing fits in, up to half of what a long recording needs.
    options.enable_cpu_mem_arena = False
    if products_overflow(ort):  # asked for float32, too: a file says what it is once it is open
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def _is_count(value: object, lowest: int) -> bool:
    """Whether a value is a whole number that fits the 32 bits of ONNX Runtime."""
    return type(value) is int and lowest <= value < 1 << 31


def _existing(path: Path) -> Path:
    try:
        with path.open("rb"):
            return path.resolve()
    except OSError as error:
        raise MissingFileError(
            f"cannot read the model {path} ({error.strerror}); give the path of an exported file"
        ) from error


def _read_spec(session: Any, name: str) -> ModelSpec:
    """Read the metadata and check that the graph is what it describes."""
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise ModelFileError(
            f"{name} is an ONNX file without metadata {METADATA_KEY!r}; "
            "expected a file written by fsnp-export"
        )
    try:
        spec = ModelSpec.from_metadata(text)
    except FsnpError as error:
        raise ModelFileError(f"{name}: {error}") from error
    nodes = {node.name: node for node in (*session.get_inputs(), *session.get_outputs())}
    n_freqs = spec.stft.n_freqs
    expected: dict[str, list[int | str]] = {n: ["any", n_freqs, "any"] for n in INPUT_NAMES}
    expected[OUTPUT_NAME] = ["any", 2, n_freqs, "any"]
    if not (nodes.keys() == expected.keys() and all(_fits(nodes[n], expected[n]) for n in nodes)):
        found = {n: (node.type, node.shape) for n, node in nodes.items()}
        raise ModelFileError(
            f"{name} has the tensors {found}, its metadata needs float32 {expected}; "
            "export the checkpoint again"
        )
    return spec


def _fits(node: Any, expected: list[int | str]) -> bool:
    """Whether a tensor has the expected rank, with "any" a symbolic axis, not a frozen one."""
    if node.type != "tensor(float)" or len(node.shape) != len(expected):
        return False
    pairs = zip(node.shape, expected, strict=True)
    return all(not isinstance(have, int) or have == want for have, want in pairs)


def _runs_on_cuda(session: Any) -> bool:
    return bool(session.get_providers()[0] == _CUDA)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
