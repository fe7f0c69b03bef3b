"""Samples in and samples out: the graph does what the runtime does in numpy, at any length."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper, parser
from torch import Tensor, nn

from fsnp_onnx import Enhancer
from fsnp_onnx.errors import ArgumentError, VerificationError
from fsnp_onnx.export import build
from fsnp_onnx.export.graph.waveform import BLOCK_FRAMES, waveform_model
from fsnp_onnx.export.options import ExportOptions, Interface
from fsnp_onnx.export.pipeline import ExportedFile, ExportReport, export_checkpoint
from fsnp_onnx.export.reference import enhance_exactly
from fsnp_onnx.export.speech import noisy_speech, snr_db
from fsnp_onnx.export.verify import WAVEFORM_TOLERANCE, waveform_sizes
from fsnp_onnx.spec import METADATA_KEY, MaskSpec, ModelSpec, StftSpec
from tests.export.conftest import OPSET, SmallExport, open_session, run_samples
from tests.runtime.models import ONE
from tests.runtime.signals import noise
from tests.runtime.test_stft import SPECS

OTHER_SPECS = SPECS | {
    "odd transform": StftSpec(n_fft=101, win_length=80, hop_length=37),
    "little overlap": StftSpec(hop_length=340),
    "every sample": StftSpec(n_fft=3, win_length=3, hop_length=1),
}


def wavy(spec: ModelSpec, amplitude: float = 11.0) -> onnx.ModelProto:
    """Return a file whose mask differs from bin to bin and frame to frame, whatever comes in."""
    part, mask = (f"float[batch,{n}{spec.stft.n_freqs},frames]" for n in ("", "2,"))
    graph = parser.parse_graph(f"""
    wavy ({part} noisy_real, {part} noisy_imag) => ({mask} mask)
    <float zero = {{0}}, float step = {{0.7}}, int64 bins = {{1}}, int64 time = {{2}}, int64[1] part = {{1}}>
    {{
      zeros = Mul(noisy_real, zero)
      steps = Add(zeros, step)
      over_bins = CumSum(steps, bins)
      phase = CumSum(over_bins, time)
      sine = Sin(phase)
      cosine = Cos(phase)
      real = Unsqueeze(sine, part)
      imag = Unsqueeze(cosine, part)
      wave = Concat<axis: int = 1>(real, imag)
      mask = Mul(wave, amplitude)
    }}""")
    graph.initializer.append(numpy_helper.from_array(np.array(amplitude, np.float32), "amplitude"))
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    helper.set_model_props(model, {METADATA_KEY: spec.to_metadata()})
    return model


@pytest.mark.parametrize("min_frames", [1, 2, 8])
@pytest.mark.parametrize("stft", OTHER_SPECS.values(), ids=OTHER_SPECS.keys())
def test_the_graph_gives_what_the_runtime_gives_at_any_length(
    stft: StftSpec, min_frames: int
) -> None:
    spec = ModelSpec(stft, min_frames=min_frames)
    masks = wavy(spec)
    runtime = Enhancer(masks.SerializeToString(), "cpu")
    graph = waveform_model(masks, spec)
    onnx.checker.check_model(graph, full_check=True)
    session = open_session(graph)
    hop, block = stft.hop_length, BLOCK_FRAMES * stft.hop_length
    for n_samples in {
        *(1, 2, 3, hop, hop + 1, 2 * hop, stft.n_fft // 2, stft.n_fft // 2 + 1, stft.n_fft, 1000),
        *(block - 1, block, block + 1, 2 * block + hop // 2),
    }:
        noisy = noise(n_samples)
        expected = runtime.enhance(noisy, stft.sample_rate_hz)
        (enhanced,) = run_samples(session, noisy[None])
        # the runtime's own transform is float32, and gains reach 75
        np.testing.assert_allclose(enhanced, expected, rtol=0, atol=3e-6 * np.abs(expected).max())


def test_rows_of_a_batch_are_single_runs_and_silence_stays_silence() -> None:
    spec = ModelSpec(StftSpec(), min_frames=8)
    session = open_session(waveform_model(wavy(spec), spec))
    batch = np.stack([noise(5000), np.zeros(5000, np.float32), 0.01 * noise(5000, seed=1)])
    enhanced = run_samples(session, batch)
    for row, single in enumerate(batch):
        assert np.array_equal(run_samples(session, single[None])[0], enhanced[row])
    assert enhanced[0].any()
    assert not enhanced[1].any()


def test_silence_stays_silence_whatever_the_network_makes_of_it() -> None:
    spec = ModelSpec(StftSpec())
    session = open_session(waveform_model(wavy(spec, amplitude=np.nan), spec))
    assert not run_samples(session, np.zeros((2, 700), np.float32)).any()
    assert np.isnan(run_samples(session, noise(700)[None])).all()


def test_wrapping_leaves_the_mask_graph_as_it_was() -> None:
    spec = ModelSpec(StftSpec())
    masks = wavy(spec)
    before = masks.SerializeToString()
    assert waveform_model(masks, spec) == waveform_model(masks, spec)
    assert masks.SerializeToString() == before


class Unity(nn.Module):
    """A network whose mask changes nothing."""

    def forward(self, real: Tensor, imag: Tensor) -> Tensor:
        return torch.stack([real * 0 + ONE, imag * 0], dim=1)


@pytest.mark.parametrize("stft", OTHER_SPECS.values(), ids=OTHER_SPECS.keys())
def test_the_reference_returns_its_input_where_the_mask_changes_nothing(stft: StftSpec) -> None:
    spec = ModelSpec(stft, min_frames=3)
    for n_samples in (1, 2, stft.hop_length, stft.n_fft + 1, 5 * stft.n_fft + stft.hop_length // 2):
        noisy = noise(n_samples, 2).T
        exact = enhance_exactly(Unity(), noisy, spec)  # type: ignore[arg-type]
        np.testing.assert_allclose(exact, noisy, rtol=0, atol=1e-12)


@pytest.fixture(scope="module")
def masks(small_export: SmallExport) -> Path:
    """The mask file of the small network."""
    return small_export.report.exported[0].path


def test_a_waveform_export_is_verified_as_mask_and_as_samples(
    waveform_export: ExportReport, masks: Path
) -> None:
    (file,) = waveform_export.exported
    assert file.spec.interface == "waveform"
    lengths = [(probe.n_samples, probe.batch) for probe in file.spec.verification]
    assert lengths == [*[(None, 1), (None, 1), (None, 2), (None, 1)], *_sizes(file.spec)]
    assert all(p.max_abs_error <= p.tolerance for p in file.spec.verification)
    model = onnx.load(file.path)
    assert [entry.key for entry in model.metadata_props] == [METADATA_KEY]
    assert ModelSpec.from_metadata(model.metadata_props[0].value) == file.spec
    noisy = noisy_speech(16000)[:20000]
    enhanced, expected = (
        Enhancer(path, "cpu").enhance(noisy, 16000) for path in (file.path, masks)
    )
    np.testing.assert_allclose(enhanced, expected, rtol=0, atol=WAVEFORM_TOLERANCE)


def _sizes(spec: ModelSpec) -> tuple[tuple[int, int], ...]:
    sizes = waveform_sizes(spec.stft, spec.min_frames)
    assert sizes[0] == (1, 1)
    assert max(batch for _, batch in sizes) == 3
    assert len({n_samples for n_samples, _ in sizes}) == 4
    return sizes


def test_a_wrong_transform_fails_and_leaves_no_file(
    small_export: SmallExport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_export.reuse(monkeypatch)
    monkeypatch.setattr(
        build,
        "waveform_model",
        lambda masks, spec: waveform_model(masks, replace(spec, mask=MaskSpec(c=0.101))),
    )
    with pytest.raises(VerificationError, match=r"probe of \d+ samples"):
        export_checkpoint(
            small_export.checkpoint,
            tmp_path / "wrong.onnx",
            mulca=["original"],
            options=ExportOptions(interface="waveform"),
        )
    assert list(tmp_path.iterdir()) == []


def test_an_int8_file_of_samples_is_the_int8_mask_file_between_the_transforms(
    small_export: SmallExport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_export.reuse(monkeypatch)
    files: list[ExportedFile] = []
    interfaces: tuple[Interface, ...] = ("mask", "waveform")
    for interface in interfaces:
        options = ExportOptions(precision="int8", min_snr_db=0, interface=interface)
        report = export_checkpoint(
            small_export.checkpoint,
            tmp_path / f"{interface}.onnx",
            mulca=["original"],
            options=options,
        )
        files += report.exported
    noisy = noisy_speech(16000)[:20000]
    masks, samples = (Enhancer(file.path, "cpu").enhance(noisy, 16000) for file in files)
    assert snr_db(masks, samples - masks) > 60  # a rounded activation may fall on the other side
    for first, second in zip(*(file.spec.quantization for file in files), strict=True):
        assert first.recording == second.recording
        assert first.snr_db == pytest.approx(second.snr_db, abs=0.5)


def test_an_offline_network_does_not_stream(small_export: SmallExport, tmp_path: Path) -> None:
    output = tmp_path / "net.onnx"
    with pytest.raises(ArgumentError, match=r"interface is stream.* cannot run live"):
        export_checkpoint(
            small_export.checkpoint, output, options=ExportOptions(interface="stream")
        )
    assert not output.exists()


PEAK = """
import sys
import numpy as np
import onnxruntime

options = onnxruntime.SessionOptions()
options.enable_cpu_mem_arena = False
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, ["CPUExecutionProvider"])
shape = [int(n) for n in sys.argv[2].split(",")]
session.run(None, {i.name: np.ones(shape, np.float32) for i in session.get_inputs()})
words = open("/proc/self/status").read().split()
print(words[words.index("VmHWM:") + 1])
"""


def peak_mb(model: Path, *shape: int) -> float:
    command = [sys.executable, "-c", PEAK, str(model), ",".join(map(str, shape))]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(run.stdout) / 1000


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_two_minutes_take_little_more_memory_than_the_mask_graph_takes(
    masks: Path, waveform_export: ExportReport
) -> None:
    (file,) = waveform_export.exported
    samples, stft = file.path, file.spec.stft
    n_frames = 120 * 16000 // stft.hop_length
    growth = peak_mb(masks, 1, stft.n_freqs, n_frames) - peak_mb(masks, 1, stft.n_freqs, 10)
    peak = min(peak_mb(samples, 1, n_frames * stft.hop_length) for _ in range(3))  # allocators vary
    growth_of_samples = peak - peak_mb(samples, 1, 10)
    assert growth > 20
    assert growth_of_samples < 1.2 * growth
