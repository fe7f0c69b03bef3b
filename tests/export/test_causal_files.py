"""A causal checkpoint exported with every interface: the three files enhance alike, whole or live."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from fsnp_onnx import Enhancer, ExportOptions, export_checkpoint
from fsnp_onnx.errors import ArgumentError
from fsnp_onnx.export.graph.causal_block import BLOCK_FRAMES
from fsnp_onnx.export.options import Interface
from fsnp_onnx.export.speech import noisy_speech
from fsnp_onnx.spec import ModelSpec
from tests.golden import Array
from tests.network.causal import LSTM, causal_network
from tests.runtime.streams import constant, streamed
from training.network import toml_args

pytestmark = pytest.mark.slow

INTERFACES: tuple[Interface, ...] = ("mask", "waveform", "stream")
ACOUSTICS = {"n_fft": 64, "win_length": 64, "hop_length": 32, "sr": 16000}
FULL_SCALE_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Files:
    """A checkpoint and its exported files by interface."""

    checkpoint: Path
    paths: dict[Interface, Path]
    specs: dict[Interface, ModelSpec]

    def open(self, interface: Interface) -> Enhancer:
        return Enhancer(self.paths[interface], "cpu", threads=1)


def write_checkpoint(path: Path) -> Path:
    config = {"acoustics": ACOUSTICS, "model": {"args": toml_args(LSTM)}}
    state = causal_network(LSTM).state_dict()
    torch.save({"model": state, "epoch": 1, "config": config}, path)
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("causal")
    checkpoint = write_checkpoint(folder / "causal.tar")
    paths, specs = {}, {}
    for interface in INTERFACES:
        report = export_checkpoint(checkpoint, options=ExportOptions(interface=interface))
        (file,) = report.exported
        paths[interface], specs[interface] = file.path, file.spec
    return Files(checkpoint, paths, specs)


def speech(seconds: float, rate: int = 16000, channels: int = 1) -> Array:
    samples = np.resize(noisy_speech(rate), (round(seconds * rate) + 1000 * channels,))
    columns = [samples[1000 * k :][: round(seconds * rate)] for k in range(channels)]
    return columns[0] if channels == 1 else np.stack(columns, 1)


def live(enhancer: Enhancer, noisy: Array, rate: int, sizes: Iterator[int]) -> Array:
    stream = enhancer.stream(rate, noisy.shape[1] if noisy.ndim == 2 else 1)
    return streamed(stream, noisy, sizes)


def random_sizes(seed: int) -> Iterator[int]:
    rng = np.random.default_rng(seed)
    while True:
        yield int(rng.integers(1, 5001))


def test_the_metadata_say_what_a_client_needs(files: Files) -> None:
    spec = files.specs["stream"]
    assert (spec.interface, spec.causal, spec.horizon_frames) == ("stream", True, 20)
    assert spec.latency_samples == (LSTM.look_ahead + 1) * ACOUSTICS["hop_length"]
    assert spec.state
    assert all(probe.max_abs_error <= probe.tolerance for probe in spec.verification)
    assert max(probe.n_frames for probe in spec.verification) * 32 >= 60 * 16000
    for interface in ("mask", "waveform"):
        assert files.specs[interface].causal
        assert files.specs[interface].state is None
    assert files.paths["stream"].name == "causal.simplified.stream.onnx"


@pytest.mark.parametrize("n_samples", [1, 2, 31, 32, 33, 63, 64, 65, 1000, 16000])
def test_all_interfaces_enhance_alike_at_any_length(files: Files, n_samples: int) -> None:
    noisy = speech(2)[7000 : 7000 + n_samples]
    mask, waveform, stream = (files.open(i).enhance(noisy, 16000) for i in INTERFACES)
    np.testing.assert_allclose(waveform, mask, rtol=0, atol=FULL_SCALE_TOLERANCE)
    np.testing.assert_allclose(stream, mask, rtol=0, atol=FULL_SCALE_TOLERANCE)


def test_a_minute_live_is_a_minute_whole_in_any_pieces(files: Files) -> None:
    noisy, enhancer = speech(60), files.open("stream")
    whole = files.open("mask").enhance(noisy, 16000)
    assert np.abs(whole).max() > 0.1
    for sizes in (constant(32), constant(160), constant(len(noisy)), *map(random_sizes, range(7))):
        enhanced = live(enhancer, noisy, 16000, sizes)
        np.testing.assert_allclose(enhanced, whole, rtol=0, atol=FULL_SCALE_TOLERANCE)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
def test_any_rate_and_channels_do_not_depend_on_the_pieces(
    files: Files, rate: int, channels: int
) -> None:
    noisy, enhancer = speech(60, rate, channels), files.open("stream")
    whole = live(enhancer, noisy, rate, constant(len(noisy)))
    assert whole.shape == noisy.shape
    for sizes in (constant(rate // 100), random_sizes(0), random_sizes(1)):
        enhanced = live(enhancer, noisy, rate, sizes)
        np.testing.assert_allclose(enhanced, whole, rtol=0, atol=FULL_SCALE_TOLERANCE)


def test_plain_onnxruntime_gives_the_same(files: Files) -> None:
    noisy = speech(60)
    session = onnxruntime.InferenceSession(files.paths["stream"])
    spec = json.loads(session.get_modelmeta().custom_metadata_map["fsnp_onnx"])
    late, hop = spec["latency_samples"], spec["stft"]["hop_length"]
    state = np.zeros((1, spec["state"]["size"]), np.float32)
    fed = np.pad(noisy, (0, late + -noisy.size % hop))
    parts = []
    for start in range(0, fed.size, 10 * hop):
        feeds = {"noisy": fed[None, start : start + 10 * hop], "state": state}
        enhanced, state = session.run(None, feeds)
        parts.append(enhanced[0])
    plain = np.concatenate(parts)[late : late + noisy.size]
    whole = files.open("stream").enhance(noisy, 16000)
    np.testing.assert_allclose(plain, whole, rtol=0, atol=FULL_SCALE_TOLERANCE)


def test_a_quantised_stream_stays_close(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "fsnp_onnx.export.verify_stream._LONG_S", 2
    )  # as the float32 file has shown
    options = ExportOptions(precision="int8", interface="stream", min_snr_db=20)
    report = export_checkpoint(files.checkpoint, tmp_path / "int8.onnx", options=options)
    (file,) = report.exported
    assert file.spec.precision == "int8"
    assert min(probe.snr_db for probe in file.spec.quantization) >= 20


def test_the_probes_of_masks_know_the_block_of_a_causal_network(files: Files) -> None:
    spec = files.specs["mask"]
    assert spec.provenance["block_frames"] == BLOCK_FRAMES
    shortest, filling, partial, longest = (probe.n_frames for probe in spec.verification)
    assert shortest == spec.min_frames
    assert (
        (filling + LSTM.look_ahead) % BLOCK_FRAMES
        == 0
        != (partial + LSTM.look_ahead) % BLOCK_FRAMES
    )
    assert min(filling, partial, longest) > BLOCK_FRAMES


def test_an_offline_network_cannot_stream() -> None:
    golden = "tests/data/golden/se_gru_cumlaplace"
    with pytest.raises(ArgumentError, match="interface is stream, but the network is not causal"):
        export_checkpoint(
            f"{golden}.tar",
            config=f"{golden}.toml",
            options=ExportOptions(interface="stream"),
        )
