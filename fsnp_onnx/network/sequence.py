"""The sequence models of FullSubNet+: a TCN, or recurrent layers, each with its output layer.

Attribute names are those of published checkpoints. A causal network gives every model its `Past`.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from fsnp_onnx.network.config import Activation
from fsnp_onnx.network.norms import RUNNING_VARIANCE_EPSILON
from fsnp_onnx.network.past import Past

DILATIONS: Final = (1, 2, 5, 9)


class TcnBlock(nn.Module):
    """Residual block of the TCN (section 2.1). Shape: [B, C, T] -> [B, C, T].

    With a `Past` it is causal: the convolution reaches back alone, and the norms take running means.
    """

    def __init__(self, n_channels: int, n_hidden: int, kernel_size: int, dilation: int) -> None:
        super().__init__()
        self.conv1x1 = nn.Conv1d(n_channels, n_hidden, 1)
        self.prelu1 = nn.PReLU()
        self.norm1 = nn.GroupNorm(1, n_hidden, eps=1e-8)
        padding = dilation * (kernel_size - 1) // 2
        self.depthwise_conv = nn.Conv1d(
            n_hidden, n_hidden, kernel_size, padding=padding, dilation=dilation, groups=n_hidden
        )
        self.prelu2 = nn.PReLU()
        self.norm2 = nn.GroupNorm(1, n_hidden, eps=1e-8)
        self.sconv = nn.Conv1d(n_hidden, n_channels, 1)

    def forward(self, x: Tensor, past: Past | None = None) -> Tensor:
        """Run the block, [B, C, T] -> [B, C, T]."""
        y = _normed(self.norm1, self.prelu1(self.conv1x1(x)), past)
        y = self.depthwise_conv(y) if past is None else self._filtered(y, past)
        residual: Tensor = x + self.sconv(_normed(self.norm2, self.prelu2(y), past))
        return residual

    def _filtered(self, y: Tensor, past: Past) -> Tensor:
        """Run the depthwise convolution over past and present frames."""
        conv = self.depthwise_conv
        reach = conv.dilation[0] * (conv.kernel_size[0] - 1)
        extended = past.extended(conv, y, reach)
        return nn.functional.conv1d(
            extended, conv.weight, conv.bias, dilation=conv.dilation, groups=conv.groups
        )


class TcnModel(nn.Module):
    """TCN blocks, ReLU, linear layer, activation. Shape: [B, C, T] -> [B, n_outputs, T]."""

    def __init__(
        self,
        n_inputs: int,
        n_outputs: int,
        block: tuple[int, int, int],
        activation: Activation | None,
    ) -> None:
        """Build the stack; ``block`` is (hidden size, number of blocks, kernel size)."""
        super().__init__()
        n_hidden, n_blocks, kernel_size = block
        blocks = [
            TcnBlock(n_inputs, n_hidden, kernel_size, DILATIONS[i % len(DILATIONS)])
            for i in range(n_blocks)
        ]
        self.sequence_model = nn.Sequential(*blocks, nn.ReLU())
        self.fc_output_layer = nn.Linear(n_inputs, n_outputs)
        self.activation = activation_module(activation)

    def forward(self, x: Tensor, past: Past | None = None) -> Tensor:
        """Run the stack, [B, C, T] -> [B, n_outputs, T]."""
        for module in self.sequence_model:
            x = module(x, past) if isinstance(module, TcnBlock) else module(x)
        activated: Tensor = self.activation(self.fc_output_layer(x.transpose(1, 2))).transpose(1, 2)
        return activated


class RecurrentModel(nn.Module):
    """LSTM or GRU, linear layer, activation. Shape: [B, C, T] -> [B, 2, T]."""

    def __init__(self, layers: nn.LSTM | nn.GRU, activation: Activation | None) -> None:
        super().__init__()
        self.sequence_model = layers
        self.fc_output_layer = nn.Linear(layers.hidden_size, 2)
        self.activation = activation_module(activation)

    def forward(self, x: Tensor, past: Past | None = None) -> Tensor:
        """Run the layers, [B, C, T] -> [B, 2, T]."""
        before = None if past is None else past.states(self)
        y, states = self.sequence_model(x.transpose(1, 2), before)
        if past is not None:
            past.keep_states(self, states)
        activated: Tensor = self.activation(self.fc_output_layer(y)).transpose(1, 2)
        return activated


def _normed(norm: nn.GroupNorm, x: Tensor, past: Past | None) -> Tensor:
    """GroupNorm of one group, [B, C, T] -> [B, C, T], with a `Past` over the frames so far."""
    if past is None:
        normed: Tensor = norm(x)
        return normed
    moments = torch.cat([x.mean(1, keepdim=True), (x * x).mean(1, keepdim=True)], dim=1)
    mean, square = past.running_mean(norm, moments).chunk(2, dim=1)
    variance = (square - mean * mean).clamp(min=0) + RUNNING_VARIANCE_EPSILON
    return (x - mean) * torch.rsqrt(variance) * norm.weight[:, None] + norm.bias[:, None]


def activation_module(activation: Activation | None) -> nn.Module:
    """Return the activation's module, the identity for None."""
    module: nn.Module = getattr(nn, activation or "Identity")()
    return module
