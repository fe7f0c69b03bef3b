"""The running mean: a plain mean up to the horizon, its recursion ever after, in blocks of any length."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fsnp_onnx.network.past import Past
from tests.network.recursion import Mean


def noise(n_frames: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(n_frames)
    return torch.randn(2, 3, n_frames, generator=generator, dtype=dtype) + 5


def heard_at_random(n_frames: int) -> Tensor:
    """Each row begins with silence of its own length, and has more of it later."""
    generator = torch.Generator().manual_seed(n_frames)
    heard = torch.rand(2, n_frames, generator=generator) < 0.5
    heard[0, :3] = heard[1, :5] = False
    return heard


def running_mean(x: Tensor, horizon: int, heard: Tensor, *lengths: int) -> Tensor:
    """Take the mean in pieces of these lengths, then of the rest."""
    past = Past(horizon)
    pieces = [*lengths, x.shape[-1] - sum(lengths)]
    means = []
    for part, part_heard in zip(*(torch.split(y, pieces, -1) for y in (x, heard)), strict=True):
        past.listen(part_heard)
        means.append(past.running_mean("x", part))
    return torch.cat(means, -1)


def all_heard(x: Tensor) -> Tensor:
    return torch.ones(len(x), x.shape[-1], dtype=torch.bool)


@pytest.mark.parametrize("horizon", [40, 125])
def test_up_to_the_horizon_it_is_the_mean_of_all_frames_so_far(horizon: int) -> None:
    x = noise(40)
    for t, mean in enumerate(running_mean(x, horizon, all_heard(x)).unbind(-1)):
        torch.testing.assert_close(mean, x[..., : t + 1].mean(-1), rtol=1e-14, atol=0)


@pytest.mark.parametrize("horizon", [1, 2, 7, 125, 10_000])
@pytest.mark.parametrize("n_frames", [1, 300, 1500])
def test_it_is_its_recursion(horizon: int, n_frames: int) -> None:
    x, heard = noise(n_frames), heard_at_random(n_frames)
    means = running_mean(x, horizon, heard)
    for row in range(2):
        mean = Mean(horizon)
        wanted = [mean(x[row, :, t], bool(heard[row, t])) for t in range(n_frames)]
        torch.testing.assert_close(means[row], torch.stack(wanted, 1), rtol=1e-13, atol=0)


@given(n_before=st.integers(1, 299), horizon=st.integers(1, 400))
@settings(max_examples=30, deadline=None)
def test_it_goes_on_where_it_ended(n_before: int, horizon: int) -> None:
    x, heard = noise(300), heard_at_random(300)
    whole = running_mean(x, horizon, heard)
    split = running_mean(x, horizon, heard, n_before)
    torch.testing.assert_close(split, whole, rtol=1e-13, atol=0)


def test_silence_leaves_it_bit_by_bit_as_it_is() -> None:
    x = noise(30, torch.float32)
    heard = all_heard(x)
    heard[:, 20:] = False
    means = running_mean(x, 7, heard, *[1] * 29)
    assert (means[..., 20:] == means[..., 19:20]).all()


def test_behind_silence_it_is_what_it_would_be_without() -> None:
    x, heard = noise(300), heard_at_random(300)
    means = running_mean(x, 50, heard)
    for row in range(2):
        frames = x[row : row + 1, :, heard[row]]
        wanted = running_mean(frames, 50, all_heard(frames))[0]
        torch.testing.assert_close(means[row][:, heard[row]], wanted, rtol=1e-13, atol=0)


def test_before_anything_is_heard_it_is_the_frame_itself() -> None:
    x = noise(30)
    heard = torch.zeros(2, 30, dtype=torch.bool)
    torch.testing.assert_close(running_mean(x, 7, heard, 4), x, rtol=1e-14, atol=0)


def test_a_constant_stays_what_it_is_for_hours_in_float32() -> None:
    x = torch.full((1, 1, 225_000), 0.1)
    torch.testing.assert_close(running_mean(x, 125, all_heard(x)), x, rtol=2e-6, atol=0)
