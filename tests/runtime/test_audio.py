"""Sound files: what is kept, what is clipped, what is refused."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray

from fsnp_onnx.errors import AudioError, MissingFileError, OutputError
from fsnp_onnx.runtime import audio
from fsnp_onnx.runtime.audio import AudioFormat
from tests.runtime.signals import noise, tone

EXACT = [
    ("WAV", "PCM_U8"),
    ("WAV", "PCM_16"),
    ("WAV", "PCM_24"),
    ("WAV", "PCM_32"),
    ("WAV", "FLOAT"),
    ("WAVEX", "PCM_16"),
    ("FLAC", "PCM_S8"),
    ("FLAC", "PCM_16"),
    ("FLAC", "PCM_24"),
    ("AIFF", "PCM_16"),
    ("AIFF", "PCM_24"),
    ("AU", "PCM_16"),
    ("CAF", "ALAC_16"),
    ("CAF", "ALAC_24"),
    ("W64", "PCM_16"),
    ("RF64", "PCM_24"),
    ("WAV", "ULAW"),
    ("WAV", "ALAW"),
]
LOSSY = [("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")]
PADDED = [("WAV", "IMA_ADPCM"), ("WAV", "MS_ADPCM"), ("WAV", "GSM610")]


def make_file(
    path: Path, container: str, subtype: str, samples: NDArray[np.float32], rate: int = 48000
) -> Path:
    with sf.SoundFile(path, "w", rate, samples.shape[1], subtype, None, container) as file:
        file.write(samples)
    return path


def plain(container: str = "WAV", subtype: str = "PCM_16", channels: int = 1) -> AudioFormat:
    return AudioFormat(container, subtype, "FILE", 16000, channels)


@pytest.mark.parametrize(("container", "subtype"), EXACT)
@pytest.mark.parametrize("channels", [1, 2])
def test_what_is_read_is_written_back_bit_by_bit(
    tmp_path: Path, container: str, subtype: str, channels: int
) -> None:
    first = make_file(tmp_path / "first", container, subtype, 0.99 * noise(3001, channels) / 0.5)
    samples, audio_format = audio.read(first)
    assert audio.write(tmp_path / "second", samples, audio_format) == 0
    again, same_format = audio.read(tmp_path / "second")
    assert same_format == audio_format == AudioFormat(container, subtype, "FILE", 48000, channels)
    assert samples.dtype == np.float32
    assert samples.shape == (3001, channels)
    assert np.array_equal(samples, again)


@pytest.mark.parametrize("endian", ["LITTLE", "BIG"])
def test_byte_order_is_kept(tmp_path: Path, endian: str) -> None:
    source = replace(plain("AIFF"), endian=endian)
    audio.write(tmp_path / "x.aiff", noise(100, 1), source)
    samples, found = audio.read(tmp_path / "x.aiff")
    audio.write(tmp_path / "y.aiff", samples, found)
    assert (tmp_path / "x.aiff").read_bytes() == (tmp_path / "y.aiff").read_bytes()


@pytest.mark.parametrize(("container", "subtype"), LOSSY)
@pytest.mark.parametrize("n_samples", [1, 1151, 1152, 1153, 48001])
def test_lossy_files_keep_length_and_place(
    tmp_path: Path, container: str, subtype: str, n_samples: int
) -> None:
    first = make_file(tmp_path / "first", container, subtype, tone(n_samples, 48000)[:, None])
    samples, audio_format = audio.read(first)
    audio.write(tmp_path / "second", samples, audio_format)
    again, same_format = audio.read(tmp_path / "second")
    assert same_format == audio_format
    assert len(again) == len(samples) == n_samples
    if n_samples > 40000:
        assert np.corrcoef(samples[:, 0], again[:, 0])[0, 1] > 0.999


@pytest.mark.parametrize(("container", "subtype"), PADDED)
def test_codecs_of_whole_blocks_keep_the_length_that_was_read(
    tmp_path: Path, container: str, subtype: str
) -> None:
    source = make_file(tmp_path / "first", container, subtype, tone(9001, 16000)[:, None], 16000)
    samples, audio_format = audio.read(source)
    audio.write(tmp_path / "second", samples, audio_format)
    again, same_format = audio.read(tmp_path / "second")
    assert same_format == audio_format
    assert again.shape == samples.shape
    assert np.corrcoef(samples[:, 0], again[:, 0])[0, 1] > 0.99


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
        audio.read(path)


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
    assert audio.read(path)[0].shape == (48000, 1)


def test_a_truncated_wav_is_refused_whatever_its_header_holds(tmp_path: Path) -> None:
    path = make_file(tmp_path / "x.wav", "WAV", "PCM_16", noise(48000, 1))
    content = path.read_bytes()
    junk = b"junk" + (500).to_bytes(4, "little") + bytes(500)
    content = content[:36] + junk * 100 + content[36:]
    path.write_bytes(content)
    assert audio.read(path)[0].shape == (48000, 1)
    path.write_bytes(content[:-40000])
    with pytest.raises(AudioError, match="is truncated: 56000 of 96000 bytes; copy it again"):
        audio.read(path)


def test_a_truncated_wav_of_the_other_byte_order_is_refused(tmp_path: Path) -> None:
    audio.write(tmp_path / "x.wav", noise(4800, 1), replace(plain(), endian="BIG"))
    content = (tmp_path / "x.wav").read_bytes()
    assert content.startswith(b"RIFX")
    (tmp_path / "x.wav").write_bytes(content[:-4000])
    with pytest.raises(AudioError, match="is truncated: 5600 of 9600 bytes; copy it again"):
        audio.read(tmp_path / "x.wav")


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.parametrize("n_cut", [1, 10, 200])
def test_ogg_without_its_last_bytes_is_refused(tmp_path: Path, subtype: str, n_cut: int) -> None:
    path = make_file(tmp_path / "x.ogg", "OGG", subtype, noise(48000, 1))
    path.write_bytes(path.read_bytes()[:-n_cut])
    with pytest.raises(AudioError, match="is truncated: it ends within a page of Ogg"):
        audio.read(path)


def test_flac_of_unknown_length_is_read_whole(tmp_path: Path) -> None:
    path = make_file(tmp_path / "pipe.flac", "FLAC", "PCM_16", noise(48000, 1))
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # the number of samples: 36 bits of the stream's description
    content[22:26] = bytes(4)
    path.write_bytes(content)
    assert sf.info(path).frames > 1 << 60
    assert audio.read(path)[0].shape == (48000, 1)


@pytest.mark.parametrize(("container", "subtype"), [*EXACT, *LOSSY, *PADDED])
@pytest.mark.parametrize("n_missing", [1, 100, 5000])
def test_a_disk_that_is_full_at_the_end_is_an_error_and_leaves_no_file(
    tmp_path: Path, container: str, subtype: str, n_missing: int
) -> None:
    resource = pytest.importorskip("resource")
    audio_format, samples = plain(container, subtype), noise(48000, 1)
    audio.write(tmp_path / "whole", samples, audio_format)
    size = (tmp_path / "whole").stat().st_size
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size - n_missing, hard))
    try:
        with pytest.raises(OutputError, match=r"cannot write .*cut|is the disk full"):
            audio.write(tmp_path / "cut", samples, audio_format)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert [path.name for path in tmp_path.iterdir()] == ["whole"]


def test_a_comment_that_reads_like_a_line_of_libsndfiles_log_is_not_truncation(
    tmp_path: Path,
) -> None:
    with sf.SoundFile(tmp_path / "x.wav", "w", 16000, 1, "PCM_16") as file:
        file.comment = "data : 5000000 (should be 3)"
        file.write(noise(4800, 1))
    assert audio.read(tmp_path / "x.wav")[0].shape == (4800, 1)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "ULAW", "ALAW"])
def test_integers_clip_instead_of_wrapping_and_are_counted(tmp_path: Path, subtype: str) -> None:
    samples = np.array([[0.5], [1.5], [-0.5], [-7.0], [1e30], [-0.99]], np.float32)
    assert audio.write(tmp_path / "x.wav", samples, plain(subtype=subtype)) == 3
    back, _ = audio.read(tmp_path / "x.wav")
    np.testing.assert_allclose(back[:, 0], [0.5, 1.0, -0.5, -1.0, 1.0, -0.99], atol=0.03)


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_floats_are_never_clipped(tmp_path: Path, subtype: str) -> None:
    samples = np.array([[1.5], [-7.0]], np.float32)
    assert audio.write(tmp_path / "x.wav", samples, plain(subtype=subtype)) == 0
    assert np.array_equal(audio.read(tmp_path / "x.wav")[0], samples)


def test_integers_round_to_the_nearest(tmp_path: Path) -> None:
    samples = np.array([[0.4], [0.6], [-0.4], [-0.6], [20000.6]], np.float32) / np.float32(32768)
    audio.write(tmp_path / "x.wav", samples, plain())
    integers, _ = sf.read(tmp_path / "x.wav", dtype="int16")
    assert integers.tolist() == [0, 1, 0, -1, 20001]


def test_long_vorbis_is_written_in_blocks(tmp_path: Path) -> None:
    code = (
        "import numpy as np; from pathlib import Path; from fsnp_onnx.runtime import audio;"
        "f = audio.AudioFormat('OGG', 'VORBIS', 'FILE', 48000, 1);"
        "audio.write(Path('x.ogg'), np.zeros((3_000_000, 1), np.float32), f);"
        "assert len(audio.read(Path('x.ogg'))[0]) == 3_000_000"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)  # it would crash Python


def test_stream_of_unknown_length_is_read_to_its_end(tmp_path: Path) -> None:
    path = make_file(tmp_path / "x.wav", "WAV", "PCM_16", noise(5000, 1))
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = b"\xff" * 4  # as written into a pipe
    path.write_bytes(content)
    assert len(audio.read(path)[0]) == 5000


def test_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"none\.wav \(No such file"):
        audio.read(tmp_path / "none.wav")
    with pytest.raises(MissingFileError, match="directory"):
        audio.read(tmp_path)


@pytest.mark.parametrize("content", [b"", b"RIFF", b"this is no sound at all" * 100])
@pytest.mark.parametrize("name", ["x.wav", "x.mp3", "x.raw", "x"])
def test_file_that_is_not_audio_is_reported(tmp_path: Path, content: bytes, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(AudioError, match="cannot be decoded"):
        audio.read(path)


def test_a_format_that_libsndfile_does_not_read_is_named_with_a_way_to_convert_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "my talk.m4a"
    path.write_bytes(b"\0\0\0\x20ftypM4A " + bytes(500))
    remedy = r"convert it to WAV first \(ffmpeg -i 'my talk\.m4a' 'my talk\.wav'\)"
    with pytest.raises(AudioError, match=f"this format is not supported; {remedy}"):
        audio.read(path)


@pytest.mark.parametrize("container", ["WAV", "AIFF", "FLAC"])
def test_file_without_samples_is_reported(tmp_path: Path, container: str) -> None:
    path = make_file(tmp_path / "x", container, "PCM_16", np.zeros((0, 1), np.float32))
    with pytest.raises(AudioError, match=r"no samples|cannot be decoded"):
        audio.read(path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_file_with_values_that_are_not_finite_is_reported(tmp_path: Path, value: float) -> None:
    path = make_file(tmp_path / "x", "WAV", "FLOAT", np.full((10, 1), value, np.float32))
    with pytest.raises(AudioError, match="NaN or infinite"):
        audio.read(path)


@pytest.mark.parametrize(
    ("container", "subtype", "rate", "channels"),
    [
        ("OGG", "OPUS", 44100, 1),
        ("MP3", "MPEG_LAYER_II", 44100, 1),
        ("FLAC", "PCM_16", 48000, 9),
        ("WAV", "GSM610", 8000, 2),
    ],
)
def test_format_that_cannot_be_written_is_found_before_the_work(
    container: str, subtype: str, rate: int, channels: int
) -> None:
    source_format, name = AudioFormat(container, subtype, "FILE", rate, channels), Path("x.wav")
    with pytest.raises(AudioError, match=rf"cannot write {container}/{subtype} at {rate} Hz"):
        audio.output_format(name, name, source_format)


@pytest.mark.parametrize(
    ("source", "name", "expected"),
    [
        (("WAV", "PCM_24"), "x.flac", ("FLAC", "PCM_24")),
        (("WAV", "FLOAT"), "x.flac", ("FLAC", "PCM_16")),
        (("WAV", "FLOAT"), "x.WAV", ("WAV", "FLOAT")),
        (("FLAC", "PCM_16"), "x.mp3", ("MP3", "MPEG_LAYER_III")),
        (("MP3", "MPEG_LAYER_III"), "x.wav", ("WAV", "PCM_16")),
        (("OGG", "VORBIS"), "x.oga", ("OGG", "VORBIS")),
        (("OGG", "VORBIS"), "x.opus", ("OGG", "OPUS")),
        (("OGG", "OPUS"), "x.ogg", ("OGG", "OPUS")),
        (("AIFF", "PCM_16"), "x.aif", ("AIFF", "PCM_16")),
    ],
)
def test_another_extension_changes_only_what_it_must(
    source: tuple[str, str], name: str, expected: tuple[str, str]
) -> None:
    found = audio.output_format(Path("noisy"), Path(name), plain(*source, channels=2))
    assert (found.container, found.subtype) == expected
    assert (found.sample_rate, found.channels) == (16000, 2)


@pytest.mark.parametrize("name", ["x", "x.txt", "x.raw", "x.wav.part"])
def test_unknown_extension_is_reported(name: str) -> None:
    with pytest.raises(AudioError, match=r"cannot write x.*; use \.wav, \.flac"):
        audio.output_format(Path("noisy.wav"), Path(name), plain())


def test_a_stream_gets_a_wav() -> None:
    found = audio.output_format(Path("noisy.flac"), io.BytesIO(), plain("FLAC", "PCM_24"))
    assert (found.container, found.subtype) == ("WAV", "PCM_24")


def test_the_same_ending_keeps_a_container_of_another_name() -> None:
    source_format = plain("WAVEX")
    found = audio.output_format(Path("noisy.wav"), Path("enhanced.WAV"), source_format)
    assert found == source_format


class Pipe(io.RawIOBase):
    """A stream that cannot seek and takes or gives a few bytes at a time."""

    def __init__(self, content: bytes = b"") -> None:
        self.content = bytearray(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        taken = self.content[: min(len(buffer), 1000)]
        del self.content[: len(taken)]
        buffer[: len(taken)] = taken
        return len(taken)

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.content += bytes(data)[:1000]
        return min(len(data), 1000)


def test_a_stream_that_cannot_seek_gets_a_whole_file_and_gives_it_back() -> None:
    samples, pipe = noise(3000, 2), Pipe()
    assert audio.write(cast(BinaryIO, pipe), samples, plain("WAV", "FLOAT", channels=2)) == 0
    again, found = audio.read(cast(BinaryIO, Pipe(bytes(pipe.content))))
    assert found == plain("WAV", "FLOAT", channels=2)
    assert np.array_equal(again, samples)


def test_a_stream_of_other_content_is_reported_by_its_name() -> None:
    with pytest.raises(AudioError, match=r"^the stream cannot be decoded"):
        audio.read(io.BytesIO(b"nothing of the kind"))
    with pytest.raises(AudioError, match=r"^standard input cannot be decoded"):
        audio.read(io.BytesIO(b""), name="standard input")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems want names of valid Unicode")
def test_a_name_that_is_not_utf_8_is_read_and_written(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.wav"))
    audio.write(path, noise(100, 1), plain())
    assert audio.read(path)[0].shape == (100, 1)


def test_failed_write_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(b"precious")

    def fail(*_: Any) -> None:
        raise sf.LibsndfileError(2)  # what libsndfile reports when the disk is full

    monkeypatch.setattr(sf.SoundFile, "write", fail)
    with pytest.raises(OutputError, match="is the disk full"):
        audio.write(path, noise(1000, 1), plain())
    assert path.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [path]
