"""A file passes if its numbers are within the tolerance of the float64 network, and else not."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from fsnp_onnx.errors import VerificationError
from fsnp_onnx.export.graph.torch_export import EXAMPLE_FRAMES
from fsnp_onnx.export.verify import probe_sizes, probe_spectrum, verify
from fsnp_onnx.probes import Probe
from fsnp_onnx.spec import StftSpec
from tests.export.conftest import SmallExport
from tests.export.small import small_network

SIZES = ((8, 1), (21, 2))


def with_last_node(file: bytes, operator: str, values: np.ndarray) -> bytes:
    """Return a file whose mask goes through one more node, mask = operator(mask, values)."""
    model = onnx.load_from_string(file)
    for node in model.graph.node:
        for position, name in enumerate(node.output):
            node.output[position] = "first_mask" if name == "mask" else name
    model.graph.initializer.append(numpy_helper.from_array(values, "values"))
    model.graph.node.append(helper.make_node(operator, ["first_mask", "values"], ["mask"]))
    content: bytes = model.SerializeToString()
    return content


def with_offset(file: bytes, offset: float) -> bytes:
    return with_last_node(file, "Add", np.array(offset, np.float32))


@pytest.fixture(scope="module")
def file(small_export: SmallExport) -> bytes:
    return small_export.report.exported[0].path.read_bytes()


@pytest.fixture(scope="module")
def probes(file: bytes) -> tuple[Probe, ...]:
    return verify(file, small_network(), SIZES)


def test_a_right_file_gets_a_report_of_every_probe(probes: tuple[Probe, ...]) -> None:
    assert tuple((probe.n_frames, probe.batch) for probe in probes) == SIZES
    for probe in probes:
        assert 0 < probe.max_abs_error < probe.tolerance / 2
        assert probe.tolerance >= 2e-5
        assert probe.snr_db > 80


@pytest.mark.parametrize("sign", [-1, 1])
def test_an_error_just_inside_the_tolerance_passes_and_just_outside_fails(
    file: bytes, probes: tuple[Probe, ...], sign: int
) -> None:
    for size, probe in zip(SIZES, probes, strict=True):
        margin = probe.tolerance - probe.max_abs_error
        (found,) = verify(with_offset(file, sign * 0.95 * margin), small_network(), [size])
        assert found.max_abs_error > 0.9 * margin
        beyond = sign * (1.05 * probe.tolerance + probe.max_abs_error)
        with pytest.raises(VerificationError, match=rf"probe of {size[0]} frames.* tolerance"):
            verify(with_offset(file, beyond), small_network(), [size])


def test_an_error_in_one_bin_fails(file: bytes, probes: tuple[Probe, ...]) -> None:
    offsets = np.zeros((1, 2, 17, 1), np.float32)
    offsets[0, 1, 16] = 2 * probes[0].tolerance
    with pytest.raises(VerificationError, match="tolerance"):
        verify(with_last_node(file, "Add", offsets), small_network(), SIZES)


def test_nan_fails(file: bytes) -> None:
    with pytest.raises(VerificationError, match="is nan, tolerance"):
        verify(with_offset(file, math.nan), small_network(), SIZES)


def test_a_mask_of_the_wrong_shape_fails(file: bytes) -> None:
    one_more_frame = np.array([0, 0, 0, 0, 0, 0, 0, 1])
    with pytest.raises(VerificationError, match=r"returned \[1, 2, 17, 9\], expected"):
        verify(with_last_node(file, "Pad", one_more_frame), small_network(), SIZES)


def test_the_weights_of_another_network_fail(file: bytes) -> None:
    with pytest.raises(VerificationError, match="tolerance"):
        verify(file, small_network(seed=1), SIZES)


@pytest.mark.parametrize("block_frames", [1, 16, 25, 39, 64, 1000])
@pytest.mark.parametrize(("min_frames", "look_ahead"), [(8, 2), (8, 0), (1, 0), (1, 30)])
def test_probes_span_blocks_and_avoid_the_length_of_the_export(
    min_frames: int, look_ahead: int, block_frames: int
) -> None:
    sizes = probe_sizes(min_frames, look_ahead, block_frames)
    assert len({n_frames for n_frames, _ in sizes}) == 4
    assert EXAMPLE_FRAMES not in {n_frames for n_frames, _ in sizes}
    assert min(sizes)[0] == min_frames
    assert max(sizes)[0] + look_ahead > block_frames


def test_rows_of_a_probe_differ_in_level_and_content() -> None:
    real, imag = probe_spectrum(StftSpec(), 30, 2)
    assert real.shape == imag.shape == (2, 257, 30)
    first, second = np.hypot(real, imag)
    assert np.abs(first).mean() > 3 * np.abs(second).mean()
