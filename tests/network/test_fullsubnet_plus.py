"""The torch network is FullSubNet+: the published code's numbers, and rows of a batch are utterances."""

from __future__ import annotations

import pytest
import torch

from fsnp_onnx.network.config import MulcaVariant, NetworkConfig
from fsnp_onnx.network.fullsubnet_plus import FullSubNetPlus, with_mulca
from tests.golden import NAMES, WITH_MULCA, golden_network, utterances


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_the_network_equals_the_published_code_in_float64(name: str) -> None:
    network = golden_network(name).double()
    for utterance in utterances(name):
        real, imag = (torch.from_numpy(a).double()[None] for a in (utterance.real, utterance.imag))
        (mask,) = network(real, imag).numpy()
        assert abs(mask - utterance.mask64).max() < 1e-11


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_a_batch_gives_row_by_row_what_single_utterances_give(name: str) -> None:
    network = golden_network(name).double()
    last = utterances(name)[-1]
    real, imag = (torch.from_numpy(a).double() for a in (last.real, last.imag))
    rows = [(real, imag), (0.1 * imag, real), (real.flip(-1), imag)]
    batch = network(*(torch.stack(parts) for parts in zip(*rows, strict=True)))
    for row, (row_real, row_imag) in zip(batch, rows, strict=True):
        torch.testing.assert_close(row, network(row_real[None], row_imag[None])[0])


@pytest.mark.parametrize("name", WITH_MULCA)
@torch.no_grad()
def test_the_equivalent_variant_is_the_same_network(name: str) -> None:
    network = golden_network(name).double()
    equivalent = with_mulca(network, "equivalent")
    for utterance in utterances(name):
        parts = [torch.from_numpy(a).double()[None] for a in (utterance.real, utterance.imag)]
        torch.testing.assert_close(equivalent(*parts), network(*parts), rtol=0, atol=1e-10)


def test_the_defaults_are_the_published_network() -> None:
    with torch.device("meta"):
        network = FullSubNetPlus(NetworkConfig())
    assert sum(p.numel() for p in network.parameters()) == 8_675_102


@pytest.mark.parametrize(
    ("variant", "look_ahead", "min_frames"),
    [("original", 2, 8), ("equivalent", 0, 10), ("original", 12, 1), ("simplified", 0, 1)],
)
@torch.no_grad()
def test_min_frames_is_the_fewest_frames_that_work(
    variant: MulcaVariant, look_ahead: int, min_frames: int
) -> None:
    config = NetworkConfig(
        n_freqs=9, sb_num_neighbors=2, tcn_hidden_size=4, sub_band_hidden_size=3, mulca=variant,
        look_ahead=look_ahead,
    )  # fmt: skip
    assert config.min_frames == min_frames
    spectrum = torch.ones(1, 9, min_frames)
    assert FullSubNetPlus(config)(spectrum, spectrum).shape == (1, 2, 9, min_frames)
