"""The speech that exports are verified with, and the measure of a difference."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fsnp_onnx.export.speech import snr_db


def test_snr_is_the_ratio_of_energies_in_decibels() -> None:
    signal = np.full(100, 2.0)
    assert snr_db(signal, np.full(100, 0.2)) == pytest.approx(20)
    assert math.isfinite(snr_db(signal, np.zeros(100)))
