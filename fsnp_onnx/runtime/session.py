"""An opened file that survives threads, forks and pickling."""

from __future__ import annotations

import ctypes
import os
import weakref
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fsnp_onnx.errors import (
    FsnpError,
    MissingFileError,
    ModelFileError,
    ProviderError,
    RunError,
)
from fsnp_onnx.runtime import ort
from fsnp_onnx.runtime.arguments import check_model, check_provider
from fsnp_onnx.runtime.cpus import available_cpus
from fsnp_onnx.spec import METADATA_KEY, ModelSpec, TensorSpec

ModelFile = str | os.PathLike[str] | bytes  # the path of an exported file, or what it holds


class _Opened(NamedTuple):
    """A session of ONNX Runtime, the process it belongs to, and the options of its runs."""

    pid: int
    session: Any
    run_options: Any


class Session:
    """An exported file, opened by ONNX Runtime.

    Safe to use from many threads. A forked child opens a session of its own, as sessions do not
    survive a fork; a pickled one is opened again where it is unpickled.
    """

    def __init__(
        self,
        model: ModelFile,
        provider: ort.Provider = "auto",
        *,
        threads: int | None = None,
        device_id: int = 0,
    ) -> None:
        """Open a file; the arguments and the errors are those of `Enhancer`."""
        check_provider(provider, threads, device_id)
        self.name, self._model = _named(model)
        self._provider, self._threads, self._device_id = provider, threads, device_id
        self._opened = self._open("float32")
        self.spec = _read_spec(self._opened.session, self.name)
        if self.spec.precision == "int8":
            self._reopen_int8()

    def __reduce__(self) -> tuple[Any, ...]:
        session = partial(Session, threads=self._threads, device_id=self._device_id)
        return session, (self._model, self._provider)

    @property
    def provider(self) -> Literal["cpu", "cuda"]:
        """Where the file really runs."""
        return "cuda" if ort.runs_on_cuda(self._current().session) else "cpu"

    def run(self, feeds: dict[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """Run the file once on `spec.inputs` by name; return `spec.outputs` in order, all float32."""
        opened = self._current()
        feeds = {name: np.ascontiguousarray(array) for name, array in feeds.items()}
        try:
            results: list[NDArray[np.float32]] = opened.session.run(None, feeds, opened.run_options)
        except Exception as error:
            shapes = ", ".join(f"{name} {array.shape}" for name, array in feeds.items())
            raise RunError(
                f"{self.name} failed on {shapes} ({ort.first_line(error)}); "
                "if memory is short, give shorter audio"
            ) from error
        return results

    def _current(self) -> _Opened:
        if self._opened.pid != os.getpid():  # two threads may both do this: either one is good
            self._opened = self._open(self.spec.precision)
        return self._opened

    def _open(self, precision: str) -> _Opened:
        threads = self._threads or available_cpus()[0]
        try:
            session, run_options = ort.open_session(
                self._model,
                self._provider,
                threads=threads,
                device_id=self._device_id,
                precision=precision,
            )
        except ModelFileError as error:
            raise ModelFileError(f"{self.name}: {error}") from error
        _alive.add(session)
        return _Opened(os.getpid(), session, run_options)

    def _reopen_int8(self) -> None:
        """Open an int8 file on the CPU, as its LSTM has no CUDA kernel, with the option that avoids overflow.

        Only now is it known that the file is int8: what it says about itself is read from a session.
        """
        if self._provider == "cuda":
            raise ProviderError(
                f"{self.name} is quantised to int8, which runs on CPUs only; "
                "use provider cpu, or a float32 file on CUDA"
            )
        self._provider = "cpu"
        if self.provider == "cuda" or ort.int8_overflows(ort.load_onnxruntime()):
            self._opened = self._open("int8")


_alive: weakref.WeakSet[Any] = weakref.WeakSet()


def _keep_inherited() -> None:
    """Let a forked child never free the sessions of its parent, not even when it ends.

    Freeing one waits for its threads, whose ids now belong to a new session's: it would never end.
    """
    for session in list(_alive):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_keep_inherited)


def _named(model: ModelFile) -> tuple[str, str | bytes]:
    """Return what messages call a model, and its bytes or its path, which a change of folder leaves."""
    if isinstance(model, bytes):
        return "model bytes", model
    check_model(model)
    try:
        with Path(model).open("rb"):
            return os.fspath(model), os.fspath(Path(model).resolve())
    except OSError as error:
        raise MissingFileError(
            f"cannot read the model {model} ({error.strerror}); give the path of an exported file, "
            "or default or live, the bundled models"
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
    nodes = (*session.get_inputs(), *session.get_outputs())
    expected = (*spec.inputs, *spec.outputs)
    if len(nodes) != len(expected) or not all(map(_fits, nodes, expected)):
        found = {node.name: (node.type, node.shape) for node in nodes}
        raise ModelFileError(
            f"{name} has the tensors {found}, its metadata needs float32 "
            f"{ {tensor.name: list(tensor.shape) for tensor in expected} }; "
            "export the checkpoint again"
        )
    return spec


def _fits(node: Any, expected: TensorSpec) -> bool:
    """Whether a tensor has the expected name and rank, and every named axis accepts any length."""
    found = (node.name, node.type, len(node.shape))
    if found != (expected.name, "tensor(float)", len(expected.shape)):
        return False
    pairs = zip(node.shape, expected.shape, strict=True)
    return all(not isinstance(have, int) or have == want for have, want in pairs)
