"""Tags go along: title, artist, album, date and comment."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from fsnp_onnx.runtime import encode
from fsnp_onnx.runtime.tags import TAGS, read_tags
from tests.runtime.signals import noise
from tests.runtime.sound_files import plain

TEXTS = {
    "title": "Gespräch № 1, 対談",
    "artist": "Žofie & Ян",
    "album": "Öffentliches",
    "date": "2026-11-28",
    "comment": "take two\nsecond line 😀",
}
KEPT = {"W64": set(), "AU": set(), "AIFF": {"title", "artist", "comment"}}


@pytest.mark.parametrize(
    ("container", "subtype"),
    [
        ("WAV", "PCM_16"),
        ("WAVEX", "PCM_16"),
        ("RF64", "PCM_16"),
        ("FLAC", "PCM_16"),
        ("OGG", "VORBIS"),
        ("OGG", "OPUS"),
        ("MP3", "MPEG_LAYER_III"),
        ("AIFF", "PCM_16"),
        ("CAF", "PCM_16"),
        ("W64", "PCM_16"),
        ("AU", "PCM_16"),
    ],
)
@pytest.mark.parametrize("as_stream", [False, True])
def test_a_container_gives_back_the_tags_that_it_has_a_place_for(
    tmp_path: Path, container: str, subtype: str, as_stream: bool
) -> None:
    samples, stream = noise(48000, 1), io.BytesIO()
    target = stream if as_stream else tmp_path / "x"
    encode.write(target, samples, plain(container, subtype), TEXTS)
    content = stream.getvalue() if as_stream else (tmp_path / "x").read_bytes()
    with sf.SoundFile(io.BytesIO(content)) as file:
        kept = KEPT.get(container, set(TAGS))
        assert read_tags(file) == {tag: TEXTS[tag] for tag in TAGS if tag in kept}
        assert len(file.read()) == 48000


def test_tags_change_no_sample_of_an_mp3() -> None:
    with_tags, without = io.BytesIO(), io.BytesIO()
    encode.write(with_tags, noise(48000, 1), plain("MP3", "MPEG_LAYER_III"), TEXTS)
    encode.write(without, noise(48000, 1), plain("MP3", "MPEG_LAYER_III"))
    assert with_tags.getvalue().endswith(without.getvalue())
    assert with_tags.getvalue().startswith(b"ID3\4")


def test_a_file_without_tags_has_none() -> None:
    stream = io.BytesIO()
    encode.write(stream, noise(480, 1), plain())
    stream.seek(0)
    with sf.SoundFile(stream) as file:
        assert read_tags(file) == {}


@pytest.mark.parametrize(
    ("container", "subtype", "most"),
    [
        ("WAV", "PCM_16", 2000),
        ("AIFF", "PCM_16", 2000),
        ("CAF", "PCM_16", 2000),
        ("OGG", "OPUS", 10_000),
        ("OGG", "VORBIS", 10_000),
        ("FLAC", "PCM_16", 1_000_000),
    ],
)
def test_long_texts_break_no_file_and_hide_no_other_tag(
    container: str, subtype: str, most: int
) -> None:
    stream = io.BytesIO()
    tags = {"comment": 29_999 * "ö", "title": "short", "artist": 29_999 * "x"}
    encode.write(stream, noise(4800, 1), plain(container, subtype), tags)
    stream.seek(0)
    with sf.SoundFile(stream) as file:
        found = read_tags(file)
        assert np.array_equal(file.read(dtype="float32").shape, (4800,))
    assert found["title"] == "short"
    for tag in ("comment", "artist"):
        assert tags[tag].startswith(found[tag])
        assert len(found[tag]) == min(29_999, most // len(tags[tag][0].encode()))


def test_text_that_no_file_can_hold_is_replaced() -> None:
    stream = io.BytesIO()
    encode.write(stream, noise(480, 1), plain("FLAC"), {"title": "a\udcffb"})
    stream.seek(0)
    with sf.SoundFile(stream) as file:
        assert read_tags(file) == {"title": "a?b"}
