"""What graphs in ONNX's text syntax share: types as numbers, and lines that repeat for several names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from onnx import TensorProto

FLOAT: Final = int(TensorProto.FLOAT)
DOUBLE: Final = int(TensorProto.DOUBLE)


def lines(template: str, names: Iterable[str]) -> str:
    """Fill every name into the template."""
    return "\n".join(template.format(name) for name in names)
