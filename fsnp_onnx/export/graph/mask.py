"""The interface "mask": both stages joined to ``noisy_real, noisy_imag -> mask`` (docs/format.md)."""

from __future__ import annotations

from typing import Final

import onnx
from onnx import compose, helper, parser

from fsnp_onnx.export.graph.passes import store_as_float16
from fsnp_onnx.network.config import NetworkConfig
from fsnp_onnx.spec import INPUT_NAMES, OUTPUT_NAME

_FULL_BAND: Final = "full_band_"
_NEWEST_IR: Final = 10  # what the oldest supported ONNX Runtime reads


def mask_model(
    full_band: onnx.ModelProto, sub_band: onnx.ModelProto, config: NetworkConfig
) -> onnx.ModelProto:
    """Join both stages to one model of any batch and length.

    Args:
        full_band: Stage one.
        sub_band: Stage two, the whole Scan.
        config: The network's configuration.

    Returns:
        ``noisy_real, noisy_imag`` [batch, F, frames] -> ``mask`` [batch, 2, F, frames], float32;
        its weights stored as float16 where that loses nothing.
    """
    inputs = ", ".join(f"float[batch,{config.n_freqs},frames] {name}" for name in INPUT_NAMES)
    graph = parser.parse_graph(f"""
    fsnp ({inputs}) => (float[batch,2,{config.n_freqs},frames] {OUTPUT_NAME})
    {{
      frames = Shape<start: int = 2, end: int = 3>({INPUT_NAMES[0]})
    }}""")
    first, second = _prefixed(full_band.graph), sub_band.graph
    nodes = [*first.node, *graph.node, *second.node]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend([*second.initializer, *first.initializer])
    store_as_float16(graph)
    opsets = {e.domain: e.version for e in (*sub_band.opset_import, *full_band.opset_import)}
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid(name, opsets[name]) for name in sorted(opsets)],
        ir_version=min(full_band.ir_version, _NEWEST_IR),
        producer_name="fsnp-onnx",
    )


def _prefixed(full_band: onnx.GraphProto) -> onnx.GraphProto:
    """Prefix the names inside a graph whose Loops and Scans use its weights."""
    weights = {weight.name: _FULL_BAND + weight.name for weight in full_band.initializer}
    return compose.add_prefix_graph(
        full_band, _FULL_BAND, rename_inputs=False, rename_outputs=False, name_map=weights
    )
