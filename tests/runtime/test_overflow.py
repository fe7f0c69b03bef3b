"""The probe for overflowing 8-bit products, on CPUs that saturate and on this one."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from benchmarks.machine import describe
from fsnp_onnx.errors import InstallError
from fsnp_onnx.runtime import overflow
from fsnp_onnx.runtime.overflow import products_overflow
from tests.data.make_overflow_probe import build

Product = Callable[[NDArray[np.int64]], NDArray[np.int64]]


class PretendedRuntime:
    """Computes the probe it is handed, with the products of another CPU."""

    SessionOptions = onnxruntime.SessionOptions
    __version__ = "0.0"

    def __init__(self, add_up: Product) -> None:
        self.add_up = add_up
        self.n_sessions = 0

    def InferenceSession(self, path: Path, *_: Any, **__: Any) -> "PretendedRuntime":  # noqa: N802
        self.n_sessions += 1
        self.weights = numpy_helper.to_array(onnx.load(path).graph.initializer[0]).astype(np.int64)
        return self

    def run(self, _: list[str], feeds: dict[str, NDArray[np.uint8]]) -> list[NDArray[np.int64]]:
        terms = feeds["inputs"].astype(np.int64)[:, :, None] * self.weights
        return [self.add_up(terms)]


def exactly(terms: NDArray[np.int64]) -> NDArray[np.int64]:
    sums: NDArray[np.int64] = terms.sum(1)
    return sums


def in_pairs_of_16_bits(terms: NDArray[np.int64]) -> NDArray[np.int64]:
    pairs = terms[:, 0::2] + terms[:, 1::2]
    return exactly(np.clip(pairs, -(2**15), 2**15 - 1))


def test_the_committed_probe_is_what_its_script_makes() -> None:
    assert overflow.PROBE.read_bytes() == build().SerializeToString(deterministic=True)


@pytest.mark.parametrize(("add_up", "overflows"), [(exactly, False), (in_pairs_of_16_bits, True)])
def test_products_that_saturate_are_found_out_once(add_up: Product, overflows: bool) -> None:
    runtime = PretendedRuntime(add_up)
    for _ in range(2):
        assert products_overflow(cast(ModuleType, runtime)) is overflows
    assert runtime.n_sessions == 1


def test_this_cpu_overflows_only_without_vnni() -> None:
    flags = {"avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8"} & set(describe()["flags"])
    only_16_bits = bool(flags) and flags <= {"avx2", "avx512f"}
    assert products_overflow(onnxruntime) is only_16_bits


def test_a_probe_that_does_not_run_is_an_install_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(overflow, "PROBE", tmp_path / "overflow_probe.onnx")
    with pytest.raises(InstallError, match=r"cannot run overflow_probe\.onnx.*reinstall"):
        products_overflow.__wrapped__(onnxruntime)
