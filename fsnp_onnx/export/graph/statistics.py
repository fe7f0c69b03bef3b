"""Centre and spread of the sub-band norm, computed in stage one from the four sources of stage two.

The norm is defined on the tensor of all neighbourhoods, which is thirty times as large as its sources.
Here it is computed from the sources: each of their rows is weighted by the number of neighbourhoods that
hold it.
"""

from __future__ import annotations

from typing import Final

import onnx
import torch
from onnx import compose
from torch import Tensor, nn

from fsnp_onnx.export.graph.torch_export import EXAMPLE_BATCH, EXAMPLE_FRAMES, Axes, export_module
from fsnp_onnx.network import norms
from fsnp_onnx.network.config import Norm
from fsnp_onnx.network.fullsubnet_plus import FullSubNetPlus, neighbourhoods

SOURCES: Final = ("attended", "fb", "fb_real", "fb_imag")  # what neighbourhoods are gathered from


def statistics_names(norm: Norm) -> tuple[str, ...]:
    """Names of the statistics that stage one hands to stage two."""
    return ("spread", "centre") if norms.has_centre(norm) else ("spread",)


def export_statistics(network: FullSubNetPlus, opset: int) -> onnx.ModelProto:
    """Export the statistics: from sums over time, or for cumulative norms from the sources."""
    config = network.config
    if norms.is_cumulative(config.norm):
        axes: Axes = (0, 1)
        source = torch.ones(EXAMPLE_FRAMES, EXAMPLE_BATCH, config.n_freqs)
        inputs: dict[str, tuple[Tensor, Axes]] = dict.fromkeys(SOURCES, (source, axes))
    else:
        axes = (0,)
        inputs = {"n_frames": (torch.tensor([EXAMPLE_FRAMES]), ())}
        sums = torch.ones(EXAMPLE_BATCH, config.n_freqs, dtype=torch.float64)
        for name in norms.sums_over_time(config.norm):
            inputs |= {f"{source}_{name}": (sums, axes) for source in SOURCES}
    outputs = dict.fromkeys(statistics_names(config.norm), axes)
    model = export_module(SubBandStatistics(network), inputs, outputs, opset)
    return compose.add_prefix(model, "statistics_", rename_inputs=False, rename_outputs=False)


class SubBandStatistics(nn.Module):
    """Spread (then centre) of the sub-band norm.

    Offline norms: number of frames [1] and the sums over time [B, F] of four sources (then of their
    squares) -> [B, 1]. Cumulative norms: four sources [T, B, F] -> [T, B, F].
    """

    neighbours: Tensor

    def __init__(self, network: FullSubNetPlus) -> None:
        super().__init__()
        self.norm = network.config.norm
        self.n_features = network.config.sub_band_features
        n_freqs = network.config.n_freqs
        index = neighbourhoods(network.config)
        counts = nn.functional.one_hot(index, 4 * n_freqs).sum(1).double()
        self.register_buffer("neighbours", counts)  # [F, 4 F]: how often a bin sees a source row

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the statistics in float32."""
        summarise = self._cumulative if norms.is_cumulative(self.norm) else self._offline
        centre, spread = summarise(inputs)
        return (spread.float(),) if centre is None else (spread.float(), centre.float())

    def _offline(self, inputs: tuple[Tensor, ...]) -> norms.Statistics:
        weights = self.neighbours.sum(0)
        rows = (torch.cat(inputs[i : i + 4], dim=-1) for i in range(1, len(inputs), 4))
        totals = [(row @ weights)[:, None] for row in rows]
        return norms.offline_statistics(totals, weights.sum() * inputs[0].double())

    def _cumulative(self, sources: tuple[Tensor, ...]) -> norms.Statistics:
        rows = torch.cat(sources, dim=-1).double().permute(1, 2, 0)
        sums = self.neighbours @ rows
        squares = self.neighbours @ (rows * rows) if norms.has_centre(self.norm) else None
        centre, spread = norms.cumulative_statistics(sums, squares, self.n_features)
        return centre if centre is None else centre.permute(2, 0, 1), spread.permute(2, 0, 1)
