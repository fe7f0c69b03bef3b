"""Export a module to ONNX with PyTorch's exporter and check that no dimension was frozen.

The exporter sometimes fixes a dynamic dimension at the size of the example without a word. A module with
such an output is refused here; verify.py compares the numbers at other sizes.
"""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import onnx
import torch
from torch import Tensor, nn
from torch.export import Dim

from fsnp_onnx.errors import ExportError, one_line

EXAMPLE_BATCH: Final = 3
EXAMPLE_FRAMES: Final = 37  # verification probes have other lengths


Axes = tuple[int, ...]


def export_module(
    module: nn.Module,
    inputs: Mapping[str, tuple[Tensor, Axes]],
    outputs: Mapping[str, Axes],
    opset: int,
) -> onnx.ModelProto:
    """Export a module from tensors to tensors.

    Every input has an example and its dynamic axes, every output its dynamic axes.
    """
    shapes: tuple[Any, ...] = tuple(dict.fromkeys(axes, Dim.DYNAMIC) for _, axes in inputs.values())
    if inspect.getfullargspec(module.forward).varargs:  # forward(*tensors): one argument
        shapes = (shapes,)
    with _quiet(), torch.no_grad():
        program = _export(
            module.eval(),
            tuple(
                example.clone() for example, _ in inputs.values()
            ),  # it would merge equal objects
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=shapes,
            opset_version=opset,
            dynamo=True,
            verbose=False,
        )
    model: onnx.ModelProto = program.model_proto
    _check_dynamic_axes(model, outputs)
    _drop_traces_of_the_machine(model)
    return model


def _export(*arguments: Any, **options: Any) -> Any:
    try:
        return torch.onnx.export(*arguments, **options)
    except Exception as error:
        first: BaseException = error
        while first.__cause__:  # the exporter wraps what went wrong
            first = first.__cause__
        raise _refusal(one_line(first)) from error


def _refusal(reason: str) -> ExportError:
    return ExportError(
        f"torch {torch.__version__} cannot export this network ({reason}); "
        "please report the checkpoint's sizes"
    )


def _check_dynamic_axes(model: onnx.ModelProto, outputs: Mapping[str, Axes]) -> None:
    for (name, axes), output in zip(outputs.items(), model.graph.output, strict=True):
        dims = output.type.tensor_type.shape.dim
        frozen = [axis for axis in axes if dims[axis].HasField("dim_value")]
        if frozen:
            raise _refusal(f"axis {frozen[0]} of {name!r} froze at {dims[frozen[0]].dim_value}")


def _drop_traces_of_the_machine(model: onnx.ModelProto) -> None:
    """Drop the stack traces, which hold paths, and the operator sets that no node uses."""
    for node in model.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    domains = {"", *(node.domain for node in model.graph.node)}
    used = [opset for opset in model.opset_import if opset.domain in domains]
    del model.opset_import[:]
    model.opset_import.extend(used)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's own warnings and log lines, which no user can act on."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
