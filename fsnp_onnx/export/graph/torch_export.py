"""Trace a stage to ONNX with PyTorch's exporter and make sure that nothing was frozen.

The exporter sometimes specialises a dimension to the size of the example without a word; a stage whose
dynamic dimensions are not symbolic in every output is refused here, and numbers at other sizes are
the parity check's business.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import onnx
import torch
from onnx import compose
from torch import Tensor, nn
from torch.export import Dim

from fsnp_onnx.errors import ParityError
from fsnp_onnx.export.graph.full_band import BRANCHES, tcn_glue
from fsnp_onnx.export.graph.stages import BranchInput, RecurrentStage, SubBandStatistics, TcnStage
from fsnp_onnx.network import norms
from fsnp_onnx.network.config import NetworkConfig, Norm
from fsnp_onnx.network.fullsubnet_plus import Branch, FullSubNetPlus, neighbourhoods
from fsnp_onnx.spec import INPUT_NAMES

SOURCES = ("attended", "fb", "fb_real", "fb_imag")
_BATCH, TRACED_FRAMES = 3, 37  # the example's sizes; parity probes avoid them


@dataclass(frozen=True)
class TensorPort:
    """An input or output of a stage: its name and which of its axes are dynamic."""

    name: str
    dynamic_axes: tuple[int, ...]


def statistics_names(norm: Norm) -> tuple[str, ...]:
    """Names of the statistics that the full-band stage hands over."""
    return ("spread", "centre") if norms.has_centre(norm) else ("spread",)


def state_names(config: NetworkConfig) -> tuple[str, ...]:
    """Names of the recurrent states, layer by layer."""
    states = {"LSTM": ("h", "c"), "GRU": ("h",), "TCN": ()}[config.sub_band_model]
    return tuple(f"{state}_{layer}" for layer in range(config.sub_band_layers) for state in states)


def trace_full_band(network: FullSubNetPlus, opset: int) -> onnx.ModelProto:
    """Build stage one: ``noisy_real, noisy_imag -> attended, fb, fb_real, fb_imag, spread[, centre]``.

    The inputs of the TCNs and the statistics are traced; the TCNs between them are full_band.py's.
    """
    inputs = [_trace_branch_input(network, branch, opset) for branch in BRANCHES]
    pieces = [inputs[0].graph, inputs[1].graph, inputs[2].graph, tcn_glue(network)]
    pieces.append(_trace_statistics(network, opset).graph)
    tensors = [
        onnx.helper.make_tensor_value_info(
            name, onnx.TensorProto.FLOAT, ["padded_frames", "batch", network.config.n_freqs]
        )
        for name in SOURCES
    ]
    graph = onnx.helper.make_graph(
        [node for piece in pieces for node in piece.node],
        "full_band",
        inputs[0].graph.input,
        [*tensors, *pieces[-1].output],
        [weight for piece in pieces for weight in piece.initializer],
    )
    return onnx.helper.make_model(
        graph, opset_imports=inputs[0].opset_import, ir_version=inputs[0].ir_version
    )


def _trace_branch_input(network: FullSubNetPlus, branch: Branch, opset: int) -> onnx.ModelProto:
    example = torch.ones(_BATCH, network.config.n_freqs, TRACED_FRAMES)
    inputs = {TensorPort(name, (0, 2)): example for name in INPUT_NAMES}
    sums = () if branch else norms.sums_over_time(network.config.norm)
    outputs = [TensorPort(f"input{branch}", (0, 1))]
    outputs += [TensorPort(f"attended_{name}", (0,)) for name in sums]
    model = _trace(BranchInput(network, branch), inputs, outputs, opset)
    return compose.add_prefix(model, f"branch{branch}_", rename_inputs=False, rename_outputs=False)


def _trace_statistics(network: FullSubNetPlus, opset: int) -> onnx.ModelProto:
    config = network.config
    inputs: dict[TensorPort, Tensor] = {}
    if norms.is_cumulative(config.norm):
        source = torch.ones(TRACED_FRAMES, _BATCH, config.n_freqs)
        inputs = {TensorPort(name, (0, 1)): source for name in SOURCES}
        axes: tuple[int, ...] = (0, 1)
    else:
        inputs = {TensorPort("n_frames", ()): torch.tensor([TRACED_FRAMES])}
        sums = torch.ones(_BATCH, config.n_freqs, dtype=torch.float64)
        for name in norms.sums_over_time(config.norm):
            inputs |= {TensorPort(f"{source}_{name}", (0,)): sums for source in SOURCES}
        axes = (0,)
    outputs = [TensorPort(name, axes) for name in statistics_names(config.norm)]
    model = _trace(SubBandStatistics(network), inputs, outputs, opset)
    return compose.add_prefix(model, "statistics_", rename_inputs=False, rename_outputs=False)


def trace_sub_band(network: FullSubNetPlus, block_frames: int, opset: int) -> onnx.ModelProto:
    """Trace stage two for one block of frames (LSTM, GRU) or one block of bins (TCN)."""
    config = network.config
    recurrent = config.sub_band_model != "TCN"
    n_frames, axes = (block_frames, (1,)) if recurrent else (TRACED_FRAMES, (0, 1))
    source = torch.ones(n_frames, _BATCH, config.n_freqs)
    cumulative = norms.is_cumulative(config.norm)
    statistic, statistic_axes = (source, axes) if cumulative else (source[0, :, :1], (0,))
    inputs = {TensorPort(name, axes): source for name in SOURCES}
    for name in statistics_names(config.norm):
        inputs[TensorPort(name, statistic_axes)] = statistic
    if not recurrent:
        inputs[TensorPort("index", (0,))] = neighbourhoods(config)[:5]
        return _trace(TcnStage(network), inputs, [TensorPort("mask", (0, 2, 3))], opset)
    outputs = [TensorPort("mask", (0,))]
    zero_state = torch.zeros(1, _BATCH * config.n_freqs, config.sub_band_hidden_size)
    for name in state_names(config):
        inputs[TensorPort(name, (1,))] = zero_state
        outputs.append(TensorPort(f"{name}_out", (1,)))
    return _trace(RecurrentStage(network), inputs, outputs, opset)


def _trace(
    stage: nn.Module, inputs: dict[TensorPort, Tensor], outputs: list[TensorPort], opset: int
) -> onnx.ModelProto:
    shapes = tuple(dict.fromkeys(port.dynamic_axes, Dim.DYNAMIC) for port in inputs)
    variadic = not isinstance(stage, BranchInput)
    with _quiet(), torch.no_grad():
        program = _export(
            stage.eval(),
            tuple(example.clone() for example in inputs.values()),  # it would merge equal objects
            input_names=[port.name for port in inputs],
            output_names=[port.name for port in outputs],
            dynamic_shapes=(shapes,) if variadic else shapes,
            opset_version=opset,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    _check_dynamic_axes(model, outputs)
    return model


def _export(*arguments: Any, **options: Any) -> Any:
    try:
        return torch.onnx.export(*arguments, **options)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ParityError(
            f"torch {torch.__version__} cannot export this network ({reason}); "
            "please report the checkpoint's sizes"
        ) from error


def _check_dynamic_axes(model: onnx.ModelProto, outputs: list[TensorPort]) -> None:
    for port, output in zip(outputs, model.graph.output, strict=True):
        dims = output.type.tensor_type.shape.dim
        frozen = [axis for axis in port.dynamic_axes if dims[axis].HasField("dim_value")]
        if frozen:
            raise ParityError(
                f"the exporter froze axis {frozen[0]} of {port.name!r} at "
                f"{dims[frozen[0]].dim_value}; this torch release cannot export the network"
            )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's own warnings and log lines, which no user can act on, off the screen."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
