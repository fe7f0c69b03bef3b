"""Statistics from sums are those of the entries, also where nothing varies."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fsnp_onnx.network import norms
from fsnp_onnx.network.config import Norm


@pytest.mark.parametrize("norm", ["offline_laplace_norm", "offline_gaussian_norm"])
@pytest.mark.parametrize(("n_frames", "shift"), [(1, 0.0), (1, 3.0), (700, 0.1)])
def test_offline_statistics_from_sums_are_those_of_the_entries(
    norm: Norm, n_frames: int, shift: float
) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 9, n_frames, generator=generator, dtype=torch.float64) + shift
    centre, spread = from_sums(x, norm)
    wanted_centre, wanted_spread = norms.statistics(x, norm)
    torch.testing.assert_close(spread, wanted_spread, rtol=1e-12, atol=0)
    if centre is not None:
        torch.testing.assert_close(centre, wanted_centre, rtol=1e-12, atol=1e-15)


def test_the_spread_of_a_constant_is_not_the_root_of_a_rounding_below_zero() -> None:
    n_entries = 700
    total = torch.tensor(3.3 * n_entries, dtype=torch.float64)
    below = torch.nextafter(total * total / n_entries, torch.tensor(0.0).double())
    centre, spread = norms.offline_statistics([total, below], n_entries)
    assert centre == pytest.approx(3.3)
    assert spread == norms.OFFLINE_EPSILON


def from_sums(x: Tensor, norm: Norm) -> norms.Statistics:
    powers = range(1, 1 + len(norms.sums_over_time(norm)))
    totals = [(x**power).sum((1, 2), keepdim=True) for power in powers]
    return norms.offline_statistics(totals, x[0].numel())
