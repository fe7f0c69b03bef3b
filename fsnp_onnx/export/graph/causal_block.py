"""One block of a causal graph, and the Scan that runs it over a recording of any length.

A block takes any number of frames and the state to results and the next state. The Scan gives it a few frames
at a time, so memory does not grow with the recording; the weights lie inside its body, where ONNX Runtime
packs them in advance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import onnx
from onnx import compose, helper, numpy_helper, parser

from fsnp_onnx.export.graph.causal_network import (
    network_constants,
    network_nodes,
    network_weights,
)
from fsnp_onnx.export.graph.causal_state import (
    Piece,
    join_state,
    network_pieces,
    split_state,
    state_constants,
)
from fsnp_onnx.export.graph.causal_tcn import Weights, tcn_constants
from fsnp_onnx.export.graph.passes import finished
from fsnp_onnx.network.fullsubnet_plus import FullSubNetPlus

BLOCK_FRAMES: Final = 32  # at most, in one go
_BODY: Final = "block_"


@dataclass(frozen=True)
class Around:
    """What an interface puts around the network in a block.

    Attributes:
        inputs: Inputs beside the state, in ONNX's text syntax.
        outputs: Outputs beside the next state.
        before: Nodes that give ``spectrum``.
        after: Nodes that use ``mask``.
        pieces: What the interface itself remembers.
        constants: Constants of its nodes.
        weights: Arrays of its nodes.
    """

    inputs: str
    outputs: str
    before: str
    after: str
    pieces: Sequence[Piece]
    constants: str
    weights: Weights


def causal_block(network: FullSubNetPlus, around: Around, opset: int) -> onnx.ModelProto:
    """Return a block with the inputs and outputs of an interface, ``state`` and ``next_state``."""
    config = network.config
    pieces = [*around.pieces, *network_pieces(config)]
    weights = network_weights(network)
    constants = [network_constants(config), tcn_constants(config), state_constants(pieces)]
    constants += [around.constants] if around.constants else []
    graph = _parsed(f"""
    block ({around.inputs}, float[batch,state_size] state)
      => ({around.outputs}, float[batch,state_size] next_state)
    <{", ".join(constants)}>
    {{
      {split_state(pieces)}
      {around.before}
      {network_nodes(config, weights)}
      {around.after}
      {join_state(pieces)}
    }}""")
    for name, values in (weights | around.weights).items():
        graph.initializer.append(numpy_helper.from_array(values, name))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def _parsed(text: str) -> onnx.GraphProto:
    """Parse a graph and drop the constants that its nodes do not use."""
    graph: onnx.GraphProto = parser.parse_graph(text)
    used = {name for node in graph.node for name in node.input}
    kept = [constant for constant in graph.initializer if constant.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return graph


def over_blocks(interface: str, block: onnx.ModelProto) -> onnx.ModelProto:
    """Return an interface's graph with the block as the body of its one Scan.

    The interface is written in ONNX's text syntax. The body there gives the block's inputs and takes its
    outputs, whose names begin with ``block_``.
    """
    graph = parser.parse_graph(interface)
    body = next(a.g for node in graph.node for a in node.attribute if a.name == "body")
    inner = compose.add_prefix(block, _BODY).graph
    nodes = list(body.node)  # those before the block, then those that use its outputs
    names = {output.name for output in inner.output}
    behind = next(i for i, node in enumerate(nodes) if names & set(node.input))
    del body.node[:]
    body.node.extend([*nodes[:behind], *inner.node, *nodes[behind:]])
    body.initializer.extend(inner.initializer)
    return finished(graph, block.opset_import)


def blocks_of(n_steps: str) -> str:
    """Return the nodes that divide ``n_steps`` steps into blocks: ``starts`` and ``stops`` of each.

    ``block`` is the length of all but the last one.
    """
    return f"""
      block = Min(most_steps, {n_steps})
      flat_end = Squeeze({n_steps})
      flat_block = Squeeze(block)
      flat_starts = Range(from_zero, flat_end, flat_block)
      starts = Unsqueeze(flat_starts, one)
      full_stops = Add(starts, block)
      stops = Min(full_stops, {n_steps})"""


BLOCK_CONSTANTS: Final = (
    f"int64[1] most_steps = {{{BLOCK_FRAMES}}}, int64 from_zero = {{0}}, int64[1] zero = {{0}}, "
    "int64[1] one = {1}"
)
