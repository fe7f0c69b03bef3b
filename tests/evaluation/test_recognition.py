"""Passages and word errors, with a recogniser that writes down how loud it is."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.material import Material
from evaluation.passages import Passage, Sentence, build_passages
from evaluation.recognition import SETTINGS, count_errors
from evaluation.word_errors import Count, recognition_section, recognition_table, word_errors
from fsnp_onnx import Enhancer
from training.recording import SAMPLE_RATE, Wave

WORDS = st.lists(st.sampled_from("abcd"), max_size=8)


def sound(seed: int, seconds: float) -> Wave:
    n_samples = int(seconds * SAMPLE_RATE)
    return 0.1 * np.random.default_rng(seed).standard_normal(n_samples).astype(np.float32)


@pytest.fixture(scope="module")
def passages() -> list[Passage]:
    said = {name: [Sentence(sound(i, 1), f"{name} says {i}") for i in range(4)] for name in "ab"}
    crowd = {name: [sound(9, 1)] for name in ("low", "high", "child", "bass")}
    return build_passages(said, Material(crowd, {"hiss": [sound(8, 1)]}), (np.inf, 0), seconds=2)


@pytest.mark.parametrize(
    ("heard", "errors"), [("a b c", 0), ("a x c", 1), ("a c", 1), ("a b b c", 1), ("", 3)]
)
def test_a_word_that_is_wrong_missing_or_added_is_one_error(heard: str, errors: int) -> None:
    assert word_errors(["a", "b", "c"], heard.split()) == errors


@given(WORDS, WORDS, WORDS)
def test_word_errors_are_a_distance(a: list[str], b: list[str], c: list[str]) -> None:
    assert word_errors(a, b) == word_errors(b, a)
    assert (word_errors(a, b) == 0) == (a == b)
    assert abs(len(a) - len(b)) <= word_errors(a, b) <= max(len(a), len(b))
    assert word_errors(a, c) <= word_errors(a, b) + word_errors(b, c)


def test_every_noise_meets_one_passage_at_every_snr(passages: list[Passage]) -> None:
    assert [p.name for p in passages] == ["a0_babble", "a0_babble", "b0_hiss", "b0_hiss"]
    for clean, noisy in zip(passages[::2], passages[1::2], strict=True):
        assert clean.text == noisy.text
        speech = clean.noisy / np.linalg.norm(clean.noisy)
        along = np.dot(noisy.noisy, speech)
        noise = noisy.noisy - along * speech
        assert 20 * np.log10(along / np.linalg.norm(noise)) == pytest.approx(0, abs=0.2)
        assert np.abs(noisy.noisy).max() < 1


def test_errors_are_counted_before_and_after_each_setting(
    passages: list[Passage], unity_path: Path
) -> None:
    heard: list[Wave] = []

    def recognise(samples: Wave) -> list[str]:
        heard.append(samples)
        return passages[0].text.split()[1:]

    counts = count_errors(passages[0], {"unity": Enhancer(unity_path, "cpu")}, recognise, str.split)
    assert [count.setting for count in counts] == ["noisy", *(f"unity, {s}" for s in SETTINGS)]
    assert {(count.errors, count.words, count.snr_db) for count in counts} == {(1, 6, None)}
    for samples in heard:  # a mask of one returns the input
        np.testing.assert_allclose(samples, passages[0].noisy, rtol=0, atol=1e-5)


def counts() -> list[Count]:
    """Two passages of ten words; noise costs four words, enhancement gives two back."""
    rows = [("noisy", None, 1), ("noisy", 5.0, 4), ("m, full", None, 1), ("m, full", 5.0, 2)]
    return [
        Count(name, snr_db, setting, 10, errors)
        for name in ("one", "two")
        for setting, snr_db, errors in rows
    ]


def test_the_table_shows_rates_and_what_enhancement_changes() -> None:
    header, _, noisy, full = recognition_table(counts()).splitlines()
    assert header == "| word errors, % | clean | 5 dB | all in noise | against noisy |"
    assert noisy == "| noisy | 10 | 40 | 40 |  |"
    assert full == "| m, full | 10 | 20 | 20 | -20.0 [-20.0, -20.0] |"


def test_the_page_has_no_section_where_nothing_was_recognised(tmp_path: Path) -> None:
    assert recognition_section(tmp_path) == ""
