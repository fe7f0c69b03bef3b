"""The compressed mask expands as published, and the attenuation can be limited."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fsnp_onnx.runtime.mask import decompress, limit_attenuation
from fsnp_onnx.spec import MaskSpec


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


@pytest.mark.parametrize("limit_db", [0.0, 6.0, 20.0])
def test_the_limit_mixes_back_the_least_of_the_noisy_signal(limit_db: float) -> None:
    crm = random_crm()
    limited = limit_attenuation(crm, limit_db)
    floor = 10 ** (-limit_db / 20)
    low = np.abs(crm) < floor
    added = limited - crm
    assert np.all(limited[~low] == crm[~low])
    assert np.all(added.imag == 0)
    assert np.all(added.real[low] >= 0)
    np.testing.assert_allclose(np.abs(limited[low]), floor, rtol=1e-6)


def test_an_infinite_limit_changes_nothing() -> None:
    crm = random_crm()
    assert np.all(limit_attenuation(crm, np.inf) == crm)
