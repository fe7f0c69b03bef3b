"""Tell whether ONNX Runtime's fast products of 8-bit matrices overflow on this CPU.

x86 without VNNI adds pairs of products in 16 bits, which saturate. ONNX Runtime's session option
`session.x64quantprecision` avoids that, but on AVX-512 CPUs with VNNI it makes the LSTM take slower
kernels for nothing, and ONNX Runtime does not say which kernels it takes. So the largest product there
is gets computed once, with as many rows as those kernels take at a time.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Final

import numpy as np

from fsnp_onnx.errors import InstallError

PROBE: Final = Path(__file__).parents[1] / "models" / "overflow_probe.onnx"
N_ROWS: Final = 12
N_INNER: Final = 64
LARGEST_INPUT: Final = 255
LARGEST_WEIGHT: Final = 127
SLOW_INT8: Final = (
    "this CPU's fast 8-bit products overflow (it has no VNNI), so that int8 files take slower ones: "
    "little faster than float32"
)


@cache
def products_overflow(ort: ModuleType) -> bool:
    """Return whether 255 times 127, added up 64 times, comes out wrong.

    Args:
        ort: The onnxruntime module. What it answers is kept for the process.

    Raises:
        InstallError: It cannot compute the product.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # starts no thread
    options.log_severity_level = 3  # errors only
    inputs = np.full((N_ROWS, N_INNER), LARGEST_INPUT, np.uint8)
    try:
        session = ort.InferenceSession(PROBE, options, providers=["CPUExecutionProvider"])
        (products,) = session.run(["products"], {"inputs": inputs})
    except Exception as error:
        raise InstallError(
            f"ONNX Runtime {ort.__version__} cannot run {PROBE.name}; "
            "run pip install --force-reinstall fsnp-onnx"
        ) from error
    return bool(np.any(products != N_INNER * LARGEST_INPUT * LARGEST_WEIGHT))
