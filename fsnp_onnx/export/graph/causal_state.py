"""The state of a causal graph: one flat tensor per row of the batch, split at the start and joined at the end.

Zeros mean the start of a recording. The layout is private to the file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fsnp_onnx.export.graph.text import lines
from fsnp_onnx.network.config import NetworkConfig
from fsnp_onnx.network.sequence import DILATIONS


@dataclass(frozen=True)
class Piece:
    """A part of the state.

    In the graph, ``was_NAME`` is what the frames before left and ``now_NAME`` what these frames leave.

    Attributes:
        name: Its name.
        shape: Its axes behind the batch.
        rows: Whether the batch and the first axis (the bins) form one axis, as recurrent layers want
            it: [1, batch bins, ...].
    """

    name: str
    shape: tuple[int, ...]
    rows: bool = False

    @property
    def size(self) -> int:
        """Numbers per row of the batch."""
        return math.prod(self.shape)

    @property
    def target(self) -> tuple[int, ...]:
        """Its shape in the graph, as a Reshape wants it."""
        return (1, -1, *self.shape[1:]) if self.rows else (0, *self.shape)


def network_pieces(config: NetworkConfig) -> list[Piece]:
    """Return what a causal network remembers: frames heard so far, running means, frames, recurrent states."""
    n_freqs, n_hidden = config.n_freqs, config.tcn_hidden_size
    pieces = [Piece("heard", (1, 1, 1)), Piece("level", (1, 1, 1))]
    if config.attention:
        pieces.append(Piece("attention", (3, 1, n_freqs)))
    for block in range(config.tcn_blocks):
        pieces.append(Piece(f"norm1_{block}", (3, 1, 2)))
        reach = DILATIONS[block % len(DILATIONS)] * (config.tcn_kernel_size - 1)
        if reach:
            pieces.append(Piece(f"frames_{block}", (3, reach, n_hidden)))
        pieces.append(Piece(f"norm2_{block}", (3, 1, 2)))
    pieces.append(Piece("sub_band_level", (1, 1, 1)))
    states = ("h", "c") if config.sub_band_model == "LSTM" else ("h",)
    shape = (n_freqs, config.sub_band_hidden_size)
    layers = range(config.sub_band_layers)
    return pieces + [Piece(f"{s}_{layer}", shape, rows=True) for layer in layers for s in states]


def state_size(pieces: Sequence[Piece]) -> int:
    """Return the length S of the state, per row of the batch."""
    return sum(piece.size for piece in pieces)


def split_state(pieces: Sequence[Piece]) -> str:
    """Return the nodes that split ``state`` [batch, S] into ``was_NAME``."""
    names = ", ".join(f"flat_{piece.name}" for piece in pieces)
    reshapes = lines("was_{0} = Reshape(flat_{0}, shape_of_{0})", [p.name for p in pieces])
    return f"{names} = Split<axis: int = 1>(state, piece_sizes)\n{reshapes}"


def join_state(pieces: Sequence[Piece]) -> str:
    """Return the nodes that join ``now_NAME`` to ``next_state`` [batch, S]."""
    names = [piece.name for piece in pieces]
    reshapes = lines("next_{0} = Reshape(now_{0}, row_of_{0})", names)
    joined = ", ".join(f"next_{name}" for name in names)
    return f"{reshapes}\nnext_state = Concat<axis: int = 1>({joined})"


def state_constants(pieces: Sequence[Piece]) -> str:
    """Return the constants that both need, as initialisers."""

    def ints(name: str, values: Sequence[int]) -> str:
        return f"int64[{len(values)}] {name} = {{{', '.join(map(str, values))}}}"

    shapes = [ints(f"shape_of_{piece.name}", piece.target) for piece in pieces]
    rows = [ints(f"row_of_{piece.name}", (-1, piece.size)) for piece in pieces]
    return ", ".join([ints("piece_sizes", [piece.size for piece in pieces]), *shapes, *rows])
