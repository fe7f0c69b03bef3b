"""The interface "mask": both stages joined to ``noisy_real, noisy_imag -> mask`` (docs/format.md)."""

from __future__ import annotations

from typing import Final

import onnx
from onnx import compose, parser

from fsnp_onnx.export.graph.passes import finished
from fsnp_onnx.network.config import NetworkConfig
from fsnp_onnx.spec import INPUT_NAMES, OUTPUT_NAME

_FULL_BAND: Final = "full_band_"


def mask_model(
    full_band: onnx.ModelProto, sub_band: onnx.ModelProto, config: NetworkConfig
) -> onnx.ModelProto:
    """Join stage one and the whole Scan of stage two to one model of any batch and length.

    It maps ``noisy_real, noisy_imag`` [batch, F, frames] to ``mask`` [batch, 2, F, frames], float32.
    """
    inputs = ", ".join(f"float[batch,{config.n_freqs},frames] {name}" for name in INPUT_NAMES)
    graph = parser.parse_graph(f"""
    fsnp ({inputs}) => (float[batch,2,{config.n_freqs},frames] {OUTPUT_NAME})
    {{
      frames = Shape<start: int = 2, end: int = 3>({INPUT_NAMES[0]})
    }}""")
    first, second = full_band.graph, sub_band.graph
    weights = {weight.name: _FULL_BAND + weight.name for weight in first.initializer}
    first = compose.add_prefix_graph(  # Loops and Scans in it use its weights
        first, _FULL_BAND, rename_inputs=False, rename_outputs=False, name_map=weights
    )
    nodes = [*first.node, *graph.node, *second.node]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend([*second.initializer, *first.initializer])
    return finished(graph, sub_band.opset_import)
