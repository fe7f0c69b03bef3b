"""Fold constants and drop dead nodes with onnxsim, and refuse a result it could not validate."""

from __future__ import annotations

import onnx
import onnxsim

from fsnp_onnx.errors import ParityError


def simplify(stage: onnx.ModelProto) -> onnx.ModelProto:
    """Return a simpler stage that computes the same.

    Raises:
        ParityError: onnxsim's own check of the result failed.
    """
    simplified, validated = onnxsim.simplify(stage)
    if not validated:
        raise ParityError(
            f"onnxsim {onnxsim.__version__} changed the numbers of a stage; use --no-simplify"
        )
    model: onnx.ModelProto = simplified
    return model
