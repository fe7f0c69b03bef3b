"""Stage two, sub band: one sequence model for all bins, exported for one block.

This stage takes about 96 % of the arithmetic. On a whole utterance it would need memory for F sequences
of all frames. LSTM and GRU only look back in time, so they run over blocks of frames with their state
carried along: exact, at any length, in bounded memory. A TCN looks both ways, so it runs over blocks of
bins. sub_band_scan.py puts a block into the Scan that runs over all of them.
"""

from __future__ import annotations

import copy
from typing import Final

import onnx
import torch
from torch import Tensor, nn

from fsnp_onnx.export.graph.statistics import SOURCES, statistics_names
from fsnp_onnx.export.graph.tcn import Float64GroupNorm
from fsnp_onnx.export.graph.torch_export import EXAMPLE_BATCH, EXAMPLE_FRAMES, Axes, export_module
from fsnp_onnx.network import norms
from fsnp_onnx.network.config import NetworkConfig, Norm
from fsnp_onnx.network.fullsubnet_plus import FullSubNetPlus, neighbourhoods
from fsnp_onnx.network.sequence import RecurrentModel, TcnBlock

# The fastest. float32 gives the same numbers for any; int8 rounds the input of a block on one scale.
BLOCK_FRAMES: Final = 8


def state_names(config: NetworkConfig) -> tuple[str, ...]:
    """Names of the recurrent states, layer by layer."""
    states = {"LSTM": ("h", "c"), "GRU": ("h",), "TCN": ()}[config.sub_band_model]
    return tuple(f"{state}_{layer}" for layer in range(config.sub_band_layers) for state in states)


def sub_band_block(
    network: FullSubNetPlus, opset: int, block_frames: int = BLOCK_FRAMES
) -> onnx.ModelProto:
    """Export one block of stage two: of frames for LSTM and GRU, of bins for a TCN."""
    config = network.config
    recurrent = config.sub_band_model != "TCN"
    axes: Axes = (1,) if recurrent else (0, 1)
    n_frames = block_frames if recurrent else EXAMPLE_FRAMES
    source = torch.ones(n_frames, EXAMPLE_BATCH, config.n_freqs)
    cumulative = norms.is_cumulative(config.norm)
    statistic: tuple[Tensor, Axes] = (source, axes) if cumulative else (source[0, :, :1], (0,))
    inputs = dict.fromkeys(SOURCES, (source, axes))
    inputs |= dict.fromkeys(statistics_names(config.norm), statistic)
    if not recurrent:
        inputs["index"] = (neighbourhoods(config)[:5], (0,))
        return export_module(TcnStage(network), inputs, {"mask": (0, 2, 3)}, opset)
    zero_state = torch.zeros(1, EXAMPLE_BATCH * config.n_freqs, config.sub_band_hidden_size)
    states = state_names(config)
    inputs |= dict.fromkeys(states, (zero_state, (1,)))
    outputs: dict[str, Axes] = {"mask": (0,), **{f"{name}_out": (1,) for name in states}}
    return export_module(RecurrentStage(network), inputs, outputs, opset)


class RecurrentStage(nn.Module):
    """One block of frames through the LSTM or GRU, state in and state out.

    Four sources [n, B, F], statistics [B, 1] or [n, B, F], states [1, B F, H] of every layer -> mask
    [B, 2, F, n], states. Every layer has its own, so they need not be split and joined again.
    """

    index: Tensor

    def __init__(self, network: FullSubNetPlus) -> None:
        super().__init__()
        self.config = network.config
        self.register_buffer("index", neighbourhoods(network.config))
        assert isinstance(network.sb_model, RecurrentModel)
        trained = network.sb_model.sequence_model
        self.layers = nn.ModuleList(_layer(trained, i) for i in range(trained.num_layers))
        self.fc_output_layer = network.sb_model.fc_output_layer
        self.activation = network.sb_model.activation

    def forward(self, *block: Tensor) -> tuple[Tensor, ...]:
        """Return the mask of the block and the new states."""
        sources, statistics, states = split_block(self.config.norm, block)
        features = neighbourhood_features(sources, statistics, self.index)
        n_frames, batch, n_freqs = features.shape[:3]
        y = features.flatten(1, 2)
        new_states: list[Tensor] = []
        n_states = len(states) // len(self.layers)
        for layer, first in zip(self.layers, range(0, len(states), n_states), strict=True):
            state = states[first : first + n_states]
            y, new_state = layer(y, state if n_states > 1 else state[0])
            new_states += new_state if n_states > 1 else [new_state]
        mask = self.activation(self.fc_output_layer(y)).reshape(n_frames, batch, n_freqs, 2)
        return (mask.permute(1, 3, 2, 0), *new_states)


def _layer(trained: nn.LSTM | nn.GRU, index: int) -> nn.LSTM | nn.GRU:
    """Return one layer of a recurrent model, frames first, as ONNX wants them."""
    weights = {
        name.removesuffix(f"_l{index}") + "_l0": values
        for name, values in trained.state_dict().items()
        if name.endswith(f"_l{index}")
    }
    layer = type(trained)(weights["weight_ih_l0"].shape[1], trained.hidden_size)
    layer.load_state_dict(weights)
    return layer


class TcnStage(nn.Module):
    """A block of bins through the sub-band TCN, all frames at once: it is not causal.

    Four sources [T, B, F], statistics [B, 1] or [T, B, F], index [n, features] -> mask [B, 2, n, T].
    """

    def __init__(self, network: FullSubNetPlus) -> None:
        super().__init__()
        self.config = network.config
        self.sb_model = copy.deepcopy(network.sb_model)
        for block in self.sb_model.modules():
            if isinstance(block, TcnBlock):
                block.register_module("norm1", Float64GroupNorm(block.norm1))
                block.register_module("norm2", Float64GroupNorm(block.norm2))

    def forward(self, *block: Tensor) -> Tensor:
        """Return the mask of the block."""
        sources, (centre, spread), (index,) = split_block(self.config.norm, block)
        if norms.is_cumulative(self.config.norm):
            own_bin = index[:, self.config.sb_num_neighbors]
            spread = spread.index_select(2, own_bin)
            centre = centre if centre is None else centre.index_select(2, own_bin)
        features = neighbourhood_features(sources, (centre, spread), index)
        n_frames, batch, n_bins = features.shape[:3]
        mask: Tensor = self.sb_model(features.permute(1, 2, 3, 0).flatten(0, 1))
        return mask.reshape(batch, n_bins, 2, n_frames).transpose(1, 2)


def neighbourhood_features(
    sources: tuple[Tensor, ...], statistics: norms.Statistics, index: Tensor
) -> Tensor:
    """Gather and normalise the neighbourhood of every bin, [n, B, bins, features].

    The index [bins, features] says which rows of four sources [n, B, F] a bin sees. The statistics are
    [B, 1] or [n, B, bins].
    """
    rows = torch.cat(sources, dim=-1)
    offline = statistics[1].dim() == 2
    if offline:  # one number for all: cheaper before the rows are repeated
        rows = norms.normalise(rows, statistics)
    features = rows.index_select(-1, index.flatten())
    features = features.reshape(*features.shape[:2], -1, index.shape[1])
    if offline:
        return features
    centre, spread = statistics
    centre = centre if centre is None else centre[..., None]
    return norms.normalise(features, (centre, spread[..., None]))


def split_block(
    norm: Norm, block: tuple[Tensor, ...]
) -> tuple[tuple[Tensor, ...], norms.Statistics, tuple[Tensor, ...]]:
    """Split the inputs of a sub-band stage into sources, statistics and the rest."""
    sources, spread, rest = block[:4], block[4], block[5:]
    if norms.has_centre(norm):
        return sources, (rest[0], spread), rest[1:]
    return sources, (None, spread), rest
