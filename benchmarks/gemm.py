"""How near the sub-band stage is to what the machine's matrix products can do.

The recurrent layers are matrix products and little else: of a block of n frames and B sequences, one
[n B, inputs] x [inputs, gates H] and, frame after frame, n times [B, H] x [H, gates H]. The same
products, alone, with constant right-hand sides and on the same threads, take a time that no such
layer can beat; the share of it in the time that the layers take is how near they are.
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
from benchmarks.recording import noisy_speech
from benchmarks.rounds import alternate
from fsnp_onnx.runtime.ort import session_options

GATES = {"LSTM": 4, "DynamicQuantizeLSTM": 4, "GRU": 3}
LEAST_S = 0.2  # of one timing of a product
Product = tuple[int, int, int]  # rows, inner, columns
Array = NDArray[Any]


def measure(network: Network, threads: int, seconds: float, repeats: int) -> dict[str, Any]:
    """Time the recurrent layers inside the network and their products alone, taking turns.

    Returns:
        Per precision: multiply-accumulates, and per round the seconds of the layers, of the whole
        sub-band stage, and of one of each product by every library.
    """
    noisy, _ = noisy_speech(seconds)
    return {"audio_s": seconds} | network.by_precision(
        lambda precision, path: _measure(path, precision, noisy, threads, repeats)
    )


def _measure(
    path: Path, precision: str, noisy: NDArray[np.float32], threads: int, repeats: int
) -> dict[str, Any]:
    products = count_products(layers(profile(path, noisy, threads)))
    libraries = _libraries(precision, products, threads)
    systems: dict[str, Callable[[], Any]] = {
        "network": lambda: profile(path, noisy, threads),
        **{name: partial(_time_products, calls, threads) for name, calls in libraries.items()},
    }
    rounds = alternate(systems, repeats)
    profiles: list[Profile] = rounds.pop("network")
    return {
        "macs": sum(m * k * n * number for (m, k, n), number in products.items()),
        "layers_s": [sum(layer.seconds for layer in layers(p)) for p in profiles],
        "sub_band_s": [p.sub_band_s for p in profiles],
        "products": [{"shape": list(shape), "count": n} for shape, n in products.items()],
        "product_s": rounds,
    }


def layers(of: Profile) -> list[Node]:
    """Return every run of a recurrent layer."""
    return [node for node in of.nodes if node.operator in GATES]


def count_products(nodes: list[Node]) -> Counter[Product]:
    """Return the products that these layers compute, and how many of each."""
    products: Counter[Product] = Counter()
    for node in nodes:
        n_frames, n_sequences, n_inputs = node.inputs[0]
        n_hidden = node.outputs[0][-1]
        n_columns = GATES[node.operator] * n_hidden
        products[n_frames * n_sequences, n_inputs, n_columns] += 1
        products[n_sequences, n_hidden, n_columns] += n_frames
    return products


def _libraries(
    precision: str, products: Counter[Product], threads: int
) -> dict[str, list[Callable[[], object]]]:
    """Return by library what computes each product once."""
    in_onnx = _integer_product if precision == "int8" else _float_product
    libraries = {"onnxruntime": [_in_onnxruntime(in_onnx(p), p, threads) for p in products]}
    if precision == "float32":
        libraries["numpy"] = [_in_numpy(p) for p in products]
    return libraries


def _time_products(calls: list[Callable[[], object]], threads: int) -> list[float]:
    """Return the seconds that each takes, the median of as many as fit into `LEAST_S`."""
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


def _float_product(product: Product) -> tuple[onnx.NodeProto, Array, Array, type]:
    """Operator, both sides, and the type of the result."""
    rows, inner, columns = product
    generator = np.random.default_rng(0)
    left = generator.standard_normal((rows, inner), np.float32)
    right = generator.standard_normal((inner, columns), np.float32)
    return helper.make_node("MatMul", ["a", "b"], ["c"]), left, right, np.float32


def _integer_product(product: Product) -> tuple[onnx.NodeProto, Array, Array, type]:
    """The same for 8-bit integers, added up in 32 bits."""
    rows, inner, columns = product
    generator = np.random.default_rng(0)
    left = generator.integers(0, 256, (rows, inner), np.uint8)
    right = generator.integers(-127, 128, (inner, columns), np.int8)
    return helper.make_node("MatMulInteger", ["a", "b"], ["c"]), left, right, np.int32


def _in_onnxruntime(
    node_and_sides: tuple[onnx.NodeProto, Array, Array, type], product: Product, threads: int
) -> Callable[[], object]:
    """One product as a model: the right-hand side is constant, as weights are, and packed once."""
    node, left, right, result_type = node_and_sides
    shape = [product[0], product[2]]
    types = {"a": left.dtype, "c": np.dtype(result_type)}
    elements = {name: helper.np_dtype_to_tensor_dtype(dtype) for name, dtype in types.items()}
    graph = helper.make_graph(
        [node],
        "product",
        [helper.make_tensor_value_info("a", elements["a"], left.shape)],
        [helper.make_tensor_value_info("c", elements["c"], shape)],
        [numpy_helper.from_array(right, "b")],
    )
    opset = helper.make_opsetid("", 18)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=10)
    options = session_options(onnxruntime, threads, precision="int8")
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=providers)
    binding = session.io_binding()  # without it the result is copied, which would be timed, too
    result = onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, result_type)
    binding.bind_cpu_input("a", left)
    binding.bind_ortvalue_output("c", result)
    return partial(session.run_with_iobinding, binding)


def _in_numpy(product: Product) -> Callable[[], object]:
    _, left, right, _ = _float_product(product)
    return partial(np.matmul, left, right, out=np.empty((product[0], product[2]), np.float32))
