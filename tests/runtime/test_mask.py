"""The compressed mask expands as published; strength and limit mix the noisy signal in."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fsnp_onnx.runtime.mask import Mix, decompress
from fsnp_onnx.spec import MaskSpec


def limit_attenuation(crm: NDArray[np.complex64], limit_db: float) -> NDArray[np.complex64]:
    return Mix(attenuation_limit_db=limit_db).of(crm)


def published_decompress(mask: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Evaluate the formula of the published code in float64."""
    limit, k = 9.9, 10.0
    inside = np.abs(mask) < limit
    clamped = limit * (mask >= limit) - limit * (mask <= -limit) + mask * inside
    real, imag = -10 * np.log((k - clamped) / (k + clamped))
    return np.asarray(real + 1j * imag)


def random_crm() -> NDArray[np.complex64]:
    real, imag = np.random.default_rng(0).uniform(-1.5, 1.5, (2, 257, 40)).astype(np.float32)
    return np.asarray(real + 1j * imag, np.complex64)


def test_decompressed_mask_equals_the_published_formula() -> None:
    mask = np.random.default_rng(0).uniform(-12, 12, (2, 257, 30)).astype(np.float32)
    crm = decompress(mask, MaskSpec())
    assert crm.dtype == np.complex64
    np.testing.assert_allclose(crm, published_decompress(mask.astype(np.float64)), rtol=2e-5)


def test_decompression_undoes_compression_for_other_constants() -> None:
    spec = MaskSpec(k=5.0, c=0.3, limit=4.99)
    ratio = np.linspace(-4, 4, 101, dtype=np.float32)
    fraction = np.exp(-spec.c * ratio)
    compressed = spec.k * (1 - fraction) / (1 + fraction)
    crm = decompress(np.stack([compressed, -compressed])[:, None], spec)[0]
    np.testing.assert_allclose(crm, ratio - 1j * ratio, atol=1e-4)


def test_decompression_leaves_its_input_alone() -> None:
    mask = np.full((2, 3, 4), 9.95, np.float32)
    decompress(mask, MaskSpec())
    assert np.all(mask == np.float32(9.95))


@pytest.mark.parametrize("limit_db", [0.0, 6.0, 20.0, 60.0])
def test_no_bin_is_attenuated_by_more_than_the_limit(limit_db: float) -> None:
    crm = random_crm()
    limited = limit_attenuation(crm, limit_db)
    floor = 10 ** (-limit_db / 20)
    assert np.abs(limited).min() >= floor * (1 - 1e-6)


@pytest.mark.parametrize("limit_db", [6.0, 20.0])
def test_the_limit_mixes_linearly_and_raises_what_is_still_too_low(limit_db: float) -> None:
    crm = random_crm()
    limited = limit_attenuation(crm, limit_db)
    floor = 10 ** (-limit_db / 20)
    mixed = floor + (1 - floor) * crm
    low = np.abs(mixed) < floor
    assert 0 < np.count_nonzero(low) < low.size
    np.testing.assert_allclose(limited[~low], mixed[~low], rtol=1e-6)
    np.testing.assert_allclose(limited[low], floor * mixed[low] / np.abs(mixed[low]), rtol=1e-5)


@pytest.mark.parametrize("limit_db", [0.0, 12.0, 60.0])
def test_what_passes_unchanged_still_does_and_zero_becomes_the_limit(limit_db: float) -> None:
    limited = limit_attenuation(np.array([[1, 0]], np.complex64), limit_db)
    np.testing.assert_allclose(limited, [[1, 10 ** (-limit_db / 20)]], rtol=1e-6)


def test_a_limit_of_0_db_returns_the_noisy_signal() -> None:
    assert np.all(limit_attenuation(random_crm(), 0.0) == 1)


def test_the_limit_does_not_jump_where_the_gain_reaches_it() -> None:
    g = 10 ** (-12 / 20)
    turns = np.exp(1j * np.linspace(-np.pi, np.pi, 73))[:, None]
    steps = np.array([1 - 1e-4, 1, 1 + 1e-4])
    across = np.asarray(g * turns * steps, np.complex64)  # -g on the negative real axis included
    assert np.abs(np.diff(limit_attenuation(across, 12.0), axis=1)).max() < 1e-4
    beside = np.array([[-g + 1e-4j, -g - 1e-4j]], np.complex64)
    assert np.abs(np.diff(limit_attenuation(beside, 12.0))).max() < 2e-3


def test_an_infinite_limit_changes_nothing() -> None:
    crm = random_crm()
    assert np.all(limit_attenuation(crm, np.inf) == crm)


@pytest.mark.parametrize("strength", [0.0, 0.25, 0.9, 1.0])
def test_strength_mixes_linearly(strength: float) -> None:
    crm = random_crm()
    np.testing.assert_allclose(Mix(strength).of(crm), 1 - strength + strength * crm, atol=5e-7)


def test_full_strength_changes_nothing() -> None:
    crm = random_crm()
    assert Mix().of(crm).tobytes() == crm.tobytes()


@pytest.mark.parametrize("strength", [0.0, 0.25, 0.9, 1.0])
@pytest.mark.parametrize("limit_db", [0.0, 6.0, 20.0, 60.0])
def test_the_limit_holds_at_any_strength(strength: float, limit_db: float) -> None:
    mixed = Mix(strength, limit_db).of(random_crm())
    assert np.abs(mixed).min() >= 10 ** (-limit_db / 20) * (1 - 1e-6)


@pytest.mark.parametrize("strength", [0.0, 0.25, 0.9, 1.0])
@pytest.mark.parametrize("limit_db", [None, 0.0, 20.0, np.inf])
def test_the_noisy_share_is_what_a_mask_of_zero_becomes(
    strength: float, limit_db: float | None
) -> None:
    mix = Mix(strength, limit_db)
    zero = np.zeros((1, 1), np.complex64)
    np.testing.assert_allclose(mix.of(zero), mix.noisy_share, rtol=1e-6)
