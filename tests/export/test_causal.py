"""Files of causal networks, run by plain ONNX Runtime, are their network, whatever the length and the split."""

from __future__ import annotations

import copy
from functools import cache
from itertools import cycle
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from fsnp_onnx.errors import ArgumentError, VerificationError
from fsnp_onnx.export.build import stamp
from fsnp_onnx.export.graph import causal_block as blocks
from fsnp_onnx.export.graph.causal_mask import causal_mask_block, causal_mask_model
from fsnp_onnx.export.graph.quantize import quantize
from fsnp_onnx.export.graph.stream import (
    as_stream,
    require_streamable,
    stream_block,
    stream_latency,
    stream_model,
    stream_state_size,
)
from fsnp_onnx.export.reference import enhance_exactly
from fsnp_onnx.export.verify import WAVEFORM_TOLERANCE as TOLERANCE
from fsnp_onnx.export.verify_stream import stream, verify_stream
from fsnp_onnx.network.config import NetworkConfig
from fsnp_onnx.network.fullsubnet_plus import FullSubNetPlus
from fsnp_onnx.runtime.session import Session
from fsnp_onnx.runtime.stream_model import StreamModel
from fsnp_onnx.spec import MaskSpec, ModelSpec, StftSpec
from tests.export.conftest import OPSET, open_session, run
from tests.export.test_graph import _operators, _shadowed, on_cpu_and_cuda
from tests.golden import Array
from tests.network.causal import CONFIGS, GRU, LSTM, causal_network

MASK = MaskSpec()

every_network = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())


def transform(config: NetworkConfig) -> StftSpec:
    """A short window, or one that does not fill the transform."""
    n_fft = 2 * (config.n_freqs - 1)
    return StftSpec(16000, n_fft, n_fft if config == LSTM else n_fft - 6, n_fft // 2)


@cache
def mask_file(config: NetworkConfig) -> onnx.ModelProto:
    return causal_mask_model(causal_mask_block(causal_network(config), OPSET), config)


@cache
def stream_file(config: NetworkConfig) -> onnx.ModelProto:
    stft = transform(config)
    block = stream_block(causal_network(config), stft, MASK, OPSET)
    return stream_model(block, config, stft)


def spec_of(config: NetworkConfig) -> ModelSpec:
    masks = ModelSpec(
        transform(config),
        causal=True,
        horizon_frames=config.horizon_frames,
        look_ahead=config.look_ahead,
    )
    return as_stream(masks, config)


@cache
def session(config: NetworkConfig) -> onnxruntime.InferenceSession:
    return open_session(stream_file(config))


@cache
def opened(config: NetworkConfig) -> StreamModel:
    return open_stream(stream_file(config), config)


def open_stream(model: onnx.ModelProto, config: NetworkConfig) -> StreamModel:
    return StreamModel(Session(stamp(model, spec_of(config)), "cpu", threads=1))


@torch.no_grad()
def pipeline(network: FullSubNetPlus, noisy: Array, stft: StftSpec) -> Array:
    """Enhance recordings [B, N] between torch's own transforms; after its end a recording is silent."""
    look_ahead, n_samples = network.config.look_ahead, noisy.shape[1]
    padded = torch.from_numpy(np.pad(noisy, ((0, 0), (0, (look_ahead + 2) * stft.hop_length))))
    window = torch.from_numpy(stft.window())
    sizes: dict[str, Any] = {"n_fft": stft.n_fft, "hop_length": stft.hop_length, "window": window}
    spectrum = torch.stft(padded.double(), **sizes, return_complex=True)
    past = network.start()
    pieces = torch.split(spectrum, 64, -1)
    late = torch.cat([network.step(piece.real, piece.imag, past) for piece in pieces], -1)
    masks = late[..., look_ahead:].clamp(-MASK.limit, MASK.limit)
    crm = 2 / MASK.c * torch.atanh(masks / MASK.k)
    masked = spectrum[..., : crm.shape[-1]] * torch.complex(crm[:, 0], crm[:, 1])
    enhanced: Array = torch.istft(masked, **sizes).numpy()
    return enhanced[:, :n_samples]


def noise(shape: tuple[int, ...], seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    loudness = 0.3 * rng.random(shape[-1]) ** 3
    samples: Array = (rng.standard_normal(shape) * loudness).astype(np.float32)
    return samples


@every_network
@pytest.mark.parametrize(
    ("batch", "n_frames"), [(1, 1), (3, 2), (2, 30), (1, 31), (2, 33), (1, 200)]
)
@torch.no_grad()
def test_a_mask_file_is_its_network(config: NetworkConfig, batch: int, n_frames: int) -> None:
    real, imag = noise((2, batch, config.n_freqs, n_frames), seed=n_frames)
    exact = causal_network(config).double()(*(torch.from_numpy(x).double() for x in (real, imag)))
    mask = run(open_session(mask_file(config)), real, imag)
    np.testing.assert_allclose(mask, exact, rtol=0, atol=2e-5)


@every_network
@pytest.mark.parametrize("pieces", [(1,), (10**6,), (3, 1, 40, 32, 7), (33, 64)], ids=str)
def test_a_stream_is_the_float64_pipeline_in_any_pieces(
    config: NetworkConfig, pieces: tuple[int, ...]
) -> None:
    stft = transform(config)
    noisy = noise((2, 150 * stft.hop_length + 5))
    exact = pipeline(causal_network(config).double(), noisy, stft)
    enhanced = stream(opened(config), noisy, cycle(pieces))
    assert np.abs(exact).max() > 0.05
    np.testing.assert_allclose(enhanced, exact, rtol=0, atol=TOLERANCE)


@every_network
@pytest.mark.parametrize("n_samples", [1, 33, 4800])
def test_the_reference_is_torchs_own_pipeline(config: NetworkConfig, n_samples: int) -> None:
    network, noisy = causal_network(config).double(), noise((2, n_samples))
    reference = enhance_exactly(network, noisy, spec_of(config))
    expected = pipeline(network, noisy, transform(config))
    np.testing.assert_allclose(reference, expected, rtol=0, atol=1e-12)


@every_network
@pytest.mark.parametrize("n_samples", [1, 2, 31, 32, 33, 65, 200])
def test_a_short_recording_comes_out_whole(config: NetworkConfig, n_samples: int) -> None:
    stft = transform(config)
    noisy = noise((1, n_samples), seed=n_samples)
    exact = pipeline(causal_network(config).double(), noisy, stft)
    enhanced = stream(opened(config), noisy, cycle([1]))
    np.testing.assert_allclose(enhanced, exact, rtol=0, atol=TOLERANCE)


@every_network
def test_before_its_latency_a_stream_is_silent(config: NetworkConfig) -> None:
    stft = transform(config)
    n_late = stream_latency(config, stft)
    assert n_late == (config.look_ahead + 1) * stft.hop_length
    noisy = noise((1, 6 * stft.hop_length)) + np.float32(0.1)
    state = np.zeros((1, stream_state_size(config, stft)), np.float32)
    enhanced, _ = session(config).run(None, {"noisy": noisy, "state": state})
    assert not enhanced[:, :n_late].any()
    assert enhanced[:, n_late:].all()


def test_rows_of_a_batch_may_be_at_different_places_of_their_recordings() -> None:
    stft = transform(LSTM)
    first, second = noise((2, 1, 64 * stft.hop_length))
    zeros = np.zeros((1, stream_state_size(LSTM, stft)), np.float32)
    run_once = session(LSTM).run
    whole, _ = run_once(None, {"noisy": first, "state": zeros})
    half = first.shape[1] // 2
    _, state = run_once(None, {"noisy": first[:, :half], "state": zeros})
    both, _ = run_once(
        None,
        {
            "noisy": np.concatenate([first[:, half:], second[:, :half]]),
            "state": np.concatenate([state, zeros]),
        },
    )
    begun, _ = run_once(None, {"noisy": second[:, :half], "state": zeros})
    np.testing.assert_allclose(both[:1], whole[:, half:], rtol=0, atol=1e-6)
    np.testing.assert_allclose(both[1:], begun, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_an_hour_of_frames_ends_as_the_float64_network_does() -> None:
    stft = transform(LSTM)
    n_late = stream_latency(LSTM, stft)
    noisy = np.resize(noise((1, 3001 * stft.hop_length)), (1, 225_000 * stft.hop_length))
    zeros = np.zeros((1, stream_state_size(LSTM, stft)), np.float32)
    enhanced, _ = session(LSTM).run(None, {"noisy": noisy, "state": zeros})
    exact = pipeline(causal_network(LSTM).double(), noisy, stft)[:, :-n_late]
    last = slice(-3000 * stft.hop_length, None)
    np.testing.assert_allclose(
        enhanced[:, n_late:][:, last], exact[:, last], rtol=0, atol=TOLERANCE
    )


@pytest.mark.slow
def test_the_past_fades_with_the_horizon() -> None:
    """What is left of a difference after k horizons is e^-k of it."""
    stft = transform(LSTM)
    hop, horizon = stft.hop_length, LSTM.horizon_frames
    zeros = np.zeros((1, stream_state_size(LSTM, stft)), np.float32)
    _, state = session(LSTM).run(None, {"noisy": noise((1, 3000 * hop)), "state": zeros})
    last = noise((1, 25 * horizon * hop), seed=1)
    aged, _ = session(LSTM).run(None, {"noisy": last, "state": state})
    young, _ = session(LSTM).run(None, {"noisy": last, "state": zeros})
    left = np.abs(aged - young)[0]
    assert left[20 * horizon * hop :].max() < 1e-4 < left[: horizon * hop].max()


@every_network
def test_the_graphs_are_sound_and_run_anywhere(config: NetworkConfig) -> None:
    for model in (mask_file(config), stream_file(config)):
        onnx.checker.check_model(model, full_check=True)
        assert _shadowed(model.graph, set()) == set()
        assert _operators(model.graph) <= on_cpu_and_cuda()


@pytest.mark.parametrize("opset", [18, 21])
def test_weights_that_are_float16_numbers_take_half_the_space(opset: int) -> None:
    network = causal_network(LSTM)
    small = copy.deepcopy(network).half().float()
    sizes = [
        causal_mask_model(causal_mask_block(n, opset), LSTM).ByteSize() for n in (network, small)
    ]
    assert sizes[1] < 0.7 * sizes[0]


def test_a_stream_computes_the_matrices_of_its_transform() -> None:
    """They are no float16 numbers and would be a fifth of the bundled file."""
    stft = transform(GRU)
    n_bytes_of_matrices = 2 * 4 * 2 * stft.n_fft * stft.n_freqs
    difference = stream_file(GRU).ByteSize() - mask_file(GRU).ByteSize()
    assert difference < 0.1 * n_bytes_of_matrices


def test_a_quantised_stream_is_close() -> None:
    stft = transform(LSTM)
    block = quantize(stream_block(causal_network(LSTM), stft, MASK, OPSET))
    noisy = noise((1, 100 * stft.hop_length))
    files = (opened(LSTM), open_stream(stream_model(block, LSTM, stft), LSTM))
    outputs = [stream(file, noisy, cycle([1])) for file in files]
    difference = np.abs(outputs[1] - outputs[0]).max()
    assert 0 < difference < 0.05 * np.abs(outputs[0]).max()


@pytest.mark.slow
def test_a_stream_is_verified_over_a_minute_and_a_wrong_one_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = stamp(stream_file(LSTM), spec_of(LSTM))
    monkeypatch.setattr("fsnp_onnx.export.verify_stream._LONG_S", 10)
    probes = verify_stream(content, causal_network(LSTM))
    assert [(probe.batch, probe.n_frames > 900) for probe in probes] == [
        (1, True), (1, True), (1, True), (2, True),
    ]  # fmt: skip
    hop, rate = 32, 16000
    assert [p.n_samples for p in probes] == [10 * rate + hop // 3] * 3 + [2 * rate + hop // 3]
    assert all(probe.snr_db > 60 for probe in probes)
    with pytest.raises(
        VerificationError, match=r"10 s of speech hop by hop: .* no file was written"
    ):
        verify_stream(content, causal_network(LSTM, seed=1))


@pytest.mark.parametrize(
    ("config", "stft", "message"),
    [
        (NetworkConfig(), StftSpec(), "is stream, but the network is not causal"),
        (
            LSTM,
            StftSpec(16000, 64, 64, 16),
            "hop_length is 16 of n_fft 64, .* give mask or waveform",
        ),
    ],
)
def test_what_cannot_stream_is_refused(config: NetworkConfig, stft: StftSpec, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        require_streamable(config, stft)
    require_streamable(LSTM, transform(LSTM))


def test_blocks_are_shorter_than_the_recordings_of_these_tests() -> None:
    assert blocks.BLOCK_FRAMES < 33
