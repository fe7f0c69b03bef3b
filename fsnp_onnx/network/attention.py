"""Channel attentions of FullSubNet+: MulCA in three variants, SE, CBAM and ECA.

A branch is a tensor [B, C, T] whose C frequency bins are the channels. Every attention squeezes time
away, computes one gate in (0, 1) per bin and multiplies it in.

MulCA ("TSSE" in the published configuration, section 2.2 of the paper) squeezes with three depthwise
convolutions of kernel sizes K, each averaged over its T - K + 1 outputs and rectified. Its three variants:

* **original**: the convolutions, as published.
* **equivalent**: the same number without a convolution. Averaging is linear, so the mean over all
  outputs is ``sum_k w_k S_k / (T - K + 1) + b``, where S_k sums the frames that meet tap k: all but
  the first k and the last K - 1 - k.
* **simplified**: ``mean(x) * weight_sum + b``, which ignores the edges (discussion 12 of the published
  repository). Exact for a network trained this way, an approximation for any other.

Attribute names are those of published checkpoints.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from fsnp_onnx.network.past import Past


class MulCA(nn.Module):
    """Multi-scale channel attention with the convolutions of the paper.

    Shape: [B, C, T] -> [B, C, T] with T at least the longest kernel.
    """

    SCALES: Final = ("smallConv1d", "middleConv1d", "largeConv1d")

    def __init__(self, n_channels: int, n_hidden: int, kernel_sizes: tuple[int, ...]) -> None:
        super().__init__()
        for name, kernel_size in zip(self.SCALES, kernel_sizes, strict=True):
            conv = nn.Conv1d(n_channels, n_channels, kernel_size, groups=n_channels)
            setattr(self, name, nn.Sequential(conv, nn.AdaptiveAvgPool1d(1), nn.ReLU()))
        self.feature_concate_fc = nn.Linear(3, 1)
        self.fc1 = nn.Linear(n_channels, n_hidden)
        self.fc2 = nn.Linear(n_hidden, n_channels)

    def squeeze(self, x: Tensor) -> Tensor:
        """Return one feature per bin and scale, [B, C, 3]."""
        return torch.cat([getattr(self, name)(x) for name in self.SCALES], dim=2)

    def forward(self, x: Tensor) -> Tensor:
        """Multiply by the gates, [B, C, T] -> [B, C, T]."""
        return x * _gate(self, self.feature_concate_fc(self.squeeze(x))[..., 0])


class EquivalentMulCA(MulCA):
    """MulCA's own parameters and numbers, computed from a total and a few edge frames."""

    def squeeze(self, x: Tensor) -> Tensor:
        """Return one feature per bin and scale, [B, C, 3]."""
        total = x.double().sum(-1)
        convs = [getattr(self, name)[0] for name in self.SCALES]
        means = [_mean_of_convolution(x, total, conv.weight, conv.bias) for conv in convs]
        return torch.relu(torch.stack(means, dim=2))


class SimplifiedMulCA(nn.Module):
    """MulCA on the plain mean over time. Shape: [B, C, T] -> [B, C, T].

    With a `Past` it is causal: the mean is a running mean, and every frame has its own gate.
    """

    def __init__(self, n_channels: int, n_hidden: int) -> None:
        super().__init__()
        self.weight_sum = nn.Parameter(torch.ones(1, n_channels, 3))
        self.bias = nn.Parameter(torch.zeros(1, n_channels, 3))
        self.feature_concate_fc = nn.Linear(3, 1)
        self.fc1 = nn.Linear(n_channels, n_hidden)
        self.fc2 = nn.Linear(n_hidden, n_channels)

    @classmethod
    def from_original(cls, mulca: MulCA) -> SimplifiedMulCA:
        """Convert trained convolutions: weight_sum is the sum over taps, the bias stays."""
        simplified = cls(mulca.fc1.in_features, mulca.fc1.out_features)
        convs = [getattr(mulca, name)[0] for name in mulca.SCALES]
        with torch.no_grad():
            simplified.weight_sum.copy_(torch.stack([c.weight.sum((1, 2)) for c in convs], 1)[None])
            simplified.bias.copy_(torch.stack([c.bias for c in convs], 1)[None])
        for name in ("feature_concate_fc", "fc1", "fc2"):
            getattr(simplified, name).load_state_dict(getattr(mulca, name).state_dict())
        return simplified

    def forward(self, x: Tensor, past: Past | None = None) -> Tensor:
        """Multiply by the gates, [B, C, T] -> [B, C, T]."""
        if past is None:
            return x * self._gate_of(_mean_over_time(x))
        means = past.running_mean(self, x).transpose(1, 2)  # [B, T, C]
        return x * self._gate_of(means)[..., 0].transpose(1, 2)

    def _gate_of(self, mean: Tensor) -> Tensor:
        """Gates of means [..., C], [..., C, 1]."""
        features = torch.relu(mean[..., None] * self.weight_sum + self.bias)
        return _gate(self, self.feature_concate_fc(features)[..., 0])


class SqueezeExcitation(nn.Module):
    """SE: the gate of the mean over time. Shape: [B, C, T] -> [B, C, T]."""

    def __init__(self, n_channels: int, n_hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(n_channels, n_hidden)
        self.fc2 = nn.Linear(n_hidden, n_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Multiply by the gates, [B, C, T] -> [B, C, T]."""
        return x * _gate(self, _mean_over_time(x))


class CBAM(nn.Module):
    """CBAM's channel half: mean and maximum through one bottleneck. Shape: [B, C, T] -> [B, C, T]."""

    def __init__(self, n_channels: int, n_hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(n_channels, n_hidden)
        self.fc2 = nn.Linear(n_hidden, n_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Multiply by the gates, [B, C, T] -> [B, C, T]."""
        hidden = torch.relu(self.fc1(_mean_over_time(x))) + torch.relu(self.fc1(x.amax(-1)))
        return x * torch.sigmoid(self.fc2(hidden))[..., None]


class ECA(nn.Module):
    """ECA: a small convolution along the channels of the mean. Shape: [B, C, T] -> [B, C, T]."""

    def __init__(self, kernel_size: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, kernel_size, padding=(kernel_size - 1) // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Multiply by the gates, [B, C, T] -> [B, C, T]."""
        gate: Tensor = torch.sigmoid(self.conv(_mean_over_time(x)[:, None]))[:, 0, :, None]
        return x * gate


def _gate(attention: MulCA | SimplifiedMulCA | SqueezeExcitation, squeezed: Tensor) -> Tensor:
    """Bottleneck fc1, ReLU, fc2, sigmoid: [..., C] -> [..., C, 1]."""
    hidden = torch.relu(attention.fc1(squeezed))
    gate: Tensor = torch.sigmoid(attention.fc2(hidden))[..., None]
    return gate


def _mean_over_time(x: Tensor) -> Tensor:
    """Average [B, C, T] over T in float64: [B, C] in the type of x."""
    return x.double().mean(-1).to(x.dtype)


def _mean_of_convolution(x: Tensor, total: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Mean over time [B, C] of a depthwise convolution of x [B, C, T], without computing it.

    The total is the sum of x over time [B, C], float64: the edges are small against it. The kernel is
    [C, 1, K], the bias [C].
    """
    kernel_size = weight.shape[-1]
    n_outputs = x.shape[-1] - kernel_size + 1
    sums = total[..., None]  # per tap, [B, C, K]
    if kernel_size > 1:
        edges = torch.cat([x[..., : kernel_size - 1], x[..., n_outputs:]], dim=-1).double()
        frames_by_taps = torch.ones(kernel_size - 1, kernel_size, dtype=torch.float64)
        missed = torch.cat([frames_by_taps.triu(1), frames_by_taps.tril()])
        sums = sums - edges @ missed
    mean = (sums * weight[:, 0].double()).sum(-1) / n_outputs + bias.double()
    return mean.to(x.dtype)
