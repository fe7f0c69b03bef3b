"""The four normalisations a FullSubNet+ configuration may name.

Each subtracts a centre (some do) and divides by a spread. "offline" takes them over the whole
utterance, "cumulative" over the frames so far, which keeps the network causal up to its look-ahead.
A causal network divides by a running mean instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import torch
from torch import Tensor

from fsnp_onnx.network.config import Norm

OFFLINE_EPSILON: Final = 1e-5
CUMULATIVE_EPSILON: Final = 2.0**-23
RUNNING_VARIANCE_EPSILON: Final = 1e-6
_RUNNING_BLOCK: Final = 512  # frames of one product

Statistics = tuple[Tensor | None, Tensor]
"""Centre (None for zero) and spread."""


def has_centre(norm: Norm) -> bool:
    """Whether the norm subtracts a mean."""
    return norm in {"offline_gaussian_norm", "cumulative_layer_norm"}


def is_cumulative(norm: Norm) -> bool:
    """Whether the norm's statistics run along time."""
    return norm.startswith("cumulative")


def sums_over_time(norm: Norm) -> tuple[str, ...]:
    """Name the sums over a whole utterance that an offline norm is computed from."""
    if is_cumulative(norm):
        return ()
    return ("sums", "squares") if has_centre(norm) else ("sums",)


def normalise(x: Tensor, statistics: Statistics) -> Tensor:
    """Return (x - centre) / spread."""
    centre, spread = statistics
    return x / spread if centre is None else (x - centre) / spread


def statistics(x: Tensor, norm: Norm) -> Statistics:
    """Compute centre and spread of x [B, ..., C, T], in its own precision, shaped to broadcast with x.

    Offline norms average over everything but B, cumulative ones over C and the frames up to each.
    """
    if not is_cumulative(norm):
        dims = tuple(range(1, x.dim()))
        mean = x.mean(dims, keepdim=True)
        if norm == "offline_laplace_norm":
            return None, mean + OFFLINE_EPSILON
        return mean, x.std(dims, keepdim=True) + OFFLINE_EPSILON
    squares = (x * x).sum(-2, keepdim=True) if has_centre(norm) else None
    return cumulative_statistics(x.sum(-2, keepdim=True), squares, x.shape[-2])


def offline_statistics(totals: Sequence[Tensor], n_entries: Tensor | int) -> Statistics:
    """Compute centre and spread of an offline norm from float64 sums over all entries.

    For the Gaussian norm the sum of the entries is followed by that of their squares.
    """
    mean = totals[0] / n_entries
    if len(totals) == 1:
        return None, mean + OFFLINE_EPSILON
    variance = (totals[1] - n_entries * mean * mean) / (n_entries - 1)
    return mean, torch.sqrt(variance.clamp(min=0)) + OFFLINE_EPSILON  # rounding may leave it below


def cumulative_statistics(
    sums: Tensor, sums_of_squares: Tensor | None, n_entries: int
) -> Statistics:
    """Compute running centre and spread [..., T] from the sums over the entries of each frame [..., T].

    The sums of squares are None for the Laplace norm.
    """
    counts = n_entries * torch.ones_like(sums).cumsum(-1)
    totals = sums.cumsum(-1)
    mean = totals / counts
    if sums_of_squares is None:
        return None, mean + CUMULATIVE_EPSILON
    variance = (sums_of_squares.cumsum(-1) - 2 * mean * totals) / counts + mean * mean
    return mean, torch.sqrt(variance + CUMULATIVE_EPSILON)


def running_mean(
    x: Tensor, horizon: int, before: Tensor | None = None, n_before: int = 0
) -> Tensor:
    """Running mean of x [..., T] over its last axis, same shape.

    It is the mean of all frames so far up to ``horizon`` frames, then an exponential one:
    ``r_t = a_t r_(t-1) + (1 - a_t) x_t`` with ``a_t = min(t / (t + 1), 1 - 1 / horizon)``. To go on after
    ``n_before`` frames, give the mean at the last of them, ``before`` [..., 1].

    Example:
        >>> running_mean(torch.tensor([2.0, 4.0, 6.0, 8.0]), horizon=2)
        tensor([2.0000, 3.0000, 4.5000, 6.2500])
    """
    before = torch.zeros_like(x[..., :1]) if before is None else before
    means = []
    for block in torch.split(x, _RUNNING_BLOCK, dim=-1):
        weights = _running_weights(min(n_before, horizon), block.shape[-1], horizon, x.dtype)
        means.append(before + (block - before) @ weights.to(x.device))
        before, n_before = means[-1][..., -1:], n_before + block.shape[-1]
    return torch.cat(means, dim=-1)


@lru_cache(maxsize=32)
def _running_weights(n_before: int, n_frames: int, horizon: int, dtype: torch.dtype) -> Tensor:
    """Return how much of frame s the running mean holds at frame t, [s, t].

    With k = t + 1 frames so far that is ``q^(max(k_t, H) - max(k_s, H)) / min(k_t, H)``, q = 1 - 1 / H:
    up to the horizon H all frames count alike, then frames fade. The rest is the mean before.
    """
    counts = torch.arange(n_before + 1, n_before + n_frames + 1, dtype=torch.float64)
    beyond = counts.clamp(min=horizon)
    fading = (1 - 1 / horizon) ** (beyond - beyond[:, None]).clamp(min=0)
    return (fading.triu() / counts.clamp(max=horizon)).to(dtype)
