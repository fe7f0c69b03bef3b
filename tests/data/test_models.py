"""The committed ONNX files are what their scripts make, byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsnp_onnx.runtime.ort import INT8_PROBE
from tests.data import make_overflow_probe
from tests.data.make_models import MODELS, ONE
from tests.runtime import models


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.name)
def test_a_model_is_what_its_script_makes(path: Path) -> None:
    assert path.read_bytes() == MODELS[path]().SerializeToString(deterministic=True)
    assert path.stat().st_size < 2048


def test_the_overflow_probe_is_what_its_script_makes() -> None:
    built = make_overflow_probe.build().SerializeToString(deterministic=True)
    assert built == INT8_PROBE.read_bytes()


def test_the_mask_of_unity_decompresses_to_one() -> None:
    assert pytest.approx(ONE, rel=1e-15) == models.ONE
