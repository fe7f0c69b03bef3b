"""Samples to sound files: what is kept, what is clipped, what is refused."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pytest
import soundfile as sf

from fsnp_onnx.errors import AudioError, OutputError
from fsnp_onnx.runtime import audio, decode, encode
from fsnp_onnx.runtime.audio import AudioFormat
from tests.runtime.signals import noise, tone
from tests.runtime.sound_files import EXACT, LOSSY, PADDED, make_file, plain, read


@pytest.mark.parametrize(("container", "subtype"), EXACT)
@pytest.mark.parametrize("channels", [1, 2])
def test_what_is_read_is_written_back_bit_by_bit(
    tmp_path: Path, container: str, subtype: str, channels: int
) -> None:
    first = make_file(tmp_path / "first", container, subtype, 0.99 * noise(3001, channels) / 0.5)
    samples, audio_format = read(first)
    assert encode.write(tmp_path / "second", samples, audio_format) == 0
    again, same_format = read(tmp_path / "second")
    assert same_format == audio_format == AudioFormat(container, subtype, "FILE", 48000, channels)
    assert samples.dtype == np.float32
    assert samples.shape == (3001, channels)
    assert np.array_equal(samples, again)


@pytest.mark.parametrize("endian", ["LITTLE", "BIG"])
def test_byte_order_is_kept(tmp_path: Path, endian: str) -> None:
    source = replace(plain("AIFF"), endian=endian)
    encode.write(tmp_path / "x.aiff", noise(100, 1), source)
    samples, found = read(tmp_path / "x.aiff")
    encode.write(tmp_path / "y.aiff", samples, found)
    assert (tmp_path / "x.aiff").read_bytes() == (tmp_path / "y.aiff").read_bytes()


@pytest.mark.parametrize(("container", "subtype"), LOSSY)
@pytest.mark.parametrize("n_samples", [1, 1151, 1152, 1153, 48001])
def test_lossy_files_keep_length_and_place(
    tmp_path: Path, container: str, subtype: str, n_samples: int
) -> None:
    first = make_file(tmp_path / "first", container, subtype, tone(n_samples, 48000)[:, None])
    samples, audio_format = read(first)
    encode.write(tmp_path / "second", samples, audio_format)
    again, same_format = read(tmp_path / "second")
    assert same_format == audio_format
    assert len(again) == len(samples) == n_samples
    if n_samples > 40000:
        assert np.corrcoef(samples[:, 0], again[:, 0])[0, 1] > 0.999


@pytest.mark.parametrize(("container", "subtype"), PADDED)
def test_codecs_of_whole_blocks_keep_the_length_that_was_read(
    tmp_path: Path, container: str, subtype: str
) -> None:
    source = make_file(tmp_path / "first", container, subtype, tone(9001, 16000)[:, None], 16000)
    samples, audio_format = read(source)
    encode.write(tmp_path / "second", samples, audio_format)
    again, same_format = read(tmp_path / "second")
    assert same_format == audio_format
    assert again.shape == samples.shape
    assert np.corrcoef(samples[:, 0], again[:, 0])[0, 1] > 0.99


@pytest.mark.parametrize(("container", "subtype"), [*EXACT, *LOSSY, *PADDED])
@pytest.mark.parametrize("n_missing", [1, 100, 5000])
def test_a_disk_that_is_full_at_the_end_is_an_error_and_leaves_no_file(
    tmp_path: Path, container: str, subtype: str, n_missing: int
) -> None:
    resource = pytest.importorskip("resource")
    audio_format, samples = plain(container, subtype), noise(48000, 1)
    encode.write(tmp_path / "whole", samples, audio_format)
    size = (tmp_path / "whole").stat().st_size
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size - n_missing, hard))
    try:
        with pytest.raises(OutputError, match=r"cannot write .*cut|is the disk full"):
            encode.write(tmp_path / "cut", samples, audio_format)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert [path.name for path in tmp_path.iterdir()] == ["whole"]


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "ULAW", "ALAW"])
def test_integers_clip_instead_of_wrapping_and_are_counted(tmp_path: Path, subtype: str) -> None:
    samples = np.array([[0.5], [1.5], [-0.5], [-7.0], [1e30], [-0.99]], np.float32)
    assert encode.write(tmp_path / "x.wav", samples, plain(subtype=subtype)) == 3
    back, _ = read(tmp_path / "x.wav")
    np.testing.assert_allclose(back[:, 0], [0.5, 1.0, -0.5, -1.0, 1.0, -0.99], atol=0.03)


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_floats_are_never_clipped(tmp_path: Path, subtype: str) -> None:
    samples = np.array([[1.5], [-7.0]], np.float32)
    assert encode.write(tmp_path / "x.wav", samples, plain(subtype=subtype)) == 0
    assert np.array_equal(decode.read(tmp_path / "x.wav").samples, samples)


def test_samples_so_loud_that_the_mp3_encoder_ends_the_process_are_refused(tmp_path: Path) -> None:
    mp3 = AudioFormat("MP3", "MPEG_LAYER_III", "FILE", 16000, 1)
    whole = noise(48000, 1)
    whole /= np.abs(whole).max()
    encode.write(tmp_path / "loud.mp3", 100 * whole, mp3)
    with pytest.raises(AudioError, match=r"up to 3.28e\+04 are too loud for MP3; scale them"):
        encode.write(tmp_path / "x.mp3", 32768 * whole, mp3)
    assert not (tmp_path / "x.mp3").exists()


def test_integers_round_to_the_nearest(tmp_path: Path) -> None:
    samples = np.array([[0.4], [0.6], [-0.4], [-0.6], [20000.6]], np.float32) / np.float32(32768)
    encode.write(tmp_path / "x.wav", samples, plain())
    integers, _ = sf.read(tmp_path / "x.wav", dtype="int16")
    assert integers.tolist() == [0, 1, 0, -1, 20001]


def test_long_vorbis_is_written_in_blocks(tmp_path: Path) -> None:
    code = (
        "import numpy as np; from pathlib import Path; from fsnp_onnx.runtime import audio, decode, encode;"
        "f = audio.AudioFormat('OGG', 'VORBIS', 'FILE', 48000, 1);"
        "encode.write(Path('x.ogg'), np.zeros((3_000_000, 1), np.float32), f);"
        "assert len(decode.read(Path('x.ogg')).samples) == 3_000_000"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)  # it would crash Python


# What libsndfile cannot write, writes wrongly, or crashes on.
@pytest.mark.parametrize(
    ("name", "rate", "channels", "reason"),
    [
        ("x.opus", 44100, 1, "cannot write OGG/OPUS at 44100 Hz with 1 channels"),
        ("x.mp3", 96000, 1, "cannot write MP3/MPEG_LAYER_III at 96000 Hz with 1 channels"),
        ("x.mp3", 48000, 3, "MP3 takes up to 2 channels"),
        ("x.flac", 48000, 9, "FLAC takes up to 8 channels"),
        ("x.ogg", 250_000, 1, "Vorbis takes up to 200000 Hz and 255 channels"),
        ("x.ogg", 200_001, 1, "Vorbis takes up to 200000 Hz and 255 channels"),
        ("x.oga", 48000, 256, "Vorbis takes up to 200000 Hz and 255 channels"),
        ("x.wve", 16000, 1, "its header can only say 8000 Hz"),
        ("x.htk", 44100, 1, "its header can only say 44247 Hz"),
        ("x.svx", 96000, 1, "its header can only say 30464 Hz"),
        ("x.mpc2k", 65536, 1, "libsndfile cannot do it: Internal error"),
        ("x.xi", 16000, 1, "its header can only say 44100 Hz"),
    ],
)
def test_what_cannot_be_written_as_it_is_is_refused_before_the_work(
    name: str, rate: int, channels: int, reason: str
) -> None:
    source_format = AudioFormat("WAV", "PCM_16", "FILE", rate, channels)
    with pytest.raises(AudioError, match=f"{reason}.*; give an output such as NAME"):
        encode.output_format(Path(name), source_format, 1000)


@pytest.mark.parametrize("channels", [1, 16])
@pytest.mark.parametrize(("subtype", "expected"), [("ALAC_16", "PCM_16"), ("ALAC_32", "PCM_24")])
def test_alac_becomes_pcm_as_its_writer_needs_a_file_elsewhere(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    subtype: str,
    expected: str,
    channels: int,
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # where libsndfile would put it
    source_format = AudioFormat("CAF", subtype, "FILE", 48000, channels)
    found = encode.output_format(Path("x.caf"), source_format, 1000)
    assert (found.container, found.subtype) == ("CAF", expected)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_every_format_that_is_accepted_is_written_without_a_crash(tmp_path: Path) -> None:
    code = """
import io, numpy as np, soundfile as sf
from pathlib import Path
from fsnp_onnx.errors import AudioError
from fsnp_onnx.runtime import audio, decode, encode
accepted = 0
for ending, container in audio.CONTAINER_OF.items():
    for subtype in sf.available_subtypes(container):
        for rate in (1, 8000, 44100, 65536, 200_000, 250_000, 10_000_000):
            for channels in (1, 2, 9, 256) if rate == 8000 else (1,):
                wanted = audio.AudioFormat(container, subtype, "FILE", rate, channels)
                try:
                    found = encode.output_format(Path("x." + ending), wanted, 4001)
                except AudioError:
                    continue
                file, samples = io.BytesIO(), np.full((4001 // channels, channels), 0.1, np.float32)
                encode.write(file, samples, found)
                file.seek(0)
                with sf.SoundFile(file) as back:
                    assert (back.samplerate, back.channels) == (rate, channels), (found, back)
                accepted += 1
assert accepted > 500, accepted
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)  # it would crash Python


@pytest.mark.parametrize(
    ("source", "name", "expected"),
    [
        (("WAV", "PCM_24"), "x.flac", ("FLAC", "PCM_24")),
        (("WAV", "FLOAT"), "x.flac", ("FLAC", "PCM_24")),
        (("WAV", "DOUBLE"), "x.flac", ("FLAC", "PCM_24")),
        (("WAV", "PCM_32"), "x.flac", ("FLAC", "PCM_24")),
        (("CAF", "ALAC_20"), "x.flac", ("FLAC", "PCM_24")),
        (("CAF", "ALAC_32"), "x.wav", ("WAV", "PCM_24")),
        (("CAF", "ALAC_16"), "x.wav", ("WAV", "PCM_16")),
        (("WAV", "PCM_U8"), "x.flac", ("FLAC", "PCM_16")),
        (("WAV", "FLOAT"), "x.WAV", ("WAV", "FLOAT")),
        (("WAV", "FLOAT"), "x.mp3", ("MP3", "MPEG_LAYER_III")),
        (("FLAC", "PCM_16"), "x.mp3", ("MP3", "MPEG_LAYER_III")),
        (("MP3", "MPEG_LAYER_II"), "x.mp3", ("MP3", "MPEG_LAYER_III")),
        (("MP3", "MPEG_LAYER_III"), "x.wav", ("WAV", "PCM_16")),
        (("MP3", "MPEG_LAYER_III"), "x.flac", ("FLAC", "PCM_16")),
        (("WAV", "PCM_16"), "x.mp3", ("MP3", "MPEG_LAYER_III")),
        (("OGG", "VORBIS"), "x.oga", ("OGG", "VORBIS")),
        (("OGG", "VORBIS"), "x.opus", ("OGG", "OPUS")),
        (("OGG", "OPUS"), "x.ogg", ("OGG", "OPUS")),
        (("AIFF", "PCM_16"), "x.aif", ("AIFF", "PCM_16")),
        (("WAVEX", "PCM_16"), "x.WAV", ("WAVEX", "PCM_16")),
        (("RF64", "PCM_24"), "x.wav", ("RF64", "PCM_24")),
        (("RF64", "PCM_24"), "x.w64", ("W64", "PCM_24")),
        (("MOV", "AAC"), "x.wav", ("WAV", "PCM_16")),
        (("MOV", "AAC"), "x.flac", ("FLAC", "PCM_16")),
        (("MOV", "PCM_24"), "x.flac", ("FLAC", "PCM_24")),
        (("MATROSKA", "FLOAT"), "x.wav", ("WAV", "FLOAT")),
        (("MATROSKA", "OPUS"), "x.ogg", ("OGG", "OPUS")),
        (("MATROSKA", "OPUS"), "x.opus", ("OGG", "OPUS")),
        (("OGG", "SPEEX"), "x.ogg", ("OGG", "VORBIS")),
        (("PAF", "PCM_24"), "x.paf", ("PAF", "PCM_16")),  # libsndfile loses samples of 24 bits
    ],
)
def test_the_ending_decides_the_container_and_changes_only_what_it_must(
    source: tuple[str, str], name: str, expected: tuple[str, str]
) -> None:
    found = encode.output_format(Path(name), plain(*source, channels=2), 1000)
    assert (found.container, found.subtype) == expected
    assert (found.sample_rate, found.channels) == (16000, 2)


@pytest.mark.parametrize(
    ("container", "ending"),
    [
        ("WAV", ".wav"),
        ("WAVEX", ".wav"),
        ("RF64", ".wav"),
        ("FLAC", ".flac"),
        ("OGG", ".ogg"),
        ("MP3", ".mp3"),
        ("AIFF", ".aiff"),
        ("MOV", ".wav"),
        ("MATROSKA", ".wav"),
    ],
)
def test_a_container_has_an_ending_that_keeps_it_where_it_can_be_written(
    container: str, ending: str
) -> None:
    assert audio.ending_of(container) == ending
    found = encode.output_format(Path(f"x{ending}"), plain(container, "VORBIS"), 1000)
    assert found.container in (container, "WAV")


@pytest.mark.parametrize(
    "name", ["x", "x.txt", "x.raw", "x.wav.part", "x.m4a", "x.sd2", "x.sds", "x."]
)
def test_an_ending_that_stands_for_nothing_that_can_be_written_is_reported(name: str) -> None:
    with pytest.raises(AudioError, match=r"cannot write x.*; use \.wav, \.flac"):
        encode.output_format(Path(name), plain(), 1000)


@pytest.mark.parametrize(
    ("container", "subtype", "bytes_per_sample", "expected"),
    [
        ("WAV", "PCM_16", 2, "RF64"),
        ("WAV", "PCM_24", 3, "RF64"),
        ("WAVEX", "FLOAT", 4, "RF64"),
        ("WAV", "ULAW", 1, "RF64"),
        ("W64", "PCM_16", 2, "W64"),
        ("FLAC", "PCM_16", 2, "FLAC"),
    ],
)
def test_a_wav_beyond_4_gib_is_an_rf64(
    container: str, subtype: str, bytes_per_sample: int, expected: str
) -> None:
    n_samples = 2**32 // (2 * bytes_per_sample)
    ending = audio.ending_of(container)
    audio_format = plain(container, subtype, channels=2)
    large = encode.output_format(Path(f"x{ending}"), audio_format, n_samples)
    small = encode.output_format(Path(f"x{ending}"), audio_format, n_samples - 2**20)
    assert (large.container, large.subtype) == (expected, subtype)
    assert small == audio_format


@pytest.mark.parametrize("ending", [".aiff", ".au"])
def test_another_container_beyond_4_gib_is_refused(ending: str) -> None:
    with pytest.raises(
        AudioError, match=r"4294967296 bytes into .* end at 4 GiB; give .*NAME\.wav"
    ):
        encode.output_format(Path(f"x{ending}"), plain(), 2**31)


def test_a_stream_gets_a_wav() -> None:
    found = encode.output_format(io.BytesIO(), plain("FLAC", "PCM_24"), 1000)
    assert (found.container, found.subtype) == ("WAV", "PCM_24")


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
    assert encode.write(cast(BinaryIO, pipe), samples, plain("WAV", "FLOAT", channels=2)) == 0
    again, found = read(cast(BinaryIO, Pipe(bytes(pipe.content))))
    assert found == plain("WAV", "FLOAT", channels=2)
    assert np.array_equal(again, samples)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems want names of valid Unicode")
def test_a_name_that_is_not_utf_8_is_read_and_written(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.wav"))
    encode.write(path, noise(100, 1), plain())
    assert decode.read(path).samples.shape == (100, 1)


def test_failed_write_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(b"precious")

    def fail(*_: Any) -> None:
        raise sf.LibsndfileError(2)  # what libsndfile reports when the disk is full

    monkeypatch.setattr(sf.SoundFile, "write", fail)
    with pytest.raises(OutputError, match="is the disk full"):
        encode.write(path, noise(1000, 1), plain())
    assert path.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [path]
