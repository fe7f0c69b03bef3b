"""The four normalisations a FullSubNet+ configuration may name.

Each subtracts a centre (some do) and divides by a spread. "offline" takes them over the whole
utterance, "cumulative" over the frames so far, which keeps the network causal up to its look-ahead.
A causal network divides by a running mean instead.
"""

from __future__ import annotations

from collections.abc import Sequence
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


def running_mean(x: Tensor, weights: Sequence[Tensor], before: Tensor | None = None) -> Tensor:
    """Running mean of x [B, ..., T] over its last axis, same shape.

    It is the mean of all frames heard so far up to the horizon, then an exponential one:
    ``r_t = a_t r_(t-1) + (1 - a_t) x_t`` with ``a_t = min(k / (k + 1), 1 - 1 / horizon)`` after k heard
    frames. In silence it holds; before any frame is heard it is the frame's own value. To go on with a
    recording, give the mean at the last frame before, ``before`` [B, ..., 1].

    Example:
        >>> x, heard = torch.tensor([[[2.0, 4.0, 0.0, 6.0, 8.0]]]), torch.tensor([[1, 1, 0, 1, 1]])
        >>> running_mean(x, running_weights(heard, heard.cumsum(-1), horizon=2))
        tensor([[[2.0000, 3.0000, 3.0000, 4.5000, 6.2500]]])
    """
    before = torch.zeros_like(x[..., :1]) if before is None else before
    means = []
    for block, shares in zip(torch.split(x, _RUNNING_BLOCK, dim=-1), weights, strict=True):
        means.append(before + (block - before) @ shares.to(x))
        before = means[-1][..., -1:]
    return torch.cat(means, dim=-1)


def running_weights(heard: Tensor, n_heard: Tensor, horizon: int) -> list[Tensor]:
    """Return what `running_mean` needs, for the frames of a recording or of a piece of it.

    Args:
        heard: Which frames count, [B, T]: those that are not digital silence.
        n_heard: How many were heard up to each of them since the recording began, [B, T].
        horizon: Number of frames after which frames fade.
    """
    blocks, counts = (
        torch.split(part.double(), _RUNNING_BLOCK, dim=-1) for part in (heard, n_heard)
    )
    return [_block_weights(*pair, horizon) for pair in zip(blocks, counts, strict=True)]


def _block_weights(heard: Tensor, counts: Tensor, horizon: int) -> Tensor:
    """Return how much of frame s the running mean holds at frame t, float64 [B, s, t].

    With k heard frames so far that is ``q^(max(k_t, H) - max(k_s, H)) / min(k_t, H)``, q = 1 - 1 / H, if s
    is heard: up to the horizon H all frames count alike, then frames fade. The rest is the mean before.
    """
    beyond = counts.clamp(min=horizon)
    fading = (1 - 1 / horizon) ** (beyond[:, None] - beyond[..., None]).clamp(min=0)
    shares = fading.triu() * heard[..., None] / counts.clamp(1, horizon)[:, None]
    alone = torch.eye(counts.shape[-1], dtype=counts.dtype, device=counts.device)
    return torch.where(counts[:, None] == 0, alone, shares)
