"""A file passes if its numbers are within the tolerance of the float64 network, and else not."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from fsnp_onnx.errors import VerificationError
from fsnp_onnx.export.graph.torch_export import EXAMPLE_FRAMES
from fsnp_onnx.export.pipeline import ExportReport
from fsnp_onnx.export.verify import probe_sizes, probe_spectrum, verify, verify_waveform
from fsnp_onnx.probes import Probe
from fsnp_onnx.spec import StftSpec
from tests.export.conftest import SmallExport
from tests.export.small import small_network

SIZES = ((8, 1), (21, 2))


def with_last_node(file: bytes, operator: str, values: np.ndarray) -> bytes:
    """Return a file whose output goes through one more node, operator(output, values)."""
    model = onnx.load_from_string(file)
    (output,) = (port.name for port in model.graph.output)
    for node in model.graph.node:
        for position, name in enumerate(node.output):
            node.output[position] = "first_output" if name == output else name
    model.graph.initializer.append(numpy_helper.from_array(values, "values"))
    model.graph.node.append(helper.make_node(operator, ["first_output", "values"], [output]))
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


SAMPLE_SIZES = ((1, 1), (1000, 3))


@pytest.fixture(scope="module")
def samples_file(waveform_export: ExportReport) -> bytes:
    return waveform_export.exported[0].path.read_bytes()


@pytest.fixture(scope="module")
def sample_probes(samples_file: bytes) -> tuple[Probe, ...]:
    return verify_waveform(samples_file, small_network(), SAMPLE_SIZES)


def test_samples_that_are_off_by_more_than_the_tolerance_fail(
    samples_file: bytes, sample_probes: tuple[Probe, ...]
) -> None:
    for size, probe in zip(SAMPLE_SIZES, sample_probes, strict=True):
        margin = probe.tolerance - probe.max_abs_error
        assert margin > 0.5 * probe.tolerance >= 0.5e-5
        inside = with_last_node(samples_file, "Add", np.array(0.95 * margin, np.float32))
        (found,) = verify_waveform(inside, small_network(), [size])
        assert found.max_abs_error > 0.9 * margin
        outside = np.array(1.05 * probe.tolerance + probe.max_abs_error, np.float32)
        with pytest.raises(VerificationError, match=rf"probe of {size[0]} samples.* tolerance"):
            verify_waveform(with_last_node(samples_file, "Add", outside), small_network(), [size])


def test_nan_and_a_wrong_length_fail(samples_file: bytes) -> None:
    with pytest.raises(VerificationError, match="is nan, tolerance"):
        verify_waveform(
            with_last_node(samples_file, "Add", np.array(np.nan, np.float32)),
            small_network(),
            SAMPLE_SIZES,
        )
    longer = with_last_node(samples_file, "Pad", np.array([0, 0, 0, 1]))
    with pytest.raises(VerificationError, match=r"returned \[1, 2\], expected \[1, 1\]"):
        verify_waveform(longer, small_network(), SAMPLE_SIZES)


def test_samples_of_another_network_fail(samples_file: bytes) -> None:
    with pytest.raises(VerificationError, match=r"samples.* tolerance"):
        verify_waveform(samples_file, small_network(seed=1), SAMPLE_SIZES)
