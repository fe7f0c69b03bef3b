"""A causal network: what its definition says, whole or in steps, and nothing of the future."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fsnp_onnx.network.config import NetworkConfig
from fsnp_onnx.network.fullsubnet_plus import FullSubNetPlus
from tests.network.causal import CONFIGS, causal_network
from tests.network.recursion import recursive_mask

pytestmark = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
N_FRAMES = 60


def spectrum(config: NetworkConfig, batch: int, n_frames: int = N_FRAMES) -> list[Tensor]:
    generator = torch.Generator().manual_seed(n_frames)
    shape = (2, batch, config.n_freqs, n_frames)
    loudness = torch.rand(n_frames, generator=generator, dtype=torch.float64) ** 3
    return list(loudness * torch.randn(shape, generator=generator, dtype=torch.float64))


def muted(parts: list[Tensor]) -> list[Tensor]:
    """Mute the first frames and some in the middle, others in each row."""
    muted = [part.clone() for part in parts]
    for part in muted:
        for row, frames in enumerate(part):
            frames[:, : 4 - 3 * row] = frames[:, 20 + 5 * row : 32] = 0
    return muted


def in_steps(network: FullSubNetPlus, parts: list[Tensor], lengths: Iterator[int]) -> Tensor:
    """Return the masks of a recording that comes in pieces and then falls silent."""
    past, masks, look_ahead = network.start(), [], network.config.look_ahead
    padded = [torch.nn.functional.pad(part, (0, look_ahead)) for part in parts]
    while padded[0].shape[-1]:
        n = next(lengths)
        masks.append(network.step(padded[0][..., :n], padded[1][..., :n], past))
        padded = [part[..., n:] for part in padded]
    return torch.cat(masks, -1)[..., look_ahead:]


@torch.no_grad()
def test_a_network_is_its_definition(config: NetworkConfig) -> None:
    network = causal_network(config).double()
    parts = muted(spectrum(config, 2))
    masks = network(*parts)
    assert 0.5 < masks.abs().max() < 10
    for row in range(2):
        defined = recursive_mask(network, *(part[row] for part in parts))
        torch.testing.assert_close(masks[row], defined, rtol=0, atol=1e-12)


@given(lengths=st.lists(st.integers(1, 40), min_size=1))
@settings(max_examples=15, deadline=None)
@torch.no_grad()
def test_steps_of_any_length_give_the_masks_of_the_whole(
    config: NetworkConfig, lengths: list[int]
) -> None:
    network = causal_network(config).double()
    parts = muted(spectrum(config, 2))
    stepped = in_steps(network, parts, itertools.cycle(lengths))
    torch.testing.assert_close(stepped, network(*parts), rtol=0, atol=1e-12)


@torch.no_grad()
def test_a_frame_depends_on_no_frame_beyond_the_look_ahead(config: NetworkConfig) -> None:
    network = causal_network(config).double()
    parts = spectrum(config, 1)
    changed = [part.clone() for part in parts]
    for part in changed:
        part[..., 30:] *= -3
    before, after = network(*parts), network(*changed)
    same = (before == after).all(2).all(1)[0]
    assert same[: 30 - config.look_ahead].all()
    assert not same[30 - config.look_ahead :].any()


@torch.no_grad()
def test_the_level_does_not_matter(config: NetworkConfig) -> None:
    network = causal_network(config).double()
    parts = [1e3 * part for part in spectrum(config, 1)]
    louder = network(*(8 * part for part in parts))
    torch.testing.assert_close(louder, network(*parts), rtol=0, atol=1e-4)


@pytest.mark.parametrize("start", [0, 100])
@torch.no_grad()
def test_behind_digital_silence_the_masks_return_to_what_they_were(
    config: NetworkConfig, start: int
) -> None:
    """The means have missed nothing; recurrent layers and convolutions have, for a while."""
    network, silence = causal_network(config).double(), torch.zeros(2, config.n_freqs, 200)
    parts = spectrum(config, 2, 200)
    paused = [torch.cat([part[..., :start], silence, part[..., start:]], -1) for part in parts]
    unheard = (network(*paused)[..., 200 + start :] - network(*parts)[..., start:]).abs()
    assert unheard[..., :10].max() > 0.1
    assert unheard[..., 60:].max() < 0.08


@torch.no_grad()
def test_silence_and_single_frames_give_finite_masks(config: NetworkConfig) -> None:
    network = causal_network(config)
    silence = torch.zeros(1, config.n_freqs, 50)
    assert network(silence, silence).isfinite().all()
    assert network(silence[..., :1], silence[..., :1]).shape == (1, 2, config.n_freqs, 1)
    assert config.min_frames == 1


@torch.no_grad()
def test_chosen_bins_are_those_of_all(config: NetworkConfig) -> None:
    network = causal_network(config).double()
    parts = spectrum(config, 2)
    past, bins = network.start(), [0, 7, 30]
    torch.testing.assert_close(network(*parts, bins), network(*parts)[:, :, bins])
    real, imag = parts
    network.step(real[..., :9], imag[..., :9], past, bins)
    later = network.step(real[..., 9:], imag[..., 9:], past, bins)
    shown = network(*parts)[:, :, bins, 9:]
    aligned = later[..., config.look_ahead :]
    torch.testing.assert_close(aligned, shown[..., : aligned.shape[-1]])


def test_every_weight_is_trained_from_a_whole_utterance(config: NetworkConfig) -> None:
    network = causal_network(config)
    network(*(part.float() for part in spectrum(config, 2))).square().sum().backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
        assert weight.grad.abs().max() > 0, name
