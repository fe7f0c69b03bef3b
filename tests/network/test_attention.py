"""MulCA's three variants: where they give the same number and where they differ."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fsnp_onnx.network.attention import EquivalentMulCA, MulCA, SimplifiedMulCA


def mulca_pair(seed: int, kernel_sizes: tuple[int, int, int]) -> tuple[MulCA, EquivalentMulCA]:
    torch.manual_seed(seed)
    original = MulCA(4, 2, kernel_sizes).double()
    equivalent = EquivalentMulCA(4, 2, kernel_sizes).double()
    equivalent.load_state_dict(original.state_dict())
    return original, equivalent


kernels = st.tuples(*[st.integers(1, 12)] * 3)


@given(seed=st.integers(0, 99), kernel_sizes=kernels, extra=st.integers(0, 40))
@settings(max_examples=60, deadline=None)
@torch.no_grad()
def test_equivalent_is_original_for_any_kernels_and_length(
    seed: int, kernel_sizes: tuple[int, int, int], extra: int
) -> None:
    original, equivalent = mulca_pair(seed, kernel_sizes)
    x = torch.randn(2, 4, max(kernel_sizes) + extra).double()
    torch.testing.assert_close(equivalent(x), original(x), rtol=0, atol=1e-12)


@torch.no_grad()
def test_simplified_is_original_where_nothing_changes_over_time() -> None:
    original, _ = mulca_pair(0, (3, 5, 10))
    x = torch.randn(2, 4, 1).double().expand(-1, -1, 30)
    simplified = SimplifiedMulCA.from_original(original).double()
    torch.testing.assert_close(simplified(x), original(x))


@torch.no_grad()
def test_simplified_differs_from_original_by_the_edges_alone() -> None:
    original, _ = mulca_pair(0, (3, 5, 10))
    simplified = SimplifiedMulCA.from_original(original).double()
    x = torch.zeros(1, 4, 400).double()
    x[..., 100:300] = torch.randn(4, 200)
    quiet_edges = (simplified(x) - original(x)).abs().max()
    x[..., 0] = 300
    loud_edges = (simplified(x) - original(x)).abs().max()
    assert quiet_edges < 0.05 * loud_edges
