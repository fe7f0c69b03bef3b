"""Both stages are joined to one graph that is their network, at any batch and length."""

from __future__ import annotations

import copy

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from fsnp_onnx.export.graph.mask import mask_model
from fsnp_onnx.export.graph.sub_band import sub_band_block
from fsnp_onnx.export.graph.sub_band_scan import sub_band_stage
from fsnp_onnx.network.fullsubnet_plus import FullSubNetPlus
from tests.export.conftest import OPSET, SmallExport, open_session, run
from tests.export.small import CONFIG, small_network
from tests.golden import Array


def noise(batch: int, n_frames: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(n_frames)
    real, imag = rng.standard_normal((2, batch, CONFIG.n_freqs, n_frames)).astype(np.float32) + 0.2
    return real, imag


@torch.no_grad()
def exact(network: FullSubNetPlus, real: Array, imag: Array) -> np.ndarray:
    parts = (torch.from_numpy(part).double() for part in (real, imag))
    mask: np.ndarray = copy.deepcopy(network).double()(*parts).numpy()
    return mask


def joined(full_band: onnx.ModelProto, block: onnx.ModelProto) -> onnxruntime.InferenceSession:
    return open_session(mask_model(full_band, sub_band_stage(block, CONFIG), CONFIG))


@pytest.fixture(scope="module")
def session(small_export: SmallExport) -> onnxruntime.InferenceSession:
    return joined(small_export.full_band[0], small_export.block[0])


@pytest.mark.parametrize("batch", [1, 2, 5])
@pytest.mark.parametrize("n_padded", [10, 15, 16, 17, 300])
def test_a_joined_graph_is_its_network_at_any_batch_and_length(
    session: onnxruntime.InferenceSession, batch: int, n_padded: int
) -> None:
    parts = noise(batch, n_padded - CONFIG.look_ahead)
    np.testing.assert_allclose(run(session, *parts), exact(small_network(), *parts), atol=2e-5)


def test_another_second_stage_gives_the_network_that_has_both(
    session: onnxruntime.InferenceSession, small_export: SmallExport
) -> None:
    other = small_network(seed=1)
    hybrid = small_network()
    hybrid.sb_model = other.sb_model
    mixed = joined(small_export.full_band[0], sub_band_block(other, OPSET))
    parts = noise(2, 30)
    np.testing.assert_allclose(run(mixed, *parts), exact(hybrid, *parts), atol=2e-5)
    assert np.abs(run(mixed, *parts) - run(session, *parts)).max() > 1e-2


def test_a_recurrent_scan_gives_the_same_numbers_in_another_opset(
    session: onnxruntime.InferenceSession, small_export: SmallExport
) -> None:
    block = sub_band_block(small_network(), 21)
    assert [entry.version for entry in block.opset_import] == [21]
    parts = noise(2, 90)
    newer = joined(small_export.full_band[0], block)
    np.testing.assert_allclose(run(newer, *parts), run(session, *parts), rtol=0, atol=2e-5)


def test_joining_leaves_the_stages_as_they_were(small_export: SmallExport) -> None:
    full_band, block = small_export.full_band[0], small_export.block[0]
    before = full_band.SerializeToString(), block.SerializeToString()
    first, second = (mask_model(full_band, sub_band_stage(block, CONFIG), CONFIG) for _ in range(2))
    assert first == second
    assert before == (full_band.SerializeToString(), block.SerializeToString())
