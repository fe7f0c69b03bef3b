"""The time of the sub-band stage against the time of its matrix multiplications alone.

The recurrent layers consist mostly of matrix multiplications. A block of n frames and B sequences
needs one [n B, inputs] x [inputs, gates H], then, frame after frame, n times [B, H] x [H, gates H].
This module times the same multiplications alone, with constant right-hand sides and the same number
of threads. Their share of the time of the layers shows how close the layers are to this limit.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from threadpoolctl import threadpool_limits

from benchmarks.networks import Network
from benchmarks.nodes import Node, Profile, profile
from benchmarks.rounds import alternate
from benchmarks.speech import noisy_speech
from fsnp_onnx.runtime.ort import session_options

GATES = {"LSTM": 4, "DynamicQuantizeLSTM": 4, "GRU": 3}
LEAST_S = 0.2  # duration of one timing
Matmul = tuple[int, int, int]  # rows, inner, columns
Array = NDArray[Any]


def measure(network: Network, threads: int, seconds: float, repeats: int) -> dict[str, Any]:
    """Time the recurrent layers inside the network and their multiplications alone, taking turns.

    Returns:
        Per precision the number of MACs, and per round the seconds of the layers, of the whole
        sub-band stage, and, by library, of each multiplication once.
    """
    noisy, _ = noisy_speech(seconds)
    return {"audio_s": seconds} | network.by_precision(
        lambda precision, path: _measure(path, precision, noisy, threads, repeats)
    )


def _measure(
    path: Path, precision: str, noisy: NDArray[np.float32], threads: int, repeats: int
) -> dict[str, Any]:
    matmuls = count_matmuls(layers(profile(path, noisy, threads)))
    libraries = _libraries(precision, matmuls, threads)
    systems: dict[str, Callable[[], Any]] = {
        "network": lambda: profile(path, noisy, threads),
        **{name: partial(_time_all, calls, threads) for name, calls in libraries.items()},
    }
    rounds = alternate(systems, repeats)
    profiles: list[Profile] = rounds.pop("network")
    return {
        "macs": sum(m * k * n * number for (m, k, n), number in matmuls.items()),
        "layers_s": [sum(layer.seconds for layer in layers(p)) for p in profiles],
        "sub_band_s": [p.sub_band_s for p in profiles],
        "matmuls": [{"shape": list(shape), "count": n} for shape, n in matmuls.items()],
        "matmul_s": rounds,
    }


def layers(of: Profile) -> list[Node]:
    """Return every run of a recurrent layer."""
    return [node for node in of.nodes if node.operator in GATES]


def count_matmuls(nodes: list[Node]) -> Counter[Matmul]:
    """Return the matrix multiplications of these layers, and how many of each."""
    matmuls: Counter[Matmul] = Counter()
    for node in nodes:
        n_frames, n_sequences, n_inputs = node.inputs[0]
        n_hidden = node.outputs[0][-1]
        n_columns = GATES[node.operator] * n_hidden
        matmuls[n_frames * n_sequences, n_inputs, n_columns] += 1
        matmuls[n_sequences, n_hidden, n_columns] += n_frames
    return matmuls


def _libraries(
    precision: str, matmuls: Counter[Matmul], threads: int
) -> dict[str, list[Callable[[], object]]]:
    """Return, by library, functions that compute each multiplication once."""
    in_onnx = _integer_matmul if precision == "int8" else _float_matmul
    libraries = {"onnxruntime": [_in_onnxruntime(in_onnx(p), p, threads) for p in matmuls]}
    if precision == "float32":
        libraries["numpy"] = [_in_numpy(p) for p in matmuls]
    return libraries


def _time_all(calls: list[Callable[[], object]], threads: int) -> list[float]:
    """Return the seconds of each: the median of as many runs as fit into `LEAST_S`."""
    with threadpool_limits(threads, "blas"):  # numpy's own
        return [_time_one(call) for call in calls]


def _time_one(call: Callable[[], object]) -> float:
    call()
    times: list[float] = []
    end = perf_counter() + LEAST_S
    for index in count():
        started = perf_counter()
        if index > 2 and started > end:
            break
        call()
        times.append(perf_counter() - started)
    return median(times)


def _float_matmul(matmul: Matmul) -> tuple[onnx.NodeProto, Array, Array, type]:
    """Return operator, both sides, and the type of the result."""
    rows, inner, columns = matmul
    generator = np.random.default_rng(0)
    left = generator.standard_normal((rows, inner), np.float32)
    right = generator.standard_normal((inner, columns), np.float32)
    return helper.make_node("MatMul", ["a", "b"], ["c"]), left, right, np.float32


def _integer_matmul(matmul: Matmul) -> tuple[onnx.NodeProto, Array, Array, type]:
    """Return the same for 8-bit integers, added up in 32 bits."""
    rows, inner, columns = matmul
    generator = np.random.default_rng(0)
    left = generator.integers(0, 256, (rows, inner), np.uint8)
    right = generator.integers(-127, 128, (inner, columns), np.int8)
    return helper.make_node("MatMulInteger", ["a", "b"], ["c"]), left, right, np.int32


def _in_onnxruntime(
    node_and_sides: tuple[onnx.NodeProto, Array, Array, type], matmul: Matmul, threads: int
) -> Callable[[], object]:
    """Make a model of one multiplication. Its right-hand side is constant, as weights are."""
    node, left, right, result_type = node_and_sides
    shape = [matmul[0], matmul[2]]
    types = {"a": left.dtype, "c": np.dtype(result_type)}
    elements = {name: helper.np_dtype_to_tensor_dtype(dtype) for name, dtype in types.items()}
    graph = helper.make_graph(
        [node],
        "matmul",
        [helper.make_tensor_value_info("a", elements["a"], left.shape)],
        [helper.make_tensor_value_info("c", elements["c"], shape)],
        [numpy_helper.from_array(right, "b")],
    )
    opset = helper.make_opsetid("", 18)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=10)
    options = session_options(onnxruntime, threads, precision="int8")  # float32 ignores it
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=providers)
    binding = session.io_binding()  # without it the copy of the result would be timed
    result = onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, result_type)
    binding.bind_cpu_input("a", left)
    binding.bind_ortvalue_output("c", result)
    return partial(session.run_with_iobinding, binding)


def _in_numpy(matmul: Matmul) -> Callable[[], object]:
    _, left, right, _ = _float_matmul(matmul)
    return partial(np.matmul, left, right, out=np.empty((matmul[0], matmul[2]), np.float32))
