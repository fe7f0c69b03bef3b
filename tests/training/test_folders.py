"""A bank from folders of recordings, in the form of the DNS Challenge."""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import torch
import typer
from typer.testing import CliRunner, Result

from training import prepare
from training.bank import SAMPLE_RATE, Bank
from training.filters import EARLY_SAMPLES, ROOM_SAMPLES
from training.folders import RISE, reader
from training.mix import Mixer

Wave = npt.NDArray[np.float32]


def recording(file: Path, seconds: float, rate: int = 48_000, channels: int = 1) -> None:
    """A tone of its own in noise, at any rate and with any number of channels."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(len(file.name))
    tone = np.sin(np.arange(round(seconds * rate)) * 2 * np.pi * draw.uniform(100, 400) / rate)
    noise = draw.standard_normal((len(tone), channels))
    kind = ("OGG", "OPUS") if file.suffix == ".opus" else (None, None)
    samples = 0.2 * tone[:, None] + 0.02 * noise
    soundfile.write(file, samples, rate, format=kind[0], subtype=kind[1])


def response(file: Path, rate: int = 16_000) -> None:
    """10 ms of travel, the direct sound, and a tail of a second, in two channels."""
    file.parent.mkdir(parents=True, exist_ok=True)
    tail = np.exp(-np.arange(rate) / (0.2 * rate)) * np.random.default_rng(0).standard_normal(rate)
    samples = np.concatenate([np.zeros(rate // 100), [0.5], 0.1 * tail])
    soundfile.write(file, np.stack([samples, -samples[::-1]], axis=1), rate)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four readers of the DNS Challenge, three folders of readers, noise, and rooms."""
    root = tmp_path_factory.mktemp("dns")
    for number, digits in enumerate([11, 11, 12, 13, 14]):
        name = f"book_0000{number}_chp_0001_reader_000{digits}_{number}.wav"
        recording(root / "read_speech" / name, 1.0)
    for name, ending in (("p225", "flac"), ("p226", "ogg"), ("p227", "opus")):
        recording(root / "vctk" / name / f"{name}_001.{ending}", 1.5, 24_000, 2)
    for number in range(4):
        recording(root / "noise" / f"fan_{number}.wav", 1.0, 44_100)
    response(root / "rirs" / "room.wav")
    recording(root / "rirs" / "room_noise_1.wav", 1.0)
    return root


def run(out: Path, *options: str) -> Result:
    app = typer.Typer()
    app.command()(prepare.main)
    return CliRunner().invoke(app, ["--raw", str(out / "none"), "--out", str(out), *options])


@pytest.fixture(scope="module")
def bank_dir(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bank")
    speech = ["--speech", str(tree / "read_speech"), "--speech", str(tree / "vctk")]
    others = ["--noise", str(tree / "noise"), "--rir", str(tree / "rirs")]
    result = run(out, *speech, *others)
    assert result.exit_code == 0, result.output
    return out


def index_of(bank_dir: Path) -> dict[str, list[int]]:
    index: dict[str, list[int]] = json.loads((bank_dir / "index.json").read_text("utf-8"))
    return index


def test_each_reader_and_each_noise_is_a_group_and_the_first_is_for_validation(
    bank_dir: Path,
) -> None:
    assert set(index_of(bank_dir)) == {
        "readers_held_out/0/reader_00011",
        "readers/0/reader_00012",
        "readers/0/reader_00013",
        "readers/0/reader_00014",
        "readers/1/p225",
        "readers/1/p226",
        "readers/1/p227",
        "recorded_held_out/0/fan_0",
        "recorded/0/fan_1",
        "recorded/0/fan_2",
        "recorded/0/fan_3",
        "rirs",
    }


def test_clips_are_resampled_to_16_khz_and_as_long_as_before(bank_dir: Path) -> None:
    index = index_of(bank_dir)
    assert len(index["readers_held_out/0/reader_00011"]) == 2
    assert index["readers/0/reader_00012"] == [SAMPLE_RATE]
    for who in ("p225", "p226", "p227"):
        assert index[f"readers/1/{who}"] == pytest.approx([1.5 * SAMPLE_RATE], abs=200)


def test_names_tell_the_reader_before_folders_do() -> None:
    assert reader(Path("a/book_00000_chp_0009_reader_06709_0.wav")) == "reader_06709"
    assert reader(Path("19/198/19-198-0001.flac")) == "reader_19"
    assert reader(Path("19/198/19_198_000001_000000.wav")) == "reader_19"
    assert reader(Path("p225/p225_001.flac")) == "p225"
    assert reader(Path("anna.wav")) == "anna"


def test_a_response_begins_with_its_direct_sound(bank_dir: Path) -> None:
    samples, _ = soundfile.read(bank_dir / "rirs.flac")
    assert len(samples) == ROOM_SAMPLES
    assert np.argmax(np.abs(samples)) == RISE
    assert samples[RISE] == pytest.approx(0.9, abs=1e-4)


def test_a_target_has_50_ms_of_a_recorded_room_and_the_mixture_all_of_it(
    bank_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.mix.RECORDED_ROOMS", 1.0)
    bank = Bank(bank_dir, torch.device("cpu"))
    heard: list[torch.Tensor] = []

    def watched(samples: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
        heard.append(kernel)
        return samples

    monkeypatch.setattr("training.mix.convolve", watched)
    Mixer(bank, 0, SAMPLE_RATE).batch(0, 32)
    room, early, _ = heard[-3:]
    stored = bank.samples[-ROOM_SAMPLES:] / bank.samples[-ROOM_SAMPLES:].abs().max()
    in_rooms = room[:, 1:].abs().amax(1) > 0
    assert 4 < in_rooms.sum() < 28
    torch.testing.assert_close(room[in_rooms], stored.expand(int(in_rooms.sum()), -1))
    torch.testing.assert_close(early[:, :EARLY_SAMPLES], room[:, :EARLY_SAMPLES])
    assert not early[:, EARLY_SAMPLES:].any()


@pytest.mark.parametrize("suffix", ["", "_held_out"])
def test_such_a_bank_needs_no_packages_to_make_mixtures(bank_dir: Path, suffix: str) -> None:
    mixer = Mixer(Bank(bank_dir, torch.device("cpu")), 0, SAMPLE_RATE, suffix)
    noisy, target = mixer.batch(0, 16)
    assert torch.isfinite(noisy).all()
    assert (target.abs().amax(1) > 0).all()


def test_hours_are_shared_among_the_readers(tmp_path: Path) -> None:
    recording(tmp_path / "speech/anna/long.wav", 40.0, 16_000)
    for number in range(30):
        recording(tmp_path / f"speech/bert/{number:02d}.wav", 2.0, 16_000)
    recording(tmp_path / "speech/carl/0.wav", 2.0, 16_000)
    out = tmp_path / "bank"
    result = run(out, "--speech", str(tmp_path / "speech"), "--hours", str(50 / 3600))
    assert result.exit_code == 0, result.output
    index = index_of(out)
    assert index["readers_held_out/0/anna"] == [30 * SAMPLE_RATE, 10 * SAMPLE_RATE]
    assert index["readers/0/carl"] == [2 * SAMPLE_RATE]
    assert sum(map(sum, index.values())) == 50 * SAMPLE_RATE


def test_a_file_that_cannot_be_read_is_named_and_left_out(tmp_path: Path) -> None:
    for who in ("anna", "bert"):
        recording(tmp_path / "speech" / f"{who}.wav", 1.0)
    (tmp_path / "speech" / "broken.wav").write_bytes(b"RIFF....WAVE")
    result = run(tmp_path / "bank", "--speech", str(tmp_path / "speech"))
    assert result.exit_code == 0, result.output
    assert "left out" in result.output
    assert "broken.wav" in result.output
    assert len(index_of(tmp_path / "bank")) == 2


@pytest.mark.parametrize(
    ("option", "files", "found"),
    [
        ("--speech", [], "holds no .wav, .flac"),
        ("--speech", ["anna.wav"], "found one reader"),
        ("--noise", ["fan.wav"], "found no speech"),
    ],
)
def test_folders_that_make_no_bank_are_one_line(
    tmp_path: Path, option: str, files: list[str], found: str
) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    for name in files:
        recording(folder / name, 1.0)
    result = run(tmp_path / "bank", option, str(folder))
    assert result.exit_code == 1
    assert found in result.output
    assert not (tmp_path / "bank" / "index.json").exists()


def test_a_bank_that_is_not_as_its_index_says_is_refused(tmp_path: Path) -> None:
    samples = np.zeros(10, np.float32)
    soundfile.write(tmp_path / "kokoro.flac", samples, SAMPLE_RATE)
    (tmp_path / "index.json").write_text(json.dumps({"kokoro": [12]}), encoding="utf-8")
    with pytest.raises(OSError, match=r"kokoro\.flac is not as the index says"):
        Bank(tmp_path, torch.device("cpu"))
