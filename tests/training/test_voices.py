"""What the artificial voices say."""

import pytest

from training.voices import LANGUAGES, SENTENCES, Phonemizer


@pytest.fixture(scope="module")
def phonemize() -> Phonemizer:
    return Phonemizer()


def test_every_language_of_a_voice_has_questions_exclamations_and_statements() -> None:
    assert {"a" if letter == "b" else letter for letter in LANGUAGES} == set(SENTENCES)
    for sentences in SENTENCES.values():
        assert len(set(sentences)) == len(sentences)
        for marks in ("?？", "!！", ".。।"):  # noqa: RUF001
            assert any(sentence.endswith(tuple(marks)) for sentence in sentences)


def test_clauses_keep_their_marks(phonemize: Phonemizer) -> None:
    phonemes = phonemize("Who left, my dear? Stop! It rains.", "en-us")
    assert [character for character in phonemes if character in ",?!."] == [",", "?", "!", "."]


@pytest.mark.parametrize("letter", sorted(SENTENCES))
def test_every_sentence_can_be_spoken_in_its_language(phonemize: Phonemizer, letter: str) -> None:
    for sentence in SENTENCES[letter]:
        phonemes = phonemize(sentence, LANGUAGES[letter])
        assert "(" not in phonemes  # espeak-ng's mark of a word that it takes for another language
        assert phonemes.endswith(tuple(".?!"))
        assert 5 < len(phonemes) < 130  # three of them fit into Kokoro's input of 400
