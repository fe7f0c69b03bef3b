"""What libsndfile does not read, by PyAV: exact to the sample, no other files, no network."""

from __future__ import annotations

import io
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fsnp_onnx.errors import AudioError
from fsnp_onnx.runtime import decode
from tests.runtime.signals import noise

av = pytest.importorskip("av")

from fsnp_onnx.runtime import av_decoder
from fsnp_onnx.runtime.av_decoder import decode_with_av
from fsnp_onnx.runtime.decode import watch_nothing
from tests.runtime.av_files import encoded, with_pictures

N_SAMPLES = 48000 + 123  # no whole number of packets


def voice(n_samples: int = N_SAMPLES, channels: int = 1) -> NDArray[np.float32]:
    """Return low noise under a rising envelope, another one in each channel, that codecs keep."""
    smooth = np.apply_along_axis(
        np.convolve, 0, noise(n_samples, channels), np.hanning(64) / 8, "same"
    )
    return (smooth * np.linspace(0.2, 1, n_samples)[:, None]).astype(np.float32)


def lag(samples: NDArray[np.float32], other: NDArray[np.float32]) -> int:
    """Return how many samples the first signal is behind the second one."""
    n_fft = 2 * max(len(samples), len(other))
    spectrum = np.fft.rfft(samples, n_fft) * np.fft.rfft(other, n_fft).conj()
    place = int(np.argmax(np.fft.irfft(spectrum)))
    return place - n_fft if place > n_fft // 2 else place


@pytest.mark.parametrize(
    ("container", "codec", "stored", "subtype"),
    [
        ("ipod", "alac", "s16p", "PCM_16"),
        ("ipod", "alac", "s32p", "PCM_24"),
        ("mov", "pcm_s16be", "s16", "PCM_16"),
        ("mov", "pcm_s24le", "s32", "PCM_24"),
        ("mov", "pcm_f32le", "flt", "FLOAT"),
        ("mov", "pcm_f64le", "dbl", "FLOAT"),
        ("mov", "pcm_u8", "u8", "PCM_16"),
        ("mp4", "flac", "s16", "PCM_16"),
        ("matroska", "flac", "s32", "PCM_24"),
        ("matroska", "pcm_f32le", "flt", "FLOAT"),
        ("wv", "wavpack", "s16p", "PCM_16"),
        ("wv", "wavpack", "fltp", "FLOAT"),
        ("tta", "tta", "s16", "PCM_16"),
        ("avi", "pcm_s16le", "s16", "PCM_16"),
    ],
)
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_a_lossless_file_gives_back_its_samples(
    container: str, codec: str, stored: str, subtype: str, channels: int
) -> None:
    bits = {"u8": 8, "s16": 16, "s16p": 16, "s32": 24, "s32p": 24}.get(stored)
    samples = voice(channels=channels)
    if bits:
        samples = (np.rint(samples * 2 ** (bits - 1)) / 2 ** (bits - 1)).astype(np.float32)
    found = decode_with_av(
        io.BytesIO(encoded(samples, container, codec, 44100, stored=stored)), "x"
    )
    assert found.samples.dtype == np.float32
    assert np.array_equal(found.samples, samples)
    assert (found.format.sample_rate, found.format.channels) == (44100, channels)
    assert found.format.subtype == subtype
    assert (found.truncated, found.warning) == (False, None)


@pytest.mark.parametrize(
    ("container", "codec", "rate", "n_more"),
    [
        ("ipod", "aac", 44100, 0),
        ("mp4", "aac", 48000, 0),
        ("mov", "aac", 16000, 0),
        ("mp4", "libopus", 48000, 0),
        ("3gp", "libopencore_amrnb", 8000, 0),
        ("webm", "libopus", 48000, 0),
        ("matroska", "libopus", 48000, 0),
        ("ogg", "libopus", 48000, 0),
        ("mp4", "ac3", 48000, 1536),  # the last packet is filled up
        ("mp4", "libmp3lame", 44100, 1152),
    ],
)
def test_a_lossy_file_keeps_length_and_place(
    container: str, codec: str, rate: int, n_more: int
) -> None:
    samples = voice()
    # else an mp4 gives its length in milliseconds, by which some versions of FFmpeg cut it
    options = {"movie_timescale": str(rate)} if container in ("ipod", "mp4", "mov", "3gp") else {}
    content = encoded(samples, container, codec, rate, options=options)
    found = decode_with_av(io.BytesIO(content), "x")
    assert 0 <= len(found.samples) - len(samples) <= n_more
    tolerance = 40 if "amr" in codec else 1  # which models a voice rather than keep its waveform
    assert abs(lag(found.samples[:, 0], samples[:, 0])) <= tolerance
    assert (found.format.sample_rate, found.warning) == (rate, None)


@pytest.mark.parametrize(
    ("container", "codec", "rate"),
    [
        ("adts", "aac", 48000),
        ("amr", "libopencore_amrnb", 8000),
        ("ac3", "ac3", 48000),
        ("eac3", "eac3", 48000),
        ("mpegts", "aac", 48000),
        ("asf", "wmav2", 44100),
        ("flv", "aac", 44100),
    ],
)
def test_a_file_that_does_not_say_its_codecs_delay_keeps_every_sample_but_for_it(
    container: str, codec: str, rate: int
) -> None:
    samples = voice()
    found = decode_with_av(io.BytesIO(encoded(samples, container, codec, rate)), "x")
    assert abs(len(found.samples) - len(samples)) <= 2048
    assert abs(lag(found.samples[:, 0], samples[:, 0])) <= 2048
    assert (found.truncated, found.warning) == (False, None)


@pytest.mark.parametrize(
    ("container", "codec", "options"),
    [
        ("mp4", "aac", {"moov_size": "20000"}),
        ("ipod", "alac", {"moov_size": "20000"}),
        ("matroska", "aac", {}),
        ("webm", "libopus", {}),
        ("asf", "wmav2", {}),
        ("flv", "aac", {}),
        ("matroska", "flac", {}),
        ("wv", "wavpack", {}),
    ],
)
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_truncated_file_gives_what_is_there_and_says_how_much_it_announces(
    container: str, codec: str, options: dict[str, str], share: float
) -> None:
    samples = voice(10 * 48000)
    content = encoded(samples, container, codec, options=options)
    found = decode_with_av(io.BytesIO(content[: int(len(content) * share)]), "x")
    n_found = len(found.samples)
    assert 0.7 * share < n_found / len(samples) < 1.1 * share
    assert found.truncated
    assert found.warning is not None
    words = found.warning.split()
    assert words[:3] == ["truncated:", str(n_found), "of"]
    assert abs(int(words[3]) - len(samples)) < 4096


def test_a_recording_without_its_index_is_one_line() -> None:
    content = encoded(voice(), "ipod", "aac")
    with pytest.raises(
        AudioError, match=r"^x cannot be decoded: its index is missing, .*copy it again$"
    ):
        decode_with_av(io.BytesIO(content[: len(content) // 2]), "x")


def test_damaged_packets_are_left_out_and_counted() -> None:
    samples = voice(10 * 48000)
    content = bytearray(encoded(samples, "adts", "aac"))
    middle = content.index(b"\xff\xf1", len(content) // 2) + 7
    content[middle : middle + 60] = b"\xff" * 60
    found = decode_with_av(io.BytesIO(content), "x")
    assert len(found.samples) > 0.9 * len(samples)
    assert not found.truncated
    assert found.warning is not None
    assert found.warning.startswith("damaged: ")
    assert f"{len(found.samples)} samples" in found.warning


@pytest.mark.parametrize("container", ["mp4", "mov", "matroska", "avi", "mpegts"])
def test_the_sound_of_a_video_is_read(container: str) -> None:
    codec = "aac" if container != "avi" else "libmp3lame"
    found = decode_with_av(io.BytesIO(with_pictures(voice(), container, codec)), "x")
    assert abs(len(found.samples) - N_SAMPLES) <= 2048
    assert (found.format.channels, found.warning) == (1, None)


def test_a_video_without_sound_is_one_line() -> None:
    with pytest.raises(AudioError, match="x cannot be decoded: it has no sound; give a recording"):
        decode_with_av(io.BytesIO(with_pictures(None, "mp4", "aac")), "x")


@pytest.mark.parametrize(
    ("container", "codec"), [("ipod", "aac"), ("matroska", "libopus"), ("asf", "wmav2")]
)
def test_tags_of_the_container_are_read(container: str, codec: str) -> None:
    tags = {
        "title": "Gespräch 対談",
        "artist": "N.N.",
        "album": "A",
        "comment": "two",
        "date": "2026",
    }
    found = decode_with_av(io.BytesIO(encoded(voice(), container, codec, 48000, tags=tags)), "x")
    assert found.tags == tags


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html><body>not found</body></html>" * 50,
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n",
        np.random.default_rng(0).bytes(100_000),
    ],
)
def test_what_is_no_sound_is_one_line(content: bytes) -> None:
    with pytest.raises(AudioError, match=r"^x cannot be decoded: this is no sound .*to WAV first$"):
        decode_with_av(io.BytesIO(content), "x")


def test_a_duration_that_is_no_time_is_passed_over() -> None:
    content = encoded(voice(), "matroska", "pcm_s16le", stored="s16")
    damaged = content.replace(b"00:00:01.003", b"about a sec.")
    assert damaged != content
    found = decode_with_av(io.BytesIO(damaged), "x")
    assert (len(found.samples), found.warning) == (N_SAMPLES, None)


def test_no_other_file_and_no_network_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/x.ts"
    other = tmp_path / "other.ts"
    other.write_bytes(encoded(voice(), "mpegts", "aac"))
    monkeypatch.chdir(tmp_path)
    playlists = [
        f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{place}\n#EXT-X-ENDLIST\n"
        for place in (url, other, other.name, f"file:{other}")
    ]
    playlists += [f"ffconcat version 1.0\nfile {place}\n" for place in (url, other.name)]
    sdp = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n"
    for number, playlist in enumerate((*playlists, sdp)):
        path = tmp_path / f"{number}.m3u8"
        path.write_text(playlist, "utf-8")
        with path.open("rb") as file, pytest.raises(AudioError, match="this is no sound"):
            decode_with_av(file, path.name)
    with pytest.raises(BlockingIOError):
        listener.accept()
    listener.close()


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    content = encoded(voice(), "adts", "aac")
    capfd.readouterr()
    decode_with_av(io.BytesIO(content[:-100]), "x")
    with pytest.raises(AudioError):
        decode_with_av(io.BytesIO(os.urandom(5000)), "x")
    assert capfd.readouterr() == ("", "")


def test_eight_channels_that_lie_apart_are_read() -> None:
    apart = voice(channels=8)
    content = encoded(apart, "wv", "wavpack", stored="fltp")
    np.testing.assert_array_equal(decode_with_av(io.BytesIO(content), "x").samples, apart)


def test_another_stream_that_begins_on_the_way_ends_what_is_read() -> None:
    def packets(stream: Any) -> Iterator[Any]:
        yield from list(whole.demux(stream))[:20]
        raise IndexError  # of PyAV, which does not know the new one

    with av.open(io.BytesIO(encoded(voice(), "mpegts", "aac"))) as whole:
        container = SimpleNamespace(demux=packets, format=whole.format)
        blocks, rate, n_damaged = av_decoder._decoded(
            container, whole.streams.audio[0], watch_nothing
        )
    assert (rate, n_damaged) == (48000, 1)
    assert 0 < sum(map(len, blocks)) <= 20 * 1024


def test_a_change_of_the_sample_rate_on_the_way_is_one_line() -> None:
    content = encoded(voice(), "adts", "aac", 48000) + encoded(voice(), "adts", "aac", 16000)
    with pytest.raises(AudioError, match="its sample rate or channels change on the way"):
        decode_with_av(io.BytesIO(content), "x")


def test_a_codec_without_a_decoder_is_one_line() -> None:
    content = encoded(voice(), "mov", "pcm_s24le").replace(b"in24", b"zzzz")
    with pytest.raises(AudioError, match="FFmpeg has no decoder for its sound"):
        decode_with_av(io.BytesIO(content), "x")


def test_a_recording_is_read_through_the_one_door(tmp_path: Path) -> None:
    content = encoded(voice(), "ipod", "aac", tags={"title": "Talk"})
    (tmp_path / "talk.m4a").write_bytes(content)
    found = decode.read(tmp_path / "talk.m4a")
    assert np.array_equal(found.samples, decode_with_av(io.BytesIO(content), "x").samples)
    assert found.tags == {"title": "Talk"}


def test_an_ogg_of_a_codec_that_libsndfile_does_not_read(tmp_path: Path) -> None:
    path = tmp_path / "talk.oga"
    path.write_bytes(encoded(voice(), "ogg", "flac", stored="s16"))
    recording = decode.read(path)
    assert recording.samples.shape == (N_SAMPLES, 1)
    np.testing.assert_allclose(recording.samples, voice(), atol=2.0**-15)
    assert recording.warning is None


def test_a_truncated_ogg_of_a_codec_that_libsndfile_does_not_read(tmp_path: Path) -> None:
    whole = encoded(np.tile(voice(), (3, 1)), "ogg", "flac", stored="s16")  # a page a second
    path = tmp_path / "talk.oga"
    path.write_bytes(whole[: whole.rindex(b"OggS") + 1000])
    recording = decode.read(path)
    assert 2 * N_SAMPLES < len(recording.samples) < 3 * N_SAMPLES
    assert recording.truncated
    assert recording.warning
    assert recording.warning.startswith("truncated: 1000 of ")


@pytest.mark.parametrize(
    ("container", "codec", "rate"),
    [
        ("wav", "mp2", 48000),
        ("wav", "wmav2", 44100),
        ("wav", "ac3", 48000),
        ("caf", "libmp3lame", 48000),
    ],
)
def test_a_codec_that_libsndfile_does_not_read_in_a_container_that_it_does(
    container: str, codec: str, rate: int
) -> None:
    content = io.BytesIO(encoded(voice(), container, codec, rate))
    recording = decode.read(content)
    assert abs(lag(recording.samples[:, 0], voice()[:, 0])) <= 2048
    assert abs(len(recording.samples) - N_SAMPLES) <= 2048
    assert (recording.format.container, recording.warning) == (container.upper(), None)


@pytest.mark.parametrize("n_cut", [0, 100])
def test_an_mp2_is_read_by_libsndfile_to_its_end(n_cut: int) -> None:
    content = encoded(voice(), "mp2", "mp2")
    recording = decode.read(io.BytesIO(content[: len(content) - n_cut]))
    assert recording.format.subtype == "MPEG_LAYER_II"
    assert abs(len(recording.samples) - N_SAMPLES) <= 2 * 1152
    assert recording.truncated == (n_cut > 0)


def test_a_damaged_size_beyond_every_file_is_one_line(tmp_path: Path) -> None:
    content = bytearray(encoded(voice(), "caf", "libmp3lame"))
    content[content.index(b"chan") + 6] = 0xD2  # of the eight bytes of its size
    (tmp_path / "x.caf").write_bytes(content)
    with (tmp_path / "x.caf").open("rb") as file, pytest.raises(AudioError, match=r"^x cannot be"):
        decode_with_av(file, "x")


def test_samples_beyond_float32_are_an_error_without_a_warning() -> None:
    content = encoded(voice(), "mov", "pcm_f64le", stored="dbl")
    loud = content.replace(np.float64(voice()[100, 0]).tobytes(), np.float64(1e300).tobytes())
    with pytest.raises(AudioError, match="NaN or infinite"):
        decode.read(io.BytesIO(loud))
