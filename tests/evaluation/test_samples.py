"""The recordings to listen to are what the bundled models give."""

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from evaluation.samples import RECORDINGS, SAMPLES, enhance_samples
from fsnp_onnx import Enhancer
from fsnp_onnx.runtime.bundled import NAMES

NOISY = sorted(SAMPLES.glob("*_noisy.flac"))


def name(noisy: Path, model: str) -> str:
    return noisy.name.replace("_noisy", f"_{model}")


@pytest.mark.parametrize("model", NAMES)
@pytest.mark.parametrize("noisy", NOISY, ids=lambda path: path.stem)
def test_an_enhanced_sample_is_what_the_model_gives(noisy: Path, model: str) -> None:
    samples, sample_rate = soundfile.read(noisy, dtype="float32")
    shown, _ = soundfile.read(SAMPLES / name(noisy, model), dtype="float32")
    enhanced = Enhancer(model, "cpu").enhance(samples, sample_rate).clip(-1, 1)
    np.testing.assert_allclose(enhanced, shown, rtol=0, atol=1 / 32768)  # one step of 16 bits


def test_every_sample_is_small_and_in_the_table() -> None:
    listed = re.findall(r"\((\w+\.flac)\)", (SAMPLES / "README.md").read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(path.name for path in SAMPLES.glob("*.flac"))
    assert {f"{r.noise}_{r.snr_db}db_noisy.flac" for r in RECORDINGS} <= set(listed)
    assert max(path.stat().st_size for path in SAMPLES.glob("*.flac")) < 200_000


def test_the_command_writes_one_file_for_each_model(tmp_path: Path) -> None:
    noisy = tmp_path / "short_noisy.flac"
    soundfile.write(noisy, 0.1 * np.sin(np.arange(4000)), 16000)
    written = enhance_samples(tmp_path)
    assert [path.name for path in written] == [name(noisy, model) for model in NAMES]
    assert [soundfile.info(path).frames for path in written] == [4000] * len(NAMES)
