"""The recipe in miniature: synthetic packages -> bank -> a few steps -> checkpoint -> ONNX."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import torch
import typer
from typer.testing import CliRunner, Result

from fsnp_onnx import Enhancer, export_checkpoint
from fsnp_onnx.errors import ConfigError
from fsnp_onnx.network.config import NetworkConfig
from training import network, prepare, train
from training.bank import SAMPLE_RATE, Bank
from training.loss import decompress, keep_bins, kept_mask, stft
from training.mix import Mixer
from training.network import fresh_network, toml_args, trained_network
from training.pack import read_pack
from training.voices import VALIDATION_VOICES

Wave = npt.NDArray[np.float32]
SMALL = ["--batch-size", "2", "--groups", "2", "--seconds", "1", "--minutes"]


def voice(pitch_hz: float, seconds: float = 0.7) -> Wave:
    """Harmonics that swell and fade four times a second, as syllables do."""
    time_s = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    harmonics = sum(np.sin(2 * np.pi * pitch_hz * k * time_s) / k for k in range(1, 15))
    return np.asarray(0.1 * np.abs(np.sin(4 * np.pi * time_s)) * harmonics, dtype=np.float32)


def write_g722(file: Path, samples: Wave) -> None:
    with av.open(str(file), "w", format="g722") as container:
        stream = container.add_stream("g722", rate=SAMPLE_RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(
            (samples * 32767).astype(np.int16)[None], format="s16", layout="mono"
        )
        frame.sample_rate = SAMPLE_RATE
        container.mux([*stream.encode(frame), *stream.encode(None)])


def write(file: Path, samples: Wave) -> None:
    """Write one recording, in the codec of its suffix and with the folders above it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".g722":
        write_g722(file, samples)
    else:
        soundfile.write(file, samples, SAMPLE_RATE)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the fetch leaves behind, with the folders and formats of the real packages."""
    raw = tmp_path_factory.mktemp("raw")
    for number in range(prepare.EVALUATION_CLIPS + 3):
        write(raw / f"festvox-ru/wav/ru_{number:04d}.wav", voice(100 + number))
    for number in range(3):
        pitch_hz = 120 + 30 * number
        for country in ("it", "ru"):
            package = f"asterisk-core-sounds-{country}-g722"
            write(raw / package / f"sounds/{number}.g722", voice(pitch_hz))
        write(raw / f"gcin-voice/{number}/5.ogg", voice(pitch_hz, 0.3))
        write(raw / f"voices/af_alloy_{number:02d}.flac", voice(pitch_hz))
        write(raw / f"sonic-pi-samples/{number}.flac", voice(20 * pitch_hz, 0.4))
    write(raw / f"voices/{VALIDATION_VOICES[0]}_00.flac", voice(200))
    write(raw / "voices/flite-awb_00.wav", voice(90))
    return raw


@pytest.fixture(scope="module")
def bank_dir(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bank")
    prepare.main(packages, out)
    return out


@pytest.fixture(scope="module")
def bank(bank_dir: Path) -> Bank:
    return Bank(bank_dir, torch.device("cpu"))


@pytest.fixture(scope="module", autouse=True)
def settings_of_torch() -> Iterator[None]:
    """One thread is faster on tensors this small; later tests need torch's own settings again."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)
    torch.set_float32_matmul_precision("highest")


def run(bank_dir: Path, run_dir: Path, *options: str) -> Result:
    app = typer.Typer()
    app.command()(train.main)
    folders = ["--bank-dir", str(bank_dir), "--run-dir", str(run_dir)]
    return CliRunner().invoke(app, [*folders, *SMALL, *options])


@pytest.fixture(scope="module", autouse=True)
def a_narrow_network() -> Iterator[None]:
    """The layers of the default model, but narrow: seconds instead of minutes."""
    with pytest.MonkeyPatch.context() as patch:
        small = network.small_config

        def narrow(mulca: network.Variant) -> NetworkConfig:
            return replace(small(mulca), tcn_hidden_size=16, sub_band_hidden_size=8)

        patch.setattr(network, "small_config", narrow)
        yield


@pytest.fixture(scope="module")
def trained(bank_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of a second or so."""
    run_dir = tmp_path_factory.mktemp("run")
    result = run(bank_dir, run_dir, "0.01")
    assert result.exit_code == 0, result.output
    return run_dir


def log_of(run_dir: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run_dir / "log.jsonl").read_text().splitlines()]


def weights_of(file: Path) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = torch.load(file, weights_only=True)["model"]
    return weights


def test_every_source_reaches_the_bank_and_what_is_kept_back_does_not(bank: Bank) -> None:
    kept = {name: len(clips) for name, clips in bank.groups.items()}
    sources = {"asterisk_it": 2, "asterisk_ru": 2, "gcin": 2, "flite": 1, "kokoro": 3, "sonic": 3}
    for name, count in ({"festvox_ru": 2} | sources).items():
        assert kept.pop(name) == count
    assert set(kept) == {
        f"{name}_held_out"
        for name in ("festvox_ru", "asterisk_it", "asterisk_ru", "gcin", "kokoro")
    }
    assert set(kept.values()) == {1}


def test_a_missing_package_is_named(packages: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"found no festvox_ru at .*festvox-ru"):
        prepare.main(packages / "voices", tmp_path)


def test_a_source_without_validation_clips_is_named(packages: Path, tmp_path: Path) -> None:
    shutil.copytree(packages, tmp_path / "raw")
    (tmp_path / f"raw/voices/{VALIDATION_VOICES[0]}_00.flac").unlink()
    with pytest.raises(SystemExit, match="no usable clip for kokoro_held_out"):
        prepare.main(tmp_path / "raw", tmp_path / "bank")
    assert not (tmp_path / "bank/index.json").exists()


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty clean readers, one noisy reader, and ten noises, in the form of a pack."""
    folder = tmp_path_factory.mktemp("pack")
    readers = [{"file": f"{n}.ogg", "dnsmos": [3.0, 4.2, 3.0]} for n in range(30)]
    readers.append({"file": "noisy.ogg", "dnsmos": [3.0, 3.0, 3.0]})
    noises: list[dict[str, object]] = [{"file": f"{n}.ogg"} for n in range(10)]
    for kind, files in (("speech", readers), ("noise", noises)):
        for file in files:
            write(folder / kind / "source" / str(file["file"]), voice(150, 1.0))
            file["clips"] = [SAMPLE_RATE // 2, SAMPLE_RATE // 2]
        index = json.dumps({"files": files})
        (folder / kind / "source" / "index.json").write_text(index, encoding="utf-8")
    return folder


def test_a_pack_has_a_group_for_each_reader_and_noise(pack: Path) -> None:
    groups = dict(read_pack(pack))
    kinds = [name.partition("/")[0] for name in groups]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "readers": 28,
        "readers_held_out": 2,
        "crowd": 1,
        "recorded": 9,
        "recorded_held_out": 1,
    }
    assert all([len(clip) for clip in clips] == [SAMPLE_RATE // 2] * 2 for clips in groups.values())


def test_speech_comes_from_clean_readers_and_noise_from_recordings(
    pack: Path, tmp_path: Path
) -> None:
    prepare.main(tmp_path / "no-packages", tmp_path / "bank", pack)
    shutil.copy(next((tmp_path / "bank/recorded/source").iterdir()), tmp_path / "bank/sonic.flac")
    index = json.loads((tmp_path / "bank/index.json").read_text(encoding="utf-8"))
    (tmp_path / "bank/index.json").write_text(
        json.dumps(index | {"sonic": [SAMPLE_RATE // 2] * 2}), encoding="utf-8"
    )
    mixer = Mixer(Bank(tmp_path / "bank", torch.device("cpu")), seed=0, n_samples=SAMPLE_RATE)
    noisy, target = mixer.batch(step=0, rows=16)
    assert torch.isfinite(noisy).all()
    assert (target.abs().amax(1) > 0).all()


def test_a_folder_that_is_not_a_pack_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"speech holds no SOURCE/index\.json"):
        list(read_pack(tmp_path))


def test_batches_repeat_by_seed_and_step(bank: Bank) -> None:
    noisy, target = Mixer(bank, 3, SAMPLE_RATE).batch(7, 4)
    same, same_target = Mixer(bank, 3, SAMPLE_RATE).batch(7, 4)
    torch.testing.assert_close([same, same_target], [noisy, target], rtol=0, atol=0)
    for seed, step in ((3, 8), (4, 7)):
        assert not torch.equal(Mixer(bank, seed, SAMPLE_RATE).batch(step, 4)[0], noisy)


def test_mixtures_are_finite_and_never_above_full_scale(bank: Bank) -> None:
    for step in range(4):
        noisy, target = Mixer(bank, 0, SAMPLE_RATE).batch(step, 16)
        assert noisy.shape == target.shape == (16, SAMPLE_RATE)
        assert torch.isfinite(target).all()
        assert noisy.abs().max() <= 1
        assert (noisy - target).square().mean() > 0


def test_dropped_bands_change_nothing_in_those_kept(bank: Bank) -> None:
    whole_band = fresh_network("original", 0).eval()
    spectrum = stft(Mixer(bank, 0, SAMPLE_RATE).batch(0, 4)[0])
    with torch.no_grad():
        whole = whole_band(spectrum.real.contiguous(), spectrum.imag.contiguous())
        kept = kept_mask(whole_band, spectrum, 4)
    expected = keep_bins(decompress(whole.transpose(1, 2)), 4)
    torch.testing.assert_close(kept, expected, rtol=1e-3, atol=1e-4)


def test_a_network_learns_a_batch_by_heart(bank: Bank) -> None:
    torch.manual_seed(0)
    run = train.start(fresh_network("simplified", 0), "cpu")
    batch = Mixer(bank, 0, SAMPLE_RATE).batch(0, 4)
    losses = [train.train_step(run, *batch, groups=4)[0] for _ in range(8)]
    assert losses[-1] < losses[0] - 0.02
    assert run.step == 8


def test_the_learning_rate_warms_up_and_fades() -> None:
    assert train.schedule(0) < 0.02
    assert train.schedule(train.WARM_UP) == pytest.approx(1, abs=0.01)
    assert train.schedule(0.5) == pytest.approx(0.5, abs=0.01)
    assert 0 < train.schedule(1) < 0.01


@pytest.mark.slow
def test_a_trained_checkpoint_becomes_a_model_that_enhances(trained: Path, tmp_path: Path) -> None:
    export_checkpoint(trained / "checkpoint.tar", tmp_path / "model.onnx", mulca=["original"])
    noisy = voice(150)
    enhanced = Enhancer(tmp_path / "model.onnx").enhance(noisy, SAMPLE_RATE)
    assert enhanced.shape == noisy.shape
    assert np.isfinite(enhanced).all()
    assert not np.array_equal(enhanced, noisy)


def test_weights_are_stored_as_float16_values(trained: Path) -> None:
    for weight in weights_of(trained / "checkpoint.tar").values():
        torch.testing.assert_close(weight, weight.half().float(), rtol=0, atol=0)


def test_the_log_can_be_plotted(trained: Path) -> None:
    lines = log_of(trained)
    assert all(np.isfinite(list(line.values())).all() for line in lines)
    assert {
        "step",
        "elapsed_s",
        "train_loss",
        "spectral_loss",
        "disturbance",
        "audio_s_per_s",
    } < set(lines[-1])


def test_a_run_goes_on_where_it_stopped(trained: Path, bank_dir: Path) -> None:
    before, weights = log_of(trained), weights_of(trained / "checkpoint.tar")
    longer_minutes = str(before[-1]["elapsed_s"] / 60 + 0.005)
    result = run(bank_dir, trained, longer_minutes, "--resume")
    assert result.exit_code == 0, result.output
    after = log_of(trained)
    assert after[: len(before)] == before
    assert after[-1]["step"] > before[-1]["step"]
    assert after[-1]["elapsed_s"] > before[-1]["elapsed_s"]
    resumed = weights_of(trained / "checkpoint.tar")
    assert any(not torch.equal(resumed[name], weight) for name, weight in weights.items())


def test_a_run_of_which_only_the_checkpoint_is_left_goes_on_from_it(
    trained: Path, bank_dir: Path, tmp_path: Path
) -> None:
    shutil.copy(trained / "checkpoint.tar", tmp_path)
    step = log_of(trained)[-1]["step"]
    result = run(bank_dir, tmp_path, "1", "--resume", "--steps", str(step + 2))
    assert result.exit_code == 0, result.output
    assert log_of(tmp_path)[-1]["step"] == step + 2
    assert (tmp_path / "state.pt").exists()
    assert any(
        not torch.equal(weight, weights_of(tmp_path / "checkpoint.tar")[name])
        for name, weight in weights_of(trained / "checkpoint.tar").items()
    )


def test_a_run_starts_from_the_weights_of_a_checkpoint(
    trained: Path, bank_dir: Path, tmp_path: Path
) -> None:
    start = trained / "checkpoint.tar"
    result = run(bank_dir, tmp_path, "0.005", "--init", str(start), "--learning-rate", "0")
    assert result.exit_code == 0, result.output
    torch.testing.assert_close(
        weights_of(tmp_path / "checkpoint.tar"), weights_of(start), rtol=0, atol=0
    )


@pytest.mark.slow
def test_a_run_of_so_many_steps_gives_both_variants_equal_budgets(
    trained: Path, bank_dir: Path, tmp_path: Path
) -> None:
    start = str(trained / "checkpoint.tar")
    options = ("--init", start, "--new-attention", "--learning-rate", "0", "--steps", "2")
    started = weights_of(trained / "checkpoint.tar")
    for variant in ("original", "simplified"):
        result = run(bank_dir, tmp_path / variant, "120", "--mulca", variant, *options)
        assert result.exit_code == 0, result.output
        assert log_of(tmp_path / variant)[-1]["step"] == 2
        weights = weights_of(tmp_path / variant / "checkpoint.tar")
        kept = [name for name in weights if not name.startswith("channel_attention")]
        for name in kept:
            torch.testing.assert_close(weights[name], started[name], rtol=0, atol=0)
        gate = "channel_attention.fc1.weight"
        assert not torch.equal(weights[gate], started[gate])
        fresh = fresh_network("original", 0).state_dict()[gate]
        torch.testing.assert_close(weights[gate], fresh.half().float(), rtol=0, atol=0)


def test_original_weights_start_a_simplified_network_but_not_back(
    trained: Path, tmp_path: Path
) -> None:
    original = weights_of(trained / "checkpoint.tar")
    simplified = trained_network(trained / "checkpoint.tar", "simplified")
    converted = simplified.state_dict()
    assert simplified.config.mulca == "simplified"
    for name in original.keys() & converted.keys():
        torch.testing.assert_close(converted[name], original[name], rtol=0, atol=0)
    sums = original["channel_attention.largeConv1d.0.weight"].sum((1, 2))
    torch.testing.assert_close(converted["channel_attention.weight_sum"][0, :, 2], sums)
    train.start(simplified, "cpu").save(tmp_path, toml_args(simplified.config))
    with pytest.raises(ConfigError, match="trained as the simplified variant"):
        trained_network(tmp_path / "checkpoint.tar", "original")


def test_both_variants_start_from_the_same_shared_weights() -> None:
    original, simplified = (
        fresh_network(variant, 5).state_dict() for variant in ("original", "simplified")
    )
    shared = original.keys() & simplified.keys()
    assert len(shared) > 0.9 * len(simplified)
    for name in shared:
        torch.testing.assert_close(simplified[name], original[name], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("bank_name", "options", "named"),
    [
        (".", ["--resume"], "state.pt"),
        (".", ["--init", "none.tar"], "none.tar"),
        ("none", [], "index.json"),
    ],
)
def test_a_missing_file_is_one_line_and_exit_1(
    bank_dir: Path, tmp_path: Path, bank_name: str, options: list[str], named: str
) -> None:
    result = run(bank_dir / bank_name, tmp_path, "0.005", *options)
    assert result.exit_code == 1
    assert named in result.output
    assert len(result.output.splitlines()) == 1
