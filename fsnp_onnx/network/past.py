"""What a causal network remembers of the frames that it has seen."""

from __future__ import annotations

from collections.abc import Hashable

import torch
from torch import Tensor

from fsnp_onnx.network.norms import running_mean

States = Tensor | tuple[Tensor, ...]


class Past:
    """The state of a causal network between two calls; a new one is the start of a recording.

    Every part of the network keeps its own under a key: a running mean, the last frames that a convolution
    reaches back to, the state of recurrent layers.

    Attributes:
        n_frames: Frames seen so far.
    """

    def __init__(self, horizon_frames: int) -> None:
        """Begin a recording; the horizon is that of every running mean."""
        self.n_frames = 0
        self._horizon_frames = horizon_frames
        self._kept: dict[Hashable, States] = {}

    def running_mean(self, key: Hashable, x: Tensor) -> Tensor:
        """Return the running mean of x [..., n] over all frames so far, same shape."""
        before = self._kept.get(key)
        assert not isinstance(before, tuple)
        means = running_mean(x, self._horizon_frames, before, self.n_frames)
        self._kept[key] = means[..., -1:]
        return means

    def extended(self, key: Hashable, x: Tensor, reach: int) -> Tensor:
        """Return x [..., n] with the ``reach`` frames before it, zeros before the start."""
        before = self._kept.get(key, x.new_zeros(*x.shape[:-1], reach))
        assert isinstance(before, Tensor)
        extended = torch.cat([before, x], dim=-1)
        self._kept[key] = extended[..., extended.shape[-1] - reach :]
        return extended

    def states(self, key: Hashable) -> States | None:
        """Return the states of recurrent layers, None at the start."""
        return self._kept.get(key)

    def keep_states(self, key: Hashable, states: States) -> None:
        """Keep the states of recurrent layers."""
        self._kept[key] = states
