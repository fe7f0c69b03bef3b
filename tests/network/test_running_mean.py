"""The running mean: a plain mean up to the horizon, its recursion ever after, in blocks of any length."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fsnp_onnx.network.norms import running_mean
from tests.network.recursion import Mean


def noise(n_frames: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(n_frames)
    return torch.randn(3, n_frames, generator=generator, dtype=torch.float64) + 5


@pytest.mark.parametrize("horizon", [40, 125])
def test_up_to_the_horizon_it_is_the_mean_of_all_frames_so_far(horizon: int) -> None:
    x = noise(40)
    for t, mean in enumerate(running_mean(x, horizon).T):
        torch.testing.assert_close(mean, x[:, : t + 1].mean(1), rtol=1e-14, atol=0)


@pytest.mark.parametrize("horizon", [1, 2, 7, 125, 10_000])
@pytest.mark.parametrize("n_frames", [1, 300, 1500])
def test_it_is_its_recursion(horizon: int, n_frames: int) -> None:
    x, mean = noise(n_frames), Mean(horizon)
    wanted = torch.stack([mean(frame) for frame in x.T], dim=1)
    torch.testing.assert_close(running_mean(x, horizon), wanted, rtol=1e-13, atol=0)


@given(n_before=st.integers(1, 299), horizon=st.integers(1, 400))
@settings(max_examples=30, deadline=None)
def test_it_goes_on_where_it_ended(n_before: int, horizon: int) -> None:
    x = noise(300)
    whole = running_mean(x, horizon)
    rest = running_mean(x[:, n_before:], horizon, whole[:, n_before - 1 : n_before], n_before)
    torch.testing.assert_close(rest, whole[:, n_before:], rtol=1e-13, atol=0)


def test_a_constant_stays_what_it_is_for_hours_in_float32() -> None:
    x = torch.full((1, 225_000), 0.1)
    torch.testing.assert_close(running_mean(x, 125), x, rtol=2e-6, atol=0)
