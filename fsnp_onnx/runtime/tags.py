"""What a file says about its recording: title, artist, album, date and comment."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Final

import soundfile as sf

TAGS: Final = ("title", "artist", "album", "date", "comment")
_ID3_FRAMES: Final = dict(zip(TAGS, (b"TIT2", b"TPE1", b"TALB", b"TDRC", b"COMM"), strict=True))
_MOST_BYTES: Final = {"FLAC": 1_000_000, "OGG": 10_000}  # of one text: all of an Opus have 51200
_MOST_BYTES_ELSEWHERE: Final = 2000  # longer ones break an AIFF and hide the others of a WAV


def read_tags(file: sf.SoundFile) -> dict[str, str]:
    """Return the tags that an open file has."""
    return {tag: text for tag in TAGS if (text := getattr(file, tag))}


def write_tags(file: sf.SoundFile, tags: Mapping[str, str]) -> None:
    """Write tags to a new file, before its samples. Containers without a place for one lose it.

    An MP3 gets them from `id3`: libsndfile gives it an old form with 30 letters of Latin-1.
    """
    if file.format == "MP3":
        return
    most = _MOST_BYTES.get(file.format, _MOST_BYTES_ELSEWHERE)
    for tag, text in tags.items():
        stored = text.encode("utf-8", "replace")[:most]
        with suppress(sf.LibsndfileError):
            setattr(file, tag, stored.decode("utf-8", "ignore"))


def id3(tags: Mapping[str, str]) -> bytes:
    """Return tags as ID3 version 2.4, which stands in front of an MP3; nothing for no tags."""
    frames = b""
    for tag, text in tags.items():
        language = b"und\0" if tag == "comment" else b""  # and an empty description
        content = b"\x03" + language + text.encode("utf-8", "replace")
        frames += _ID3_FRAMES[tag] + _seven_bits(len(content)) + b"\0\0" + content
    return b"ID3\4\0\0" + _seven_bits(len(frames)) + frames if frames else b""


def _seven_bits(size: int) -> bytes:
    """Return a size as ID3 stores it: four bytes of seven bits, the highest first."""
    return bytes(size >> shift & 127 for shift in (21, 14, 7, 0))
