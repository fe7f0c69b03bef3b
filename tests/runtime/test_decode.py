"""Sound files to samples: what is read, what is reported."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import soundfile as sf

from fsnp_onnx.errors import AudioError, MissingFileError
from fsnp_onnx.runtime import decode, encode
from tests.runtime.signals import noise
from tests.runtime.sound_files import EXACT, LOSSY, PADDED, make_file, plain


@pytest.mark.parametrize(("container", "subtype"), [*EXACT, *LOSSY, *PADDED])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_truncated_file_is_refused(
    tmp_path: Path, container: str, subtype: str, share: float
) -> None:
    path = make_file(tmp_path / "cut", container, subtype, noise(480_000, 1))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    found_by_decoder = container in ("FLAC", "CAF")  # by some versions of it
    message = "cannot be decoded|is truncated" if found_by_decoder else "is truncated"
    with pytest.raises(AudioError, match=message):
        decode.read(path)


@pytest.mark.parametrize(
    ("container", "name", "size", "order"),
    [
        ("WAV", b"data", 0xFFFFFFFF, "little"),
        ("WAV", b"data", 0x7FFFF000, "little"),
        ("WAV", b"data", 0x80000000, "little"),
        ("WAV", b"data", 96044, "little"),  # the header counted in
        ("AIFF", b"SSND", 0x7F000000, "big"),
    ],
)
def test_a_length_that_a_writer_did_not_know_is_not_truncation(
    tmp_path: Path, container: str, name: bytes, size: int, order: Literal["little", "big"]
) -> None:
    path = make_file(tmp_path / "pipe", container, "PCM_16", noise(48000, 1))
    before, _, after = path.read_bytes().partition(name)
    path.write_bytes(before + name + size.to_bytes(4, order) + after[4:])
    assert decode.read(path).samples.shape == (48000, 1)


def test_a_truncated_wav_is_refused_whatever_its_header_holds(tmp_path: Path) -> None:
    path = make_file(tmp_path / "x.wav", "WAV", "PCM_16", noise(48000, 1))
    content = path.read_bytes()
    junk = b"junk" + (500).to_bytes(4, "little") + bytes(500)
    content = content[:36] + junk * 100 + content[36:]
    path.write_bytes(content)
    assert decode.read(path).samples.shape == (48000, 1)
    path.write_bytes(content[:-40000])
    with pytest.raises(AudioError, match="is truncated: 56000 of 96000 bytes; copy it again"):
        decode.read(path)


def test_a_truncated_wav_of_the_other_byte_order_is_refused(tmp_path: Path) -> None:
    encode.write(tmp_path / "x.wav", noise(4800, 1), replace(plain(), endian="BIG"))
    content = (tmp_path / "x.wav").read_bytes()
    assert content.startswith(b"RIFX")
    (tmp_path / "x.wav").write_bytes(content[:-4000])
    with pytest.raises(AudioError, match="is truncated: 5600 of 9600 bytes; copy it again"):
        decode.read(tmp_path / "x.wav")


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.parametrize("n_cut", [1, 10, 200])
def test_ogg_without_its_last_bytes_is_refused(tmp_path: Path, subtype: str, n_cut: int) -> None:
    path = make_file(tmp_path / "x.ogg", "OGG", subtype, noise(48000, 1))
    path.write_bytes(path.read_bytes()[:-n_cut])
    with pytest.raises(AudioError, match="is truncated: it ends within a page of Ogg"):
        decode.read(path)


def test_flac_of_unknown_length_is_read_whole(tmp_path: Path) -> None:
    path = make_file(tmp_path / "pipe.flac", "FLAC", "PCM_16", noise(48000, 1))
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # the number of samples: 36 bits of the stream's description
    content[22:26] = bytes(4)
    path.write_bytes(content)
    assert sf.info(path).frames > 1 << 60
    assert decode.read(path).samples.shape == (48000, 1)


def test_a_comment_that_reads_like_a_line_of_libsndfiles_log_is_not_truncation(
    tmp_path: Path,
) -> None:
    with sf.SoundFile(tmp_path / "x.wav", "w", 16000, 1, "PCM_16") as file:
        file.comment = "data : 5000000 (should be 3)"
        file.write(noise(4800, 1))
    assert decode.read(tmp_path / "x.wav").samples.shape == (4800, 1)


def test_stream_of_unknown_length_is_read_to_its_end(tmp_path: Path) -> None:
    path = make_file(tmp_path / "x.wav", "WAV", "PCM_16", noise(5000, 1))
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = b"\xff" * 4  # as written into a pipe
    path.write_bytes(content)
    assert len(decode.read(path).samples) == 5000


def test_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"none\.wav \(No such file"):
        decode.read(tmp_path / "none.wav")
    with pytest.raises(MissingFileError, match="directory"):
        decode.read(tmp_path)


@pytest.mark.parametrize("content", [b"", b"RIFF", b"this is no sound at all" * 100])
@pytest.mark.parametrize("name", ["x.wav", "x.mp3", "x.raw", "x"])
def test_file_that_is_not_audio_is_reported(tmp_path: Path, content: bytes, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(AudioError, match="cannot be decoded"):
        decode.read(path)


def test_a_format_that_libsndfile_does_not_read_is_named_with_a_way_to_convert_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "my talk.m4a"
    path.write_bytes(b"\0\0\0\x20ftypM4A " + bytes(500))
    remedy = r"convert it to WAV first \(ffmpeg -i 'my talk\.m4a' 'my talk\.wav'\)"
    with pytest.raises(AudioError, match=f"this format is not supported; {remedy}"):
        decode.read(path)


@pytest.mark.parametrize("container", ["WAV", "AIFF", "FLAC"])
def test_file_without_samples_is_reported(tmp_path: Path, container: str) -> None:
    path = make_file(tmp_path / "x", container, "PCM_16", np.zeros((0, 1), np.float32))
    with pytest.raises(AudioError, match=r"no samples|cannot be decoded"):
        decode.read(path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_file_with_values_that_are_not_finite_is_reported(tmp_path: Path, value: float) -> None:
    path = make_file(tmp_path / "x", "WAV", "FLOAT", np.full((10, 1), value, np.float32))
    with pytest.raises(AudioError, match="NaN or infinite"):
        decode.read(path)


def test_a_stream_of_other_content_is_reported_by_its_name() -> None:
    with pytest.raises(AudioError, match=r"^the stream cannot be decoded"):
        decode.read(io.BytesIO(b"nothing of the kind"))
    with pytest.raises(AudioError, match=r"^standard input cannot be decoded"):
        decode.read(io.BytesIO(b""), name="standard input")
