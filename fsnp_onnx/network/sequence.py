"""The sequence models of FullSubNet+: a TCN, or recurrent layers, each with its output layer.

Attribute names are those of published checkpoints.
"""

from __future__ import annotations

from typing import Final

from torch import Tensor, nn

from fsnp_onnx.network.config import Activation

DILATIONS: Final = (1, 2, 5, 9)


class TcnBlock(nn.Module):
    """Residual block of the TCN (section 2.1), not causal. Shape: [B, C, T] -> [B, C, T]."""

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

    def forward(self, x: Tensor) -> Tensor:
        """Run the block, [B, C, T] -> [B, C, T]."""
        y = self.norm1(self.prelu1(self.conv1x1(x)))
        y = self.norm2(self.prelu2(self.depthwise_conv(y)))
        residual: Tensor = x + self.sconv(y)
        return residual


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

    def forward(self, x: Tensor) -> Tensor:
        """Run the stack, [B, C, T] -> [B, n_outputs, T]."""
        y = self.fc_output_layer(self.sequence_model(x).transpose(1, 2))
        activated: Tensor = self.activation(y).transpose(1, 2)
        return activated


class RecurrentModel(nn.Module):
    """LSTM or GRU, linear layer, activation. Shape: [B, C, T] -> [B, 2, T]."""

    def __init__(self, layers: nn.LSTM | nn.GRU, activation: Activation | None) -> None:
        super().__init__()
        self.sequence_model = layers
        self.fc_output_layer = nn.Linear(layers.hidden_size, 2)
        self.activation = activation_module(activation)

    def forward(self, x: Tensor) -> Tensor:
        """Run the layers, [B, C, T] -> [B, 2, T]."""
        y, _ = self.sequence_model(x.transpose(1, 2))
        activated: Tensor = self.activation(self.fc_output_layer(y)).transpose(1, 2)
        return activated


def activation_module(activation: Activation | None) -> nn.Module:
    """Return the activation's module, the identity for None."""
    module: nn.Module = getattr(nn, activation or "Identity")()
    return module
