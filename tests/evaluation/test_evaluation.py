"""Evaluation on synthetic signals: no network, no recordings, seconds."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from evaluation import __main__ as command
from evaluation import mulca, peers
from evaluation.material import Material
from evaluation.metrics import METRICS, bootstrap, score
from evaluation.mixtures import PEAKS_DBFS, Item, Mixture, build_mixtures, digest_of
from evaluation.report import write_report
from evaluation.result import DOCS, RESULTS, Evaluation, read_evaluation
from evaluation.scoring import Enhance, Scores, System, evaluate, unprocessed
from evaluation.tables import harm_table
from training.recording import SAMPLE_RATE, Wave

N_SAMPLES = 5 * SAMPLE_RATE


def voice(pitch_hz: float) -> Wave:
    """Harmonics that swell and fade four times a second, as syllables do."""
    time_s = np.arange(3 * SAMPLE_RATE) / SAMPLE_RATE
    harmonics = [np.sin(2 * np.pi * pitch_hz * k * time_s) / k for k in range(1, 20)]
    syllables = np.maximum(0, np.sin(2 * np.pi * 4 * time_s))
    return np.asarray(0.1 * syllables * np.sum(harmonics, axis=0), dtype=np.float32)


def hiss(seed: int, n_samples: int) -> Wave:
    return 0.1 * np.random.default_rng(seed).standard_normal(n_samples).astype(np.float32)


@pytest.fixture(scope="module")
def material() -> Material:
    pitches_hz = {"low": 100, "middle": 130, "high": 170, "child": 240, "bass": 80}
    return Material(
        voices={name: [voice(pitch)] for name, pitch in pitches_hz.items()},
        noises={"hiss": [hiss(0, SAMPLE_RATE)], "keyboard": [hiss(1, 800), hiss(2, 900)]},
    )


@pytest.fixture(scope="module")
def mixtures(material: Material) -> list[Mixture]:
    return build_mixtures(material, snrs_db=(5, 20), n_samples=N_SAMPLES)


def refuse() -> Enhance:
    raise AssertionError("a cached score was computed again")


def halve() -> Enhance:
    return lambda noisy: noisy * np.float32(0.5)


def fail() -> Enhance:
    raise OSError("no library")


def run(arguments: list[str]) -> Result:
    app = typer.Typer()
    app.command()(command.main)
    return CliRunner().invoke(app, arguments)


def a_few(material: Material) -> list[Mixture]:
    """A set with all three parts that is scored in seconds."""
    mixtures = build_mixtures(material, snrs_db=(5,), n_samples=N_SAMPLES)
    noisy, clean, *levels = (
        [mixture for mixture in mixtures if mixture.item.part == part]
        for part in ("noisy", "clean", "level")
    )
    return [noisy[0], clean[0], *levels[0][: len(PEAKS_DBFS)]]


def as_evaluation(mixtures: list[Mixture], gain: float) -> Evaluation:
    """Noisy scores that rise from file to file, and a model that is ahead by `gain` in all."""
    noisy = {m.item.name: dict.fromkeys(METRICS, i / 10) for i, m in enumerate(mixtures)}
    ours = {name: {key: value + gain for key, value in row.items()} for name, row in noisy.items()}
    return of_scores([mixture.item for mixture in mixtures], {"noisy": noisy, "ours": ours})


def of_scores(items: list[Item], scores: dict[str, Scores]) -> Evaluation:
    return Evaluation(
        digest="0123456789ab",
        duration_s=5.0,
        models=["ours"],
        missing=["PeerX (x): no wheel"],
        versions={"python": "3.11.1"},
        machine="Abacus 9, 2 cores",
        items=items,
        scores=scores,
    )


def test_the_set_is_the_same_on_every_build(material: Material, mixtures: list[Mixture]) -> None:
    again = build_mixtures(material, snrs_db=(5, 20), n_samples=N_SAMPLES)
    assert digest_of(again) == digest_of(mixtures)
    assert len({mixture.digest for mixture in mixtures}) == len(mixtures)


def test_every_noise_meets_every_snr_and_every_voice_is_heard_clean(
    material: Material, mixtures: list[Mixture]
) -> None:
    noisy = {(m.item.noise, m.item.snr_db) for m in mixtures if m.item.part == "noisy"}
    assert noisy == {(kind, snr) for kind in ("babble", "hiss", "keyboard") for snr in (5, 20)}
    assert {m.item.voice for m in mixtures if m.item.part == "clean"} == set(material.voices)


def test_dry_mixtures_have_the_snr_they_are_named_after(mixtures: list[Mixture]) -> None:
    dry = [m for m in mixtures if m.item.part == "noisy" and not m.item.reverberant]
    assert dry
    for mixture in dry:
        noise = mixture.noisy - mixture.target
        snr_db = 10 * np.log10(np.sum(mixture.target**2) / np.sum(noise**2))
        assert snr_db == pytest.approx(mixture.item.snr_db, abs=0.01)


def test_a_room_adds_late_reflections_that_the_target_lacks(material: Material) -> None:
    in_room = [
        m
        for m in build_mixtures(material, snrs_db=(60,), n_samples=N_SAMPLES)
        if m.item.part == "noisy" and m.item.reverberant
    ]
    assert in_room
    for mixture in in_room:
        late = mixture.noisy - mixture.target
        ratio_db = 10 * np.log10(np.sum(mixture.target**2) / np.sum(late**2))
        assert 0 < ratio_db < 40


def test_clean_speech_is_its_own_target(mixtures: list[Mixture]) -> None:
    for mixture in mixtures:
        if mixture.item.part == "clean":
            np.testing.assert_array_equal(mixture.noisy, mixture.target)


def test_nothing_clips_and_levels_are_peaks(mixtures: list[Mixture]) -> None:
    assert max(np.abs(mixture.noisy).max() for mixture in mixtures) <= 1
    peaks = [20 * np.log10(np.abs(m.noisy).max()) for m in mixtures if m.item.part == "level"]
    assert len(peaks) == 3 * len(PEAKS_DBFS)
    np.testing.assert_allclose(peaks, PEAKS_DBFS * 3, atol=0.01)


@pytest.mark.slow
def test_speech_scores_best_against_itself() -> None:
    target = voice(120)
    own, noisy = score(target, target), score(target, target + hiss(3, target.size))
    assert own["pesq"] > 4.5
    assert own["stoi"] == pytest.approx(1, abs=1e-6)
    assert own["si_sdr_db"] == pytest.approx(100)
    assert all(noisy[key] < own[key] for key in ("pesq", "stoi", "si_sdr_db", "bak"))
    assert set(own) == set(METRICS)


@pytest.mark.slow
def test_si_sdr_is_the_ratio_to_orthogonal_noise_at_any_gain() -> None:
    target, noise = voice(120), hiss(4, 3 * SAMPLE_RATE)
    noise -= target * np.dot(noise, target) / np.dot(target, target)
    noise *= np.linalg.norm(target) / np.linalg.norm(noise) * 10 ** (-12 / 20)
    assert score(target, 0.3 * (target + noise))["si_sdr_db"] == pytest.approx(12, abs=0.01)


@pytest.mark.parametrize("enhanced", [voice(120)[:-1], np.full(3 * SAMPLE_RATE, np.nan)])
def test_a_wrong_length_or_a_nan_is_refused(enhanced: Wave) -> None:
    with pytest.raises(ValueError, match="expected finite samples"):
        score(voice(120), enhanced.astype(np.float32))


def test_an_interval_holds_the_mean_and_narrows_with_more_files() -> None:
    few, many = bootstrap([1, 2, 3, 4]), bootstrap([1, 2, 3, 4] * 16)
    assert few == bootstrap([1, 2, 3, 4])
    assert few.low < few.mean == many.mean == 2.5 < few.high
    assert many.high - many.low < few.high - few.low
    assert bootstrap([3, 3, 3]).low == bootstrap([3, 3, 3]).high == 3


@pytest.mark.slow
def test_scores_are_cached_by_mixture(mixtures: list[Mixture], tmp_path: Path) -> None:
    some = mixtures[:2]
    fresh = list(evaluate([System("half", "half", halve)], some, tmp_path, 1))
    cached = list(evaluate([System("half", "half", refuse)], some, tmp_path, 1))
    assert [row for _, _, row in cached] == [row for _, _, row in fresh]
    assert (tmp_path / "half" / f"{some[0].item.name}.flac").is_file()


def test_every_peer_is_opened_or_named_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        peers,
        "PEERS",
        (("there", "numpy", halve), ("gone", "no-such-wheel", fail)),
    )
    found, missing = peers.find_peers()
    assert [system.title for system in found] == ["there"]
    assert found[0].key == f"numpy-{np.__version__}"
    assert missing == ["gone (no-such-wheel): no library"]


def test_a_streaming_peer_is_aligned() -> None:
    noisy = hiss(5, 1000)
    memory = np.zeros(30, np.float32)

    def delayed(block: Wave) -> Wave:
        nonlocal memory
        memory = np.concatenate([memory, block])
        output, memory = memory[: block.size], memory[block.size :]
        return output

    aligned = peers.by_frames(noisy, delayed, hop=160, delay=30)
    np.testing.assert_array_equal(aligned, noisy)


def test_the_report_tells_what_was_measured(mixtures: list[Mixture], tmp_path: Path) -> None:
    evaluation = as_evaluation(mixtures, gain=0.5)
    evaluation.write(tmp_path / "quality.json")
    write_report(tmp_path, tmp_path)
    page = (tmp_path / "quality.md").read_text()
    assert "| noisy | +0.50 [+0.50, +0.50] | +0.500 [+0.500, +0.500] | +0.5 [+0.5, +0.5] |" in page
    assert "| noisy | 0.25 ▼ | 0.250 ▼ |" in page
    assert "| **ours** | 0.75 [" in page
    assert "PeerX (x): no wheel" in page
    assert (tmp_path / "quality.png").read_bytes().startswith(b"\x89PNG")
    assert read_evaluation(tmp_path / "quality.json") == evaluation


@pytest.mark.parametrize(("gain", "harmful"), [(-0.25, False), (-0.35, True)])
def test_harm_is_marked_beyond_what_is_allowed(
    mixtures: list[Mixture], gain: float, harmful: bool
) -> None:
    page = harm_table(as_evaluation(mixtures, gain))
    quiet = next(line for line in page.splitlines() if line.startswith("| ours, 20 dB"))
    pesq, stoi = quiet.split(" | ")[1:3]
    assert pesq.endswith("!") == harmful
    assert stoi == f"{gain:+.3f} !"


@pytest.mark.parametrize(("si_sdr_db", "harmful"), [(24.9, True), (25.0, False)])
def test_the_si_sdr_of_clean_speech_is_an_absolute_number(
    mixtures: list[Mixture], si_sdr_db: float, harmful: bool
) -> None:
    evaluation = as_evaluation(mixtures, 0.0)
    for row in evaluation.scores["ours"].values():
        row["si_sdr_db"] = si_sdr_db
    clean = harm_table(evaluation).splitlines()[-1].split(" | ")[3]
    assert clean == f"{si_sdr_db:.1f}" + (" !" if harmful else "")


@pytest.mark.slow
def test_one_command_fetches_scores_and_reports(
    material: Material, unity_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "fetch", lambda _: None)
    monkeypatch.setattr(command, "load_material", lambda _: material)
    monkeypatch.setattr(command, "build_mixtures", a_few)
    monkeypatch.setattr(command, "find_peers", lambda: ([], ["PeerX (x): no wheel"]))
    folders = {"--data": tmp_path / "data", "--results": tmp_path, "--docs": tmp_path / "docs"}
    options = [text for name, folder in folders.items() for text in (name, str(folder))]
    result = run([f"unity={unity_path}", *options, "--processes", "1"])
    assert result.exit_code == 0, result.output
    found = read_evaluation(tmp_path / "quality.json")
    assert found.digest == digest_of(a_few(material))
    for name, row in found.scores["unity"].items():  # a mask of one returns the input
        assert row == pytest.approx(found.scores["noisy"][name], abs=0.02)
    assert "](../quality.json)" in (tmp_path / "docs/quality.md").read_text()


def test_a_missing_model_is_one_line_and_exit_1(tmp_path: Path) -> None:
    result = run([str(tmp_path / "none.onnx"), "--data", str(tmp_path)])
    assert result.exit_code == 1
    assert "none.onnx" in result.output
    assert "Traceback" not in result.output


def test_the_noisy_input_is_a_system_that_changes_nothing() -> None:
    noisy = hiss(6, 100)
    np.testing.assert_array_equal(unprocessed().open()(noisy), noisy)


def scored(titles: dict[str, float]) -> Evaluation:
    """An evaluation in which every system scores 1 plus its gain on every file."""
    items = [Item(f"file{i}", "noisy", "low", "hiss", 5.0, reverberant=False) for i in range(5)]
    scores = {
        title: {item.name: dict.fromkeys(METRICS, 1 + gain) for item in items}
        for title, gain in titles.items()
    }
    return of_scores(items, scores)


def test_the_mulca_page_shows_differences_file_by_file(tmp_path: Path) -> None:
    gains = {"noisy": 0.0, "original-0": 0.5, "simplified-0": 0.75, "converted-0": 0.25}
    gains |= {"original-1": 0.5, "simplified-1": 0.5, "converted-1": 0.5}
    scored(gains).write(tmp_path / "scores.json")
    page = tmp_path / "mulca.md"
    page.write_text("before\n<!-- measured -->\nold\n<!-- end of measured -->\nafter\n")
    for _ in range(2):  # the second time replaces the first
        mulca.main(tmp_path / "scores.json", tmp_path, tmp_path)
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n<!-- measured -->\n")
    assert text.endswith("<!-- end of measured -->\nafter\n")
    assert "old" not in text
    assert read_evaluation(tmp_path / "mulca.json") == scored(gains)
    assert "| simplified - original, seed 0 | +0.250 [+0.250, +0.250] |" in text
    assert "| simplified - original, mean of seeds | +0.125 " in text
    assert "| converted - original, mean of seeds | -0.125 " in text
    assert (tmp_path / "mulca.png").read_bytes().startswith(b"\x89PNG")


def test_a_variant_that_was_not_scored_is_named(tmp_path: Path) -> None:
    scored({"original-0": 0.0}).write(tmp_path / "scores.json")
    with pytest.raises(typer.BadParameter, match="lacks scores of converted-0, simplified-0"):
        mulca.main(tmp_path / "scores.json", tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("name", "write"),
    [("quality", write_report), ("mulca", partial(mulca.main, RESULTS / "mulca.json"))],
)
def test_the_committed_pages_are_what_the_committed_numbers_say(
    name: str, write: Callable[[Path, Path], None], tmp_path: Path
) -> None:
    results, docs = tmp_path / RESULTS, tmp_path / DOCS
    for folder in (RESULTS, DOCS):
        (tmp_path / folder).mkdir(parents=True)
        for file in folder.glob(f"{name}.*"):
            shutil.copy(file, tmp_path / folder)
    write(results, docs)
    page = f"{name}.md"
    assert (docs / page).read_text() == (DOCS / page).read_text()
