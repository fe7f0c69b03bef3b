"""A causal network as its definition reads: frame after frame, every mean by its recursion, one utterance."""

from __future__ import annotations

import torch
from torch import Tensor

from fsnp_onnx.network.attention import SimplifiedMulCA
from fsnp_onnx.network.fullsubnet_plus import FullSubNetPlus
from fsnp_onnx.network.sequence import TcnBlock, TcnModel


class Mean:
    """r_t = a_t r_(t-1) + (1 - a_t) v_t with a_t = min(k / (k + 1), 1 - 1 / horizon) after k heard frames."""

    def __init__(self, horizon: int) -> None:
        self.horizon, self.k, self.value = horizon, 0, torch.zeros(())

    def __call__(self, v: Tensor, heard: bool) -> Tensor:
        if not heard:
            return self.value if self.k else v
        keep = min(self.k / (self.k + 1), 1 - 1 / self.horizon)
        self.value, self.k = keep * self.value + (1 - keep) * v, self.k + 1
        return self.value


class Attention:
    def __init__(self, mulca: SimplifiedMulCA, horizon: int) -> None:
        self.mulca, self.mean = mulca, Mean(horizon)

    def __call__(self, x: Tensor, heard: bool) -> Tensor:  # [F]
        mulca = self.mulca
        features = torch.relu(self.mean(x, heard)[:, None] * mulca.weight_sum[0] + mulca.bias[0])
        squeezed = mulca.feature_concate_fc(features)[:, 0]
        return x * torch.sigmoid(mulca.fc2(torch.relu(mulca.fc1(squeezed))))


class Block:
    def __init__(self, block: TcnBlock, horizon: int) -> None:
        self.block = block
        self.means = [Mean(horizon) for _ in range(4)]
        self.normed: list[Tensor] = []

    def __call__(self, x: Tensor, heard: bool) -> Tensor:  # [F]
        b = self.block
        y = b.prelu1(_linear(b.conv1x1, x))
        self.normed.append(self._norm(b.norm1, y, self.means[:2], heard))
        conv, n_taps = b.depthwise_conv, b.depthwise_conv.kernel_size[0]
        assert conv.bias is not None
        y = conv.bias
        for tap in range(n_taps):
            t = len(self.normed) - 1 - (n_taps - 1 - tap) * conv.dilation[0]
            y = y + conv.weight[:, 0, tap] * self.normed[t] if t >= 0 else y
        y = self._norm(b.norm2, b.prelu2(y), self.means[2:], heard)
        return x + _linear(b.sconv, y)

    def _norm(self, norm: torch.nn.GroupNorm, y: Tensor, means: list[Mean], heard: bool) -> Tensor:
        centre, square = (mean(v.mean(), heard) for mean, v in zip(means, (y, y * y), strict=True))
        spread = torch.sqrt(square - centre**2 + 1e-6)
        return (y - centre) / spread * norm.weight + norm.bias


def _linear(conv: torch.nn.Conv1d, x: Tensor) -> Tensor:
    assert conv.bias is not None
    return conv.weight[..., 0] @ x + conv.bias


class Tcn:
    def __init__(self, model: TcnModel, horizon: int) -> None:
        self.model = model
        blocks = [m for m in model.sequence_model if isinstance(m, TcnBlock)]
        self.blocks = [Block(block, horizon) for block in blocks]

    def __call__(self, x: Tensor, heard: bool) -> Tensor:  # [F]
        for block in self.blocks:
            x = block(x, heard)
        y: Tensor = self.model.activation(self.model.fc_output_layer(torch.relu(x)))
        return y


def recursive_mask(network: FullSubNetPlus, real: Tensor, imag: Tensor) -> Tensor:
    """Return the mask [2, F, T] of one utterance, [F, T] each."""
    config = network.config
    horizon, n_freqs = config.horizon_frames, config.n_freqs
    level, sub_band_level = Mean(horizon), Mean(horizon)
    names = ("", "_real", "_imag")
    attend = [
        Attention(getattr(network, f"channel_attention{n}"), horizon) if config.attention else lambda x, _: x
        for n in names
    ]  # fmt: skip
    tcns = [Tcn(getattr(network, f"fb_model{n}"), horizon) for n in names]
    states, masks = None, []
    silence = torch.zeros(n_freqs, config.look_ahead).to(real)
    for re, im in zip(*(torch.cat([x, silence], 1).T for x in (real, imag)), strict=True):
        magnitude = torch.hypot(re, im)
        heard = bool(magnitude.any())
        scale = level(magnitude.mean(), heard) + 1e-5
        inputs = [a(x / scale, heard) for a, x in zip(attend, (magnitude, re, im), strict=True)]
        outputs = [tcn(x, heard) for tcn, x in zip(tcns, inputs, strict=True)]
        features = torch.stack([_around(f, inputs[0], outputs, network) for f in range(n_freqs)])
        features = features / (sub_band_level(features.mean(), heard) + 1e-5)
        y, states = network.sb_model.sequence_model(features[:, None], states)
        masks.append(network.sb_model.activation(network.sb_model.fc_output_layer(y[:, 0])).T)
    return torch.stack(masks[config.look_ahead :], -1)


def _around(f: int, attended: Tensor, outputs: list[Tensor], network: FullSubNetPlus) -> Tensor:
    """The neighbourhood of bin f, reflected at the ends."""
    config = network.config

    def near(x: Tensor, n: int) -> list[Tensor]:
        last = config.n_freqs - 1
        return [x[last - abs(last - abs(i))] for i in range(f - n, f + n + 1)]

    rows = [near(attended, config.sb_num_neighbors)]
    rows += [near(x, config.fb_num_neighbors) for x in outputs]
    return torch.stack([value for row in rows for value in row])
