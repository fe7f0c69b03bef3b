"""Sound files to samples: what is read, what is reported."""

from __future__ import annotations

import io
import os
import threading
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


@pytest.mark.parametrize(
    ("container", "subtype"), [*EXACT, *LOSSY, *PADDED, ("CAF", "ALAC_16"), ("CAF", "ALAC_24")]
)
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_truncated_file_is_read_as_far_as_it_goes_with_a_warning(
    tmp_path: Path, container: str, subtype: str, share: float
) -> None:
    path = make_file(tmp_path / "cut", container, subtype, noise(480_000, 1))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    recording = decode.read(path)
    assert recording.truncated
    assert recording.warning
    assert recording.warning.startswith("truncated")
    assert len(recording.samples) == pytest.approx(share * 480_000, abs=50_000)  # a page of Ogg
    with pytest.raises(AudioError, match=r"is truncated.*; leave out --strict \(strict=True\)"):
        decode.read(path, strict=True)


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


def test_a_truncated_wav_is_found_whatever_its_header_holds(tmp_path: Path) -> None:
    path = make_file(tmp_path / "x.wav", "WAV", "PCM_16", noise(48000, 1))
    content = path.read_bytes()
    junk = b"junk" + (500).to_bytes(4, "little") + bytes(500)
    content = content[:36] + junk * 100 + content[36:]
    assert _read(content).warning is None
    assert _read(content[:-40000]).warning == "truncated: 28000 of 48000 samples"


def test_a_truncated_wav_of_the_other_byte_order_is_found(tmp_path: Path) -> None:
    encode.write(tmp_path / "x.wav", noise(4800, 1), replace(plain(), endian="BIG"))
    content = (tmp_path / "x.wav").read_bytes()
    assert content.startswith(b"RIFX")
    assert _read(content[:-4000]).warning == "truncated: 2800 of 4800 samples"


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.parametrize("n_cut", [1, 10, 200])
def test_ogg_without_its_last_bytes_is_truncated(subtype: str, n_cut: int) -> None:
    recording = _read(_whole("OGG", subtype, 48000)[:-n_cut])
    assert recording.truncated
    assert recording.warning
    assert "bytes of its last page" in recording.warning


def test_ogg_that_ends_before_its_samples_is_one_line() -> None:
    with pytest.raises(AudioError, match=r"the stream is truncated \(.*\) and .*; copy it again$"):
        _read(_whole("OGG", "VORBIS")[:100])


def test_ogg_that_ends_between_two_pages_is_truncated() -> None:
    content = _whole("OGG", "VORBIS", 48000)
    recording = _read(content[: content.rindex(b"OggS")])
    assert recording.truncated
    assert recording.warning
    assert "its last page is missing" in recording.warning


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


def _read(content: bytes) -> decode.Recording:
    return decode.read(io.BytesIO(content))


def _whole(container: str, subtype: str = "PCM_16", n_samples: int = 8000) -> bytes:
    file = io.BytesIO()
    with sf.SoundFile(file, "w", 16000, 1, subtype, None, container) as sound:
        sound.write(noise(n_samples, 1))
    return file.getvalue()


def _put(content: bytes, name: bytes, at: int, number: bytes) -> bytes:
    """Return a file with another number at a distance from a name."""
    position = content.index(name) + at
    return content[:position] + number + content[position + len(number) :]


CRASHED = [
    _put(_whole("WAV"), b"data", 4, bytes(4)),
    _put(_put(_whole("WAV"), b"data", 4, bytes(4)), b"RIFF", 4, bytes(4)),
    _put(_whole("WAV", "FLOAT"), b"data", 4, bytes(4)),
    _put(_whole("WAVEX"), b"data", 4, bytes(4)),
    _put(_whole("RF64"), b"ds64", 8, bytes(24)),
    _put(_whole("W64"), b"data", 16, (24).to_bytes(8, "little")),
    _put(_put(_whole("AIFF"), b"COMM", 10, bytes(4)), b"SSND", 4, b"\0\0\0\x08"),
    _put(_whole("CAF"), b"data", 4, (4).to_bytes(8, "big")),
    _put(_whole("AU"), b".snd", 8, bytes(4)),
]


@pytest.mark.parametrize("content", CRASHED)
def test_a_size_of_zero_with_samples_behind_it_means_to_the_end(content: bytes) -> None:
    recording = _read(content)
    assert recording.samples.shape == (8000, 1)
    assert not recording.truncated
    assert recording.warning == "its header announces 0 samples, but 8000 are there"


WRAPPED = [
    _put(_whole("WAV"), b"data", 4, (4000).to_bytes(4, "little")),
    _put(_whole("RF64"), b"ds64", 16, (4000).to_bytes(8, "little")),
    _put(_whole("W64"), b"data", 16, (4024).to_bytes(8, "little")),
    _put(_put(_whole("AIFF"), b"COMM", 10, b"\0\0\x07\xd0"), b"SSND", 4, b"\0\0\x0f\xa8"),
    _put(_whole("CAF"), b"data", 4, (4004).to_bytes(8, "big")),
    _put(_whole("AU"), b".snd", 8, (4000).to_bytes(4, "big")),
    _put(_whole("FLAC"), b"fLaC", 22, (2000).to_bytes(4, "big")),
]


@pytest.mark.parametrize("content", WRAPPED)
def test_more_samples_than_the_header_announces_are_read_with_a_warning(content: bytes) -> None:
    recording = _read(content)
    assert recording.samples.shape == (8000, 1)
    assert recording.warning == "its header announces 2000 samples, but 8000 are there"


TAILS = [b"TAG" + bytes(125), bytes(512), b"\1", b"LIST\4\0\0\0INFO"]


@pytest.mark.parametrize("container", ["WAV", "AIFF", "FLAC", "CAF", "AU", "W64"])
@pytest.mark.parametrize("tail", TAILS[:3])
def test_tags_zeros_and_single_bytes_behind_the_samples_are_no_samples(
    container: str, tail: bytes
) -> None:
    recording = _read(_whole(container) + tail)
    assert (recording.samples.shape, recording.warning) == ((8000, 1), None)


def test_chunks_behind_the_samples_of_a_wav_are_no_samples() -> None:
    recording = _read(_whole("WAV") + TAILS[3])
    assert (recording.samples.shape, recording.warning) == ((8000, 1), None)


@pytest.mark.parametrize("tail", [*TAILS, b"junk of any kind" * 100])
def test_bytes_behind_the_end_of_a_flac_are_passed_over(tail: bytes) -> None:
    recording = _read(_whole("FLAC") + tail)
    assert (recording.samples.shape, recording.warning) == ((8000, 1), None)


@pytest.mark.parametrize(
    ("container", "subtype"),
    [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("AIFF", "PCM_16"), *LOSSY[:2]],
)
def test_of_joined_files_the_first_is_read_and_the_other_reported(
    container: str, subtype: str
) -> None:
    recording = _read(2 * _whole(container, subtype))
    assert recording.samples.shape == (8000, 1)
    assert recording.warning
    assert recording.warning.startswith("another sound file follows")


REPORTS = Path(__file__).parents[1] / "data" / "reports"
CONSTANT = (REPORTS / "cbr64_44100.mp3").read_bytes()
VARIABLE = (REPORTS / "two_bit_rates_48000.mp3").read_bytes()
CHANGE = 16512  # where its second bit rate begins


@pytest.mark.parametrize(
    "before", [b"", bytes(777), bytes(3000), b"ID3\4\0\0\0\0\1\0" + bytes(128)]
)
@pytest.mark.parametrize("after", [b"", b"TAG" + bytes(125)])
def test_an_mp3_that_announces_no_length_is_read_whole(before: bytes, after: bytes) -> None:
    recording = _read(before + CONSTANT + after)
    assert (recording.samples.shape, recording.warning) == ((46080, 1), None)


def test_an_mp3_that_begins_within_a_frame_is_read_from_the_next_one() -> None:
    recording = _read(CONSTANT[100:])
    assert (recording.samples.shape, recording.warning) == ((46080 - 1152, 1), None)


@pytest.mark.parametrize("content", [VARIABLE, VARIABLE[CHANGE:] + VARIABLE[:CHANGE]])
def test_an_mp3_of_several_bit_rates_is_read_whole(content: bytes) -> None:
    recording = _read(content)
    assert (recording.samples.shape, recording.warning) == ((99072, 1), None)


def test_an_mp3_without_a_length_sounds_as_libsndfile_decodes_it() -> None:
    plainly = sf.read(io.BytesIO(CONSTANT), dtype="float32", always_2d=True)[0]
    np.testing.assert_allclose(_read(CONSTANT).samples[: len(plainly)], plainly, atol=1e-6)


def test_an_mp3_that_ends_within_a_frame_is_truncated() -> None:
    recording = _read(CONSTANT[:-50])
    assert recording.truncated
    assert recording.samples.shape == (46080 - 1152, 1)
    assert recording.warning
    assert "of its last frame" in recording.warning


def _counting_frame(name: bytes, at: int, count: bytes) -> bytes:
    """Return a frame like the first one of CONSTANT that has a name at a position."""
    size = 208 + (CONSTANT[2] >> 1 & 1)  # of 64 kbit/s at 44.1 kHz, and the padding
    return (CONSTANT[:4].ljust(at, b"\0") + name + count).ljust(size, b"\0")


@pytest.mark.parametrize(
    "first",
    [
        _counting_frame(b"VBRI", 36, bytes(10) + (40).to_bytes(4, "big")),
        _counting_frame(b"Xing", 21, bytes(4)),  # with no number of frames
        _counting_frame(b"Xing", 21, b"\0\0\0\1" + bytes(4)),
    ],
)
def test_a_first_frame_of_an_mp3_that_counts_the_others_is_no_sound(first: bytes) -> None:
    recording = _read(first + CONSTANT)
    assert (recording.samples.shape, recording.warning) == ((46080, 1), None)


def test_more_frames_of_an_mp3_than_its_first_one_counts_are_read_with_a_warning() -> None:
    first = _counting_frame(b"VBRI", 36, bytes(10) + (10).to_bytes(4, "big"))
    recording = _read(first + CONSTANT)
    assert recording.samples.shape == (46080, 1)
    assert recording.warning == "its header announces 10 MPEG frames, but 40 are there"


def test_an_mp3_that_ends_within_its_second_frame_is_truncated() -> None:
    recording = _read(CONSTANT[:300])
    assert recording.truncated
    assert recording.samples.shape == (1152, 1)


def test_joined_mp3s_are_read_whole_with_a_warning() -> None:
    one = _whole("MP3", "MPEG_LAYER_III", 50000)
    recording = _read(one + one)
    assert len(recording.samples) > 100_000
    assert recording.warning
    assert recording.warning.startswith("its header announces")


def test_padding_of_a_codec_with_blocks_is_left_out() -> None:
    assert len(decode.read(REPORTS / "ima_adpcm.wav").samples) == 16328
    for codec in ("IMA_ADPCM", "MS_ADPCM", "GSM610"):
        content = _whole("WAV", codec)
        content = _put(content, b"fact", 8, (8000).to_bytes(4, "little"))
        assert len(_read(content).samples) == 8000


@pytest.mark.skipif(
    sf.__libsndfile_version__ < "1.2.2", reason="older versions end there without an error"
)
def test_a_flac_of_unknown_length_that_is_damaged_is_read_as_far_as_it_goes() -> None:
    content = _whole("FLAC", n_samples=48000)
    unknown = content[:21] + bytes([content[21] & 0xF0]) + bytes(4) + content[26:]
    recording = _read(unknown[: len(unknown) // 2])
    assert recording.truncated
    assert 16000 < len(recording.samples) < 24000


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "an empty file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
        (b"\n<!DOCTYPE html><html></html>", "an HTML page"),
        (b'{"error": "not found"}', "JSON text"),
        (b"Not Found\n", "text"),
        (b"PK\x03\x04" + bytes(50), "a ZIP archive"),
    ],
)
def test_what_is_no_sound_is_named(content: bytes, kind: str) -> None:
    with pytest.raises(AudioError, match=f"cannot be decoded: it is {kind}.*; give a sound file"):
        _read(content)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\0\0\0\x20ftypM4A ", "an MPEG-4 file"),
        (b"\x1aE\xdf\xa3", "a WebM or Matroska file"),
        (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a Windows Media file"),
        (b"\xff\xf1\x50\x80", "AAC audio"),
    ],
)
def test_what_pyav_reads_is_named_with_the_extra(
    content: bytes, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "has_av", lambda: False)
    with pytest.raises(AudioError, match=rf"it is {kind}.*pip install 'fsnp-onnx\[av\]'"):
        _read(content + bytes(range(256)) * 4)


@pytest.mark.parametrize("content", [_whole("RF64"), _whole("RF64")[:-4000]])
def test_a_bw64_is_read_as_an_rf64(content: bytes) -> None:
    expected, found = _read(content), _read(b"BW64" + content[4:])
    assert np.array_equal(found.samples, expected.samples)
    assert (found.format, found.warning) == (expected.format, expected.warning)


@pytest.mark.parametrize("subtype", ["ULAW", "ALAW", "PCM_16", "PCM_U8"])
def test_a_voc_is_whole_though_libsndfile_may_announce_a_byte_more(subtype: str) -> None:
    recording = _read(_whole("VOC", subtype))
    assert (recording.samples.shape, recording.warning) == ((8000, 1), None)


def test_packets_of_a_sample_dump_that_begin_wrongly_print_nothing(
    capfd: pytest.CaptureFixture[str],
) -> None:
    content = _whole("SDS")
    damaged = content[:275] + b"\1\2" + content[277:]  # the first two bytes of a packet
    assert np.array_equal(_read(damaged).samples, _read(content).samples)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("content", [*(_whole("SDS")[:n] for n in (5, 12, 20, 21, 22, 147))])
def test_a_sample_dump_that_ends_before_its_samples_is_one_line(
    content: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(AudioError, match="it is a MIDI sample dump without a sample"):
        _read(content)
    assert capfd.readouterr() == ("", "")


def test_a_sample_dump_of_no_bits_is_one_line() -> None:
    with pytest.raises(AudioError, match="bad bit width"):
        _read(_put(_whole("SDS"), b"\xf0\x7e", 6, b"\0"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_named_pipe_is_read_as_a_stream(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    content = _whole("WAV", n_samples=600_000)  # more than is looked at before the rest is read
    writer = threading.Thread(target=(tmp_path / "pipe.wav").write_bytes, args=(content,))
    writer.start()
    assert decode.read(tmp_path / "pipe.wav").samples.shape == (600_000, 1)
    writer.join()


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs devices")
@pytest.mark.parametrize("device", ["/dev/zero", "/dev/urandom"])
def test_a_device_that_never_ends_is_refused(device: str) -> None:
    with pytest.raises(AudioError, match="is not a recording"):
        decode.read(Path(device))


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


@pytest.mark.parametrize(
    ("container", "subtype"),
    [*((name, "PCM_16") for name in ("WAV", "AIFF", "RF64", "W64", "CAF", "FLAC")), *LOSSY[:2]],
)
def test_an_id3_tag_in_front_is_passed_over(container: str, subtype: str) -> None:
    picture = b"ID3\4\0\0\0\0\x40\0" + bytes(1 << 13)
    recording = _read(picture + _whole(container, subtype))
    assert (recording.samples.shape, recording.warning) == ((8000, 1), None)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.parametrize("tail", [bytes(5000), b"junk of any kind" * 200])
def test_bytes_behind_the_end_of_an_ogg_are_passed_over(subtype: str, tail: bytes) -> None:
    recording = _read(_whole("OGG", subtype) + tail)
    assert (recording.samples.shape, recording.warning) == ((8000, 1), None)


def test_an_aiff_that_ends_within_its_header_is_an_error_without_a_traceback(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cut.aiff"
    path.write_bytes(_whole("AIFF")[:40])
    with pytest.raises(AudioError, match=r"cut\.aiff"):
        decode.read(path)
    assert capfd.readouterr().err == ""
