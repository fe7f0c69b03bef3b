"""The network cut in two stages that can be traced: full band once, sub band block by block.

The sub-band model takes about 96 % of the arithmetic and, run on a whole utterance, memory for F
sequences of all frames. It only looks back in time, so it can be run over blocks of frames with its
state carried along: exact, at any length, in bounded memory. The full-band stage sees the whole
utterance, because its norms and attentions need it; here are its beginning, the normalised and attended
input of a branch, and its end, the statistics of the sub-band norm. What lies between, the TCNs, is
full_band.py's. Tensors are time-major, [T, B, F], but for what enters and leaves the network.

Sums over an utterance are taken in float64: the mean of a real or imaginary part nearly vanishes, and
dividing by it magnifies every rounding error.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from fsnp_onnx.network import norms
from fsnp_onnx.network.config import Norm
from fsnp_onnx.network.fullsubnet_plus import Branch, FullSubNetPlus, neighbourhoods
from fsnp_onnx.network.sequence import RecurrentModel


class BranchInput(nn.Module):
    """Noisy spectrum -> the input of one branch's TCN and its sums over time.

    Shape: two [B, F, T] -> [T + look_ahead, B, F]; the magnitude, which is also a source of the sub-band
    model, with the float64 sums [B, F] that its norm needs.
    """

    def __init__(self, network: FullSubNetPlus, branch: Branch) -> None:
        super().__init__()
        self.network = _WithFloat64Statistics(network)
        self.branch = branch
        self.n_sums = 0 if branch else len(norms.sums_over_time(network.config.norm))

    def forward(self, noisy_real: Tensor, noisy_imag: Tensor) -> tuple[Tensor, ...]:
        """Return the input and its sums."""
        x = self.network.branch_input(self.branch, noisy_real, noisy_imag)
        sums = [(x.double() ** power).sum(-1) for power in range(1, self.n_sums + 1)]
        return (x.permute(2, 0, 1).contiguous(), *sums)


class SubBandStatistics(nn.Module):
    """Centre and spread of the sub-band norm, without the tensor of neighbourhoods it is defined on.

    Each row of the stacked sources is weighed by the number of neighbourhoods that hold it.

    Shape: offline norms: number of frames [1] and the sums over time [B, F] of four sources (then of
    their squares) -> spread (then centre) [B, 1]. Cumulative norms: sources four [T, B, F] ->
    spread (then centre) [T, B, F].
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
        statistics = norms.cumulative_statistics(sums, squares, self.n_features)
        centre, spread = (s if s is None else s.permute(2, 0, 1) for s in statistics)
        assert spread is not None
        return centre, spread


class _WithFloat64Statistics(FullSubNetPlus):
    """The attentions of a given network, all norms summed in float64."""

    def __init__(self, network: FullSubNetPlus) -> None:
        nn.Module.__init__(self)
        self.config = network.config
        for name, module in network.named_children():
            if name.startswith("channel_attention"):
                self.add_module(name, module)

    def statistics(self, branch_input: Tensor) -> norms.Statistics:
        centre, spread = super().statistics(branch_input.double())
        dtype = branch_input.dtype
        return centre if centre is None else centre.to(dtype), spread.to(dtype)


class Float64GroupNorm(nn.Module):
    """GroupNorm of one group with its mean and variance over time summed in float64.

    ONNX Runtime sums the operator that GroupNorm becomes in plain float32, which is wrong by per cents
    after ten minutes of audio.

    Shape: [B, C, T] -> [B, C, T].
    """

    def __init__(self, trained: nn.GroupNorm) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = trained.weight, trained.bias, trained.eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise over channels and time."""
        n_channels = x.shape[1]
        mean = x.sum(1).double().mean(-1)[:, None, None] / n_channels
        centred = x - mean.to(x.dtype)
        deviation = torch.linalg.vector_norm(centred, dim=1)  # of each frame
        variance = (deviation.double() ** 2).mean(-1)[:, None, None] / n_channels
        spread = torch.sqrt(variance + self.eps).to(x.dtype)
        return centred * (self.weight[:, None] / spread) + self.bias[:, None]


def with_float64_group_norms(module: nn.Module) -> nn.Module:
    """Return a copy of a module that shares its weights, every GroupNorm summed in float64."""
    converted = copy.copy(module)
    converted._modules = {  # noqa: SLF001 - a shallow copy shares this dict
        name: Float64GroupNorm(child)
        if isinstance(child, nn.GroupNorm)
        else child and with_float64_group_norms(child)
        for name, child in module._modules.items()  # noqa: SLF001
    }
    return converted


class RecurrentStage(nn.Module):
    """One block of frames through the LSTM or GRU, state in and state out.

    Every layer has states of its own, so that they need not be cut apart and joined again.

    Shape: sources four [n, B, F], statistics [B, 1] or [n, B, F], states [1, B F, H]
    -> mask [B, 2, F, n], states.
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

    Shape: sources four [T, B, F], statistics [B, 1] or [T, B, F], index [n, features]
    -> mask [B, 2, n, T].
    """

    def __init__(self, network: FullSubNetPlus) -> None:
        super().__init__()
        self.config = network.config
        self.sb_model = with_float64_group_norms(network.sb_model)

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
    """Gather and normalise the neighbourhood of every bin.

    Args:
        sources: Four tensors [n, B, F].
        statistics: Centre and spread, [B, 1] or [n, B, bins].
        index: Source rows that each bin sees, [bins, features].

    Returns:
        [n, B, bins, features].
    """
    rows = torch.cat(sources, dim=-1)
    offline = statistics[1].dim() == 2
    if offline:  # one number for all: cheaper before the rows are repeated
        rows = norms.normalise(rows, statistics)
    features = rows.index_select(-1, index.flatten())
    features = features.reshape(*features.shape[:2], -1, index.shape[1])
    if offline:
        return features
    centre, spread = (s if s is None else s[..., None] for s in statistics)
    assert spread is not None
    return norms.normalise(features, (centre, spread))


def split_block(
    norm: Norm, block: tuple[Tensor, ...]
) -> tuple[tuple[Tensor, ...], norms.Statistics, tuple[Tensor, ...]]:
    """Split the inputs of a sub-band stage into sources, statistics and the rest."""
    sources, spread, rest = block[:4], block[4], block[5:]
    if norms.has_centre(norm):
        return sources, (rest[0], spread), rest[1:]
    return sources, (None, spread), rest
