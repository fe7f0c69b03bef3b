"""POST /v1/enhance: what comes back for good and for bad requests."""

from __future__ import annotations

import io
from functools import partial

import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray
from starlette.testclient import TestClient

from fsnp_onnx import Enhancer
from tests.runtime.models import UNITY
from tests.serve.conftest import encoded

URL = "/v1/enhance"
Samples = NDArray[np.float32]


def read(content: bytes) -> tuple[Samples, int]:
    samples, rate = sf.read(io.BytesIO(content), dtype="float32")
    return samples, rate


@pytest.mark.parametrize(
    ("container", "media_type"),
    [
        ("WAV", "audio/wav"),
        ("FLAC", "audio/flac"),
        ("OGG", "audio/ogg"),
        ("MP3", "audio/mpeg"),
        ("AIFF", "audio/aiff"),
    ],
)
def test_the_answer_has_the_kind_rate_and_channels_of_the_upload(
    client: TestClient, noisy: Samples, container: str, media_type: str
) -> None:
    stereo = np.stack([noisy, noisy], axis=1)
    answer = client.post(URL, content=encoded(stereo, 44100, container))
    assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)
    info = sf.info(io.BytesIO(answer.content))
    assert (info.format, info.samplerate, info.channels) == (container, 44100, 2)


def test_the_samples_are_those_that_the_package_gives(client: TestClient, wav: bytes) -> None:
    enhanced, rate = read(client.post(f"{URL}?strength=0.5", content=wav).content)
    sent, _ = read(wav)
    expected = Enhancer(UNITY).enhance(sent, rate, strength=0.5)
    np.testing.assert_allclose(enhanced, expected, rtol=0, atol=0.5 / 32768 + 1e-6)  # 16 bits


@pytest.mark.parametrize(
    ("accept", "container"),
    [
        ("audio/flac", "FLAC"),
        ("audio/wav;q=0.1, audio/flac;q=0.9", "FLAC"),
        ("text/html, audio/mpeg", "MP3"),
        ("audio/flac;q=0, */*", "WAV"),
        ("audio/ogg", "OGG"),
    ],
)
def test_the_accept_header_chooses_the_format(
    client: TestClient, wav: bytes, accept: str, container: str
) -> None:
    answer = client.post(URL, content=wav, headers={"Accept": accept})
    assert sf.info(io.BytesIO(answer.content)).format == container


def test_a_form_brings_the_same_as_a_body_and_its_name_is_not_used(
    client: TestClient, wav: bytes
) -> None:
    names = {"file": ("../../etc/passwd", wav)}
    form = client.post(URL, files=names)
    assert form.content == client.post(URL, content=wav).content


@pytest.mark.parametrize(
    ("query", "status", "word"),
    [
        ("strength=2", 400, "strength"),
        ("strength=nan", 400, "strength"),
        ("strength=loud", 400, "number"),
        ("attenuation_limit=-1", 400, "attenuation_limit"),
        ("model=best", 400, "default or live"),
        ("model=live&attenuation_limit=10", 400, "attenuation_limit"),
        ("strict=maybe", 400, "false or true"),
        ("strengh=1", 400, "unknown parameter 'strengh'"),
        ("strength=1&strength=0", 400, "twice"),
    ],
)
def test_a_wrong_parameter_is_named(
    client: TestClient, wav: bytes, query: str, status: int, word: str
) -> None:
    answer = client.post(f"{URL}?{query}", content=wav)
    assert answer.status_code == status
    assert word in answer.json()["error"]


def test_a_limit_that_the_model_cannot_keep_is_refused_without_the_path_of_the_model(
    client: TestClient, wav: bytes
) -> None:
    answer = client.post(f"{URL}?model=live&attenuation_limit=10", content=wav)
    assert answer.json()["error"] == (
        "attenuation_limit is not possible with model=live; leave it out"
    )


@pytest.mark.parametrize("rate", [99, 10_000_001])
def test_an_impossible_rate_is_a_fault_of_the_recording(client: TestClient, rate: int) -> None:
    answer = client.post(URL, content=encoded(np.ones(100, np.float32), rate, "WAV"))
    assert answer.status_code == 422
    assert f"the upload's sample_rate is {rate}" in answer.json()["error"]


def test_several_accept_headers_are_one_list(client: TestClient, wav: bytes) -> None:
    wanted = [("Accept", "text/html"), ("Accept", "audio/flac")]
    answer = client.post(URL, content=wav, headers=wanted)
    assert answer.headers["content-type"] == "audio/flac"


def test_a_form_with_a_field_is_told_where_parameters_belong(
    client: TestClient, wav: bytes
) -> None:
    answer = client.post(URL, data={"strength": "1"}, files={"file": ("a.wav", wav)})
    assert answer.status_code == 400
    assert "parameters in the query" in answer.json()["error"]


def test_what_is_not_a_recording_is_refused_in_one_line(client: TestClient) -> None:
    for content in (b"no sound", b"RIFF" + bytes(100), b"fLaC" + bytes(99), b"\0" * 5000):
        answer = client.post(URL, content=content)
        assert answer.status_code == 422, content
        assert "\n" not in answer.json()["error"]
        assert "/" not in answer.json()["error"].replace("m4a/", ""), "a path"


def test_a_recording_of_a_rate_that_is_none_is_not_a_wrong_parameter(client: TestClient) -> None:
    slow = encoded(np.ones(100, np.float32), 50, "WAV")
    answer = client.post(URL, content=slow)
    assert answer.status_code == 422
    assert "sample_rate is 50" in answer.json()["error"]


def test_a_body_that_is_empty_compressed_or_a_form_without_a_file_is_refused(
    client: TestClient, wav: bytes
) -> None:
    assert client.post(URL, content=b"").status_code == 400
    assert client.post(URL, files={"file": ("a.wav", b"")}).status_code == 400
    two = [("file", ("a.wav", wav)), ("file", ("b.wav", wav))]
    assert client.post(URL, files=two).status_code == 400
    packed = client.post(URL, content=wav, headers={"Content-Encoding": "gzip"})
    assert packed.status_code == 415
    unwanted = client.post(URL, content=wav, headers={"Accept": "text/html"})
    assert unwanted.status_code == 406


def test_a_truncated_recording_is_enhanced_with_a_warning_or_refused_by_strict(
    client: TestClient, wav: bytes
) -> None:
    answer = client.post(URL, content=wav[:16000])
    assert answer.status_code == 200
    assert "truncated" in answer.headers["x-warning"]
    assert client.post(f"{URL}?strict=true", content=wav[:16000]).status_code == 422


@pytest.mark.parametrize("container", ["WAV", "FLAC", "OGG", "MP3"])
def test_a_recording_that_is_too_long_is_refused_and_one_at_the_limit_is_not(
    client: TestClient, container: str
) -> None:
    silence = np.zeros(8000 * 31, np.float32)
    answer = client.post(URL, content=encoded(silence, 8000, container))
    assert answer.status_code == 413
    assert "the limit is 30 s" in answer.json()["error"]
    at_limit = encoded(silence[: 8000 * 30], 8000, "WAV")
    assert client.post(URL, content=at_limit).status_code == 200


@pytest.mark.parametrize("announced", [0, 8000])  # 0 stands for unknown
def test_a_recording_is_counted_whatever_its_header_says(
    client: TestClient, announced: int
) -> None:
    flac = bytearray(encoded(np.zeros(8000 * 31, np.float32), 8000, "FLAC"))
    flac[21] &= 0xF0  # the 36 bits of the number of samples
    flac[22:26] = announced.to_bytes(4)
    answer = client.post(URL, content=bytes(flac))
    assert answer.status_code == 413
    assert "the limit is 30 s" in answer.json()["error"]


def test_samples_of_many_channels_count_towards_the_limit(client: TestClient) -> None:
    wide = np.zeros((48000 * 20, 8), np.float32)  # 7.7 million samples, the limit is 2.9 million
    answer = client.post(URL, content=encoded(wide, 48000, "FLAC"))
    assert answer.status_code == 413
    assert "8 channels" in answer.json()["error"]


def test_many_channels_at_a_low_rate_count_as_the_model_will_see_them(client: TestClient) -> None:
    wide = np.zeros((100 * 10, 64), np.float32)  # 64000 samples, of which 16 kHz makes 10 million
    answer = client.post(URL, content=encoded(wide, 100, "WAV"))
    assert answer.status_code == 413
    assert "64 channels at 16000 Hz" in answer.json()["error"]
    assert client.post(URL, content=encoded(wide[:, :8], 100, "WAV")).status_code == 200


def test_a_video_that_libsndfile_does_not_read_is_limited_as_well(client: TestClient) -> None:
    av = pytest.importorskip("av")
    file = io.BytesIO()
    with av.open(file, "w", "matroska") as container:
        stream = container.add_stream("libopus", 48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 48000), np.float32), "flt", "mono")
        frame.sample_rate = 48000
        for _ in range(32):
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    assert client.post(URL, content=file.getvalue()).status_code == 413


def test_a_full_disk_is_told_as_one(
    client: TestClient, wav: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.TemporaryFile", partial(open, "/dev/full", "w+b"))
    for upload in (wav, wav[:2000]):  # a small answer may fail as late as its file is closed
        answer = client.post(URL, content=upload)
        assert answer.status_code == 507
        assert "disk" in answer.json()["error"]


def test_an_upload_above_the_size_limit_is_refused(client: TestClient) -> None:
    answer = client.post(URL, content=bytes(1_000_001))
    assert answer.status_code == 413
    assert "1000001 bytes" in answer.json()["error"]
    form = client.post(URL, files={"file": ("a.wav", bytes(1_000_001))})
    assert form.status_code == 413
