"""Statistics from sums are those of the entries, also where nothing varies."""

from __future__ import annotations

import pytest
import torch

from fsnp_onnx.export import norms


@pytest.mark.parametrize("norm", ["offline_laplace_norm", "offline_gaussian_norm"])
@pytest.mark.parametrize("shift", [0.0, 0.1, 1e6])
@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_offline_statistics_from_sums_are_those_of_the_entries(
    norm: norms.Norm, shift: float, scale: float
) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 9, 700, generator=generator, dtype=torch.float64) * scale + shift
    powers = range(1, 1 + len(norms.sums_over_time(norm)))
    totals = [(x**power).sum((1, 2), keepdim=True) for power in powers]
    centre, spread = norms.offline_statistics(totals, x[0].numel())
    wanted_centre, wanted_spread = norms.statistics(x, norm)
    torch.testing.assert_close(spread, wanted_spread, rtol=1e-4, atol=max(1e-7, 1e-7 * shift))
    if centre is not None:
        torch.testing.assert_close(centre, wanted_centre)
