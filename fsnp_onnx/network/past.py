"""What a causal network remembers of the frames that it has seen."""

from __future__ import annotations

from collections.abc import Hashable

import torch
from torch import Tensor

from fsnp_onnx.network.norms import running_mean, running_weights

States = Tensor | tuple[Tensor, ...]


class Past:
    """The state of a causal network between two calls; a new one is the start of a recording.

    Every part of the network keeps its own under a key: a running mean, the last frames that a convolution
    reaches back to, the state of recurrent layers. Running means take in only frames that are heard.
    """

    def __init__(self, horizon_frames: int) -> None:
        """Begin a recording; the horizon is that of every running mean."""
        self._horizon_frames = horizon_frames
        self._n_heard = torch.zeros(1, 1, dtype=torch.int64)
        self._weights: list[Tensor] = []
        self._kept: dict[Hashable, States] = {}

    def listen(self, heard: Tensor) -> None:
        """Say which of the next n frames are heard, bool [B, n], before any mean of theirs is taken."""
        n_heard = self._n_heard.to(heard.device) + heard.cumsum(-1)
        self._weights = running_weights(heard, n_heard, self._horizon_frames)
        self._n_heard = n_heard[:, -1:]

    def running_mean(self, key: Hashable, x: Tensor) -> Tensor:
        """Return the running mean of x [B, ..., n] over the frames heard so far, same shape."""
        before = self._kept.get(key)
        assert not isinstance(before, tuple)
        means = running_mean(x, self._weights, before)
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
