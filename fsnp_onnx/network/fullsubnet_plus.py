"""FullSubNet+ in PyTorch: the network as published, ready to be compared with and exported.

Written from the paper (Chen et al., "FullSubNet+: Channel Attention FullSubNet with Complex
Spectrograms for Speech Enhancement", ICASSP 2022) and the behaviour of the published code; attribute
names are those of published checkpoints. It differs from the published code in two ways: it never
drops frequency bands, so that a batch gives row by row what single utterances give, and it takes the
real and imaginary spectrum and computes the magnitude itself.

A causal network (docs/live.md) is this network with a `Past`: running means in place of means over the
utterance, convolutions that reach back alone. It takes a whole utterance, or any number of frames at a time.

In float64 this network is the reference that exported files are verified against.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Final, Literal

import torch
from torch import Tensor, nn

from fsnp_onnx.network import attention as att
from fsnp_onnx.network.config import MulcaVariant, NetworkConfig
from fsnp_onnx.network.norms import OFFLINE_EPSILON, normalise, statistics
from fsnp_onnx.network.past import Past
from fsnp_onnx.network.sequence import RecurrentModel, TcnModel

Branch = Literal["", "_real", "_imag"]
ATTENTIONS: Final = ("channel_attention", "channel_attention_real", "channel_attention_imag")


class FullSubNetPlus(nn.Module):
    """FullSubNet+ (figure 1 of the paper): noisy spectrum in, compressed complex mask out."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        for name in ATTENTIONS if config.attention else ():
            setattr(self, name, build_attention(config))
        n_freqs = config.n_freqs
        tcn = (config.tcn_hidden_size, config.tcn_blocks, config.tcn_kernel_size)
        self.fb_model = TcnModel(n_freqs, n_freqs, tcn, config.fb_activation)
        self.fb_model_real = TcnModel(n_freqs, n_freqs, tcn, config.fb_activation)
        self.fb_model_imag = TcnModel(n_freqs, n_freqs, tcn, config.fb_activation)
        self.sb_model = build_sub_band_model(config)

    def attend(self, branch: Branch, x: Tensor, past: Past | None = None) -> Tensor:
        """Apply the channel attention of one branch, [B, F, T] -> [B, F, T]."""
        if not self.config.attention:
            return x
        attention = getattr(self, f"channel_attention{branch}")
        attended: Tensor = attention(x) if past is None else attention(x, past)
        return attended

    def branch_input(
        self, branch: Branch, real: Tensor, imag: Tensor, sum_dtype: torch.dtype | None = None
    ) -> Tensor:
        """Return the normalised and attended input of one branch, [B, F, T + look_ahead].

        The sums of the norm are taken in ``sum_dtype``, by default that of the spectrum.
        """
        magnitude = torch.sqrt(real * real + imag * imag)
        parts = {"": magnitude, "_real": real, "_imag": imag}
        divided_by = magnitude if self.config.complex_norm == "magnitude" else parts[branch]
        padding = (0, self.config.look_ahead)
        x, divided_by = (nn.functional.pad(part, padding) for part in (parts[branch], divided_by))
        centre, spread = statistics(divided_by.to(sum_dtype or x.dtype), self.config.norm)
        centre = centre if centre is None else centre.to(x.dtype)
        return self.attend(branch, normalise(x, (centre, spread.to(x.dtype))))

    def full_band(self, noisy_real: Tensor, noisy_imag: Tensor) -> tuple[Tensor, ...]:
        """Return the attended magnitude and the three TCN outputs, each [B, F, T + look_ahead]."""
        spectrum = (noisy_real, noisy_imag)
        attended = self.branch_input("", *spectrum)
        real = self.fb_model_real(self.branch_input("_real", *spectrum))
        imag = self.fb_model_imag(self.branch_input("_imag", *spectrum))
        return attended, self.fb_model(attended), real, imag

    def causal_sources(self, noisy_real: Tensor, noisy_imag: Tensor, past: Past) -> Tensor:
        """Return the four full-band results one after the other, normalised for the sub band, [B, 4 F, n].

        The sub-band norm divides by the mean over all neighbourhoods; here every row counts as often as
        neighbourhoods hold it.
        """
        magnitude = torch.sqrt(noisy_real * noisy_real + noisy_imag * noisy_imag)
        mean_magnitude = magnitude.mean(1, keepdim=True)
        past.listen(mean_magnitude[:, 0] > 0)
        level = past.running_mean("level", mean_magnitude) + OFFLINE_EPSILON
        attended = self.attend("", magnitude / level, past)
        real = self.attend("_real", noisy_real / level, past)
        imag = self.attend("_imag", noisy_imag / level, past)
        models = (self.fb_model, self.fb_model_real, self.fb_model_imag)
        outputs = (m(x, past) for m, x in zip(models, (attended, real, imag), strict=True))
        rows = torch.cat([attended, *outputs], dim=1)
        shares = row_shares(self.config).to(rows)
        mean = past.running_mean("sub_band_level", (rows * shares[:, None]).sum(1, keepdim=True))
        return rows / (mean + OFFLINE_EPSILON)

    def sub_band_input(
        self, noisy_real: Tensor, noisy_imag: Tensor, past: Past | None = None
    ) -> Tensor:
        """Return the normalised neighbourhoods, [B, F, features, T + look_ahead].

        A causal network goes on where its past ends, and then looks no further than the n frames
        given: [B, F, features, n].
        """
        index = neighbourhoods(self.config).to(noisy_real.device)
        if not self.config.causal:
            rows = torch.cat(self.full_band(noisy_real, noisy_imag), dim=1)
            features = _gathered(rows, index)
            return normalise(features, statistics(features, self.config.norm))
        if past is None:
            past, padding = self.start(), (0, self.config.look_ahead)
            noisy_real, noisy_imag = (
                nn.functional.pad(x, padding) for x in (noisy_real, noisy_imag)
            )
        return _gathered(self.causal_sources(noisy_real, noisy_imag, past), index)

    def sub_band_mask(self, features: Tensor, past: Past | None = None) -> Tensor:
        """Run the shared sub-band model, [n, features, T] -> [n, 2, T]."""
        mask: Tensor = self.sb_model(features, past)
        return mask

    def start(self) -> Past:
        """Return the past of a causal network at the start of a recording."""
        return Past(self.config.horizon_frames)

    def step(
        self, noisy_real: Tensor, noisy_imag: Tensor, past: Past, bins: list[int] | None = None
    ) -> Tensor:
        """Go on with a recording: the next frames in, masks out, late by ``look_ahead`` frames.

        Args:
            noisy_real: Real part of the next n frames [B, F, n], n of 1 or more.
            noisy_imag: Imaginary part [B, F, n].
            past: What `start` returned, and every step since then has changed.
            bins: Bins to estimate, default all F; the same in every step.

        Returns:
            Masks [B, 2, bins, n] of the n frames that lie ``look_ahead`` frames before those given;
            before the start they mean nothing.
        """
        return self._masks(self.sub_band_input(noisy_real, noisy_imag, past), bins, past)

    def forward(
        self, noisy_real: Tensor, noisy_imag: Tensor, bins: list[int] | None = None
    ) -> Tensor:
        """Estimate the compressed complex ratio mask.

        Args:
            noisy_real: Real part of the noisy spectrum [B, F, T], T at least ``min_frames``.
            noisy_imag: Imaginary part [B, F, T].
            bins: Bins to estimate, default all F.

        Returns:
            Mask [B, 2, bins, T], real and imaginary part.
        """
        mask = self._masks(self.sub_band_input(noisy_real, noisy_imag), bins)
        return mask[..., self.config.look_ahead :]

    def _masks(self, features: Tensor, bins: list[int] | None, past: Past | None = None) -> Tensor:
        """Run the sub-band model on [B, F, features, n], giving [B, 2, bins, n]."""
        features = features if bins is None else features[:, bins]
        batch, n_freqs = features.shape[:2]
        mask = self.sub_band_mask(features.flatten(0, 1), past)
        return mask.reshape(batch, n_freqs, 2, -1).transpose(1, 2)


def _gathered(rows: Tensor, index: Tensor) -> Tensor:
    """Return the rows that each bin sees: [B, 4 F, T], [F, features] -> [B, F, features, T]."""
    features = rows[:, index.flatten()]
    return features.reshape(len(rows), len(index), -1, rows.shape[-1])


def neighbourhoods(config: NetworkConfig) -> Tensor:
    """Return which of the 4 F rows magnitude, full-band magnitude, real, imag each bin sees.

    The result is int64 [F, features]. Both ends are reflected without repeating the edge.
    """
    n_freqs = config.n_freqs

    def around(n_neighbors: int) -> Tensor:
        bins = torch.arange(n_freqs)[:, None] + torch.arange(-n_neighbors, n_neighbors + 1)
        bins = bins.abs()
        return torch.where(bins >= n_freqs, 2 * (n_freqs - 1) - bins, bins)

    full_band = around(config.fb_num_neighbors)
    branches = [full_band + n_freqs * row for row in (1, 2, 3)]
    return torch.cat([around(config.sb_num_neighbors), *branches], dim=1)


def row_shares(config: NetworkConfig) -> Tensor:
    """Return the share of each of the 4 F rows in all neighbourhoods together, float64 [4 F]."""
    index = neighbourhoods(config).flatten()
    return torch.bincount(index, minlength=4 * config.n_freqs).double() / len(index)


def with_mulca(network: FullSubNetPlus, variant: MulcaVariant | None) -> FullSubNetPlus:
    """Return a copy of a trained network with another variant of MulCA (None changes nothing).

    Original and equivalent share their parameters; the simplified variant is converted from them.
    """
    converted = copy.deepcopy(network)
    if variant is None or network.config.mulca == variant:
        return converted
    converted.config = replace(network.config, mulca=variant)
    for name in ATTENTIONS:
        trained = getattr(network, name)
        if variant == "simplified":
            attention: nn.Module = att.SimplifiedMulCA.from_original(trained)
        else:
            attention = build_attention(converted.config)
            attention.load_state_dict(trained.state_dict())
        setattr(converted, name, attention.to(trained.fc1.weight.dtype))
    return converted.eval()


def build_attention(config: NetworkConfig) -> nn.Module:
    """Return one branch's channel attention."""
    n_freqs = config.n_freqs
    n_hidden = config.attention_hidden_size or n_freqs // 2
    if config.attention == "SE":
        return att.SqueezeExcitation(n_freqs, n_hidden)
    if config.attention == "CBAM":
        return att.CBAM(n_freqs, n_hidden)
    if config.attention == "ECA":
        return att.ECA(config.kernel_sizes[0])
    if config.mulca == "simplified":
        return att.SimplifiedMulCA(n_freqs, n_hidden)
    mulca = att.EquivalentMulCA if config.mulca == "equivalent" else att.MulCA
    return mulca(n_freqs, n_hidden, config.kernel_sizes)


def build_sub_band_model(config: NetworkConfig) -> TcnModel | RecurrentModel:
    """Return the sequence model shared by all bins."""
    n_features, activation = config.sub_band_features, config.sb_activation
    n_hidden, n_layers = config.sub_band_hidden_size, config.sub_band_layers
    if config.sub_band_model == "TCN":
        return TcnModel(n_features, 2, (n_hidden, n_layers, config.tcn_kernel_size), activation)
    layers = nn.LSTM if config.sub_band_model == "LSTM" else nn.GRU
    return RecurrentModel(layers(n_features, n_hidden, n_layers, batch_first=True), activation)
