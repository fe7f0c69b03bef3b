"""Files are compared on speech; an int8 file that is too far from float32 does not pass."""

from __future__ import annotations

import numpy as np
import pytest

from fsnp_onnx.errors import VerificationError
from fsnp_onnx.export.fidelity import compare_variants, verify_quantization
from tests.export.conftest import SmallExport
from tests.export.test_verify import with_last_node, with_offset


@pytest.fixture(scope="module")
def float32(small_export: SmallExport) -> bytes:
    return small_export.report.exported[0].path.read_bytes()


@pytest.fixture(scope="module")
def rough(float32: bytes) -> bytes:
    """A file whose mask is five per cent too large, as a coarse quantisation may make it."""
    return with_last_node(float32, "Mul", np.array(1.05, np.float32))


def test_the_gate_opens_at_the_worst_recording_and_names_it(float32: bytes, rough: bytes) -> None:
    probes = verify_quantization(float32, rough, 0.0)
    worst, second = sorted(probes, key=lambda probe: probe.snr_db)[:2]
    assert 10 < worst.snr_db < second.snr_db < 60
    assert verify_quantization(float32, rough, worst.snr_db)
    with pytest.raises(VerificationError) as caught:
        verify_quantization(float32, rough, (worst.snr_db + second.snr_db) / 2)
    assert f"{worst.snr_db:.1f} dB SNR from float32 on {worst.recording}" in str(caught.value)


def test_the_difference_of_variants_is_measured(float32: bytes) -> None:
    same = compare_variants(float32, float32)
    assert same.max_mask_error == 0
    near, far = (compare_variants(float32, with_offset(float32, size)) for size in (0.01, 0.1))
    assert near.max_mask_error == pytest.approx(0.01, rel=1e-3)
    assert far.max_mask_error == pytest.approx(0.1, rel=1e-3)
    assert near.snr_db == pytest.approx(far.snr_db + 20, abs=1)
    assert same.snr_db > near.snr_db
