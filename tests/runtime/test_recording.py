"""One file: what is kept, what is refused before the work, and what a failure leaves."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import soundfile as sf

from fsnp_onnx import Enhancer
from fsnp_onnx.errors import (
    ArgumentError,
    ArgumentTypeError,
    AudioError,
    FsnpError,
    MissingFileError,
    OutputError,
    RunError,
)
from fsnp_onnx.runtime.recording import enhance_recording
from tests.runtime.models import UNITY, WAVY, with_mask
from tests.runtime.signals import noise
from tests.runtime.sound_files import odd


@pytest.fixture(scope="module")
def unity() -> Enhancer:
    return Enhancer(UNITY, "cpu")


@pytest.fixture
def noisy(tmp_path: Path) -> Path:
    path = tmp_path / "noisy.flac"
    sf.write(path, noise(24000, 2), 48000, subtype="PCM_24")
    return path


def test_format_is_kept_and_the_result_is_described(unity: Enhancer, noisy: Path) -> None:
    output = noisy.with_name("enhanced.flac")
    done = unity.enhance_file(noisy, output)
    assert (done.input, done.output, done.provider) == (str(noisy), str(output), "cpu")
    assert (done.sample_rate, done.channels, done.duration_s) == (48000, 2, 0.5)
    assert (done.clipped, done.skipped) == (0, False)
    assert done.seconds > 0
    assert done.rtf == pytest.approx(done.seconds / 0.5, abs=1e-3)
    found = sf.info(output)
    assert (found.format, found.subtype, found.frames) == ("FLAC", "PCM_24", 24000)


def test_a_file_gives_what_its_samples_give(unity: Enhancer, noisy: Path) -> None:
    samples, rate = sf.read(noisy, dtype="float32")
    unity.enhance_file(str(noisy), str(noisy.with_name("x.wav")), attenuation_limit_db=6)
    written, _ = sf.read(noisy.with_name("x.wav"), dtype="float32")
    expected = unity.enhance(samples, rate, attenuation_limit_db=6)
    np.testing.assert_allclose(written, expected, rtol=0, atol=2**-24)


def test_strength_and_channels_are_passed_on(noisy: Path) -> None:
    bundled = Enhancer(provider="cpu")
    samples, rate = sf.read(noisy, dtype="float32")
    how: Any = {"strength": 0.5, "channels": "linked"}
    bundled.enhance_file(noisy, noisy.with_name("x.flac"), **how)
    written, _ = sf.read(noisy.with_name("x.flac"), dtype="float32")
    expected = bundled.enhance(samples, rate, **how)
    np.testing.assert_allclose(written, expected, rtol=0, atol=2**-24)
    for other in ({"strength": 0.5}, {"channels": "linked"}):
        assert np.abs(bundled.enhance(samples, rate, **other) - expected).max() > 1e-4


@pytest.mark.parametrize("container", ["wav", "flac"])
def test_strength_0_writes_the_very_samples_that_were_read(tmp_path: Path, container: str) -> None:
    source, target = tmp_path / f"a.{container}", tmp_path / f"b.{container}"
    sf.write(source, noise(5000, 2), 44100, "PCM_24")
    Enhancer(WAVY, "cpu").enhance_file(source, target, strength=0)
    before, after = (sf.read(path, dtype="int32")[0] for path in (source, target))
    assert np.array_equal(before, after)


@pytest.mark.parametrize("n_samples", [1, 2, 5])
@pytest.mark.parametrize(("rate", "tolerance"), [(16000, 1e-7), (44100, 5e-3)])
def test_a_file_may_have_fewer_samples_than_channels(
    unity: Enhancer, tmp_path: Path, n_samples: int, rate: int, tolerance: float
) -> None:
    source, target = tmp_path / "a.wav", tmp_path / "b.wav"
    samples = noise(n_samples, 6)
    sf.write(source, samples, rate, "FLOAT")
    unity.enhance_file(source, target)
    written, _ = sf.read(target, dtype="float32")
    wanted = [unity.enhance(channel, rate) for channel in samples.T]
    # resampling treats silence behind so few samples a little differently from an end
    np.testing.assert_allclose(written, np.transpose(wanted), rtol=0, atol=tolerance)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_output_and_residual_add_up_to_the_input(tmp_path: Path, subtype: str) -> None:
    source = tmp_path / "noisy.wav"
    sf.write(source, noise(5000, 2), 44100, subtype)
    target, residual = tmp_path / "clean.wav", tmp_path / "deep/removed.wav"
    done = Enhancer(with_mask(0.2), "cpu").enhance_file(source, target, residual=residual)
    assert sf.info(residual).subtype == subtype
    assert (sf.info(residual).samplerate, sf.info(residual).channels) == (44100, 2)
    whole, kept, removed = (
        sf.read(path, dtype="float64")[0] for path in (source, target, residual)
    )
    assert np.abs(removed).max() > 0.05
    step = {"PCM_16": 2**-15, "PCM_24": 2**-23, "FLOAT": 2**-24}[subtype]
    np.testing.assert_allclose(kept + removed, whole, rtol=0, atol=step)
    assert done.clipped == 0


def test_a_residual_takes_the_format_of_the_output_and_the_container_of_its_ending(
    unity: Enhancer, noisy: Path
) -> None:
    residual = noisy.with_name("removed.wav")
    unity.enhance_file(noisy, noisy.with_name("clean.flac"), residual=residual)
    assert (sf.info(residual).format, sf.info(residual).subtype) == ("WAV", "PCM_24")


def test_a_stream_may_have_a_residual(unity: Enhancer, noisy: Path) -> None:
    stream, residual = io.BytesIO(), noisy.with_name("removed.wav")
    with noisy.open("rb") as source:
        unity.enhance_file(source, stream, residual=residual)
    assert sf.info(residual).frames == sf.info(io.BytesIO(stream.getvalue())).frames == 24000


def test_clipped_samples_of_the_residual_are_counted(tmp_path: Path) -> None:
    source, target = tmp_path / "loud.wav", tmp_path / "clean.flac"
    sf.write(source, 3 * np.sign(noise(4000)), 16000, "FLOAT")
    nothing = Enhancer(with_mask(0.0), "cpu")
    done = nothing.enhance_file(source, target, residual=tmp_path / "removed.flac")
    assert done.clipped == 4000


def test_an_existing_residual_is_protected_without_force(unity: Enhancer, noisy: Path) -> None:
    residual = noisy.with_name("removed.wav")
    residual.write_bytes(b"precious")
    with pytest.raises(OutputError, match=r"removed\.wav exists already"):
        unity.enhance_file(noisy, noisy.with_name("x.wav"), residual=residual)
    assert residual.read_bytes() == b"precious"
    assert not noisy.with_name("x.wav").exists()
    unity.enhance_file(noisy, noisy.with_name("x.wav"), residual=residual, force=True)
    assert sf.info(residual).frames == 24000


@pytest.mark.parametrize("name", ["noisy.flac", "x.wav", "./x.wav", "x.png", "model.onnx"])
def test_a_residual_replaces_no_other_file_of_the_call(noisy: Path, name: str) -> None:
    pytest.importorskip("matplotlib")
    model = noisy.with_name("model.onnx")
    model.write_bytes(UNITY.read_bytes())
    enhancer, target = Enhancer(model, "cpu"), noisy.with_name("x.wav")
    beside: Any = {"plot": noisy.with_name("x.png"), "residual": noisy.parent / name}
    with pytest.raises(OutputError, match="is an input, the model or another output"):
        enhancer.enhance_file(noisy, target, force=True, **beside)
    assert sorted(path.name for path in noisy.parent.iterdir()) == ["model.onnx", "noisy.flac"]


def test_a_residual_that_cannot_be_written_is_found_before_the_work(
    monkeypatch: pytest.MonkeyPatch, unity: Enhancer, noisy: Path
) -> None:
    monkeypatch.setattr(Enhancer, "enhance", lambda *_, **__: pytest.fail("the work began"))
    with pytest.raises(AudioError, match=r"cannot write .*removed\.txt"):
        unity.enhance_file(noisy, noisy.with_name("x.wav"), residual=noisy.with_name("removed.txt"))


def test_a_residual_that_fails_leaves_no_output(unity: Enhancer, noisy: Path) -> None:
    noisy.with_name("no").write_text("not a folder")
    with pytest.raises(OutputError, match="is not a folder"):
        unity.enhance_file(noisy, noisy.with_name("x.wav"), residual=noisy.parent / "no/r.wav")
    assert sorted(path.name for path in noisy.parent.iterdir()) == ["no", "noisy.flac"]


def test_what_is_odd_about_the_input_is_told(
    monkeypatch: pytest.MonkeyPatch, unity: Enhancer, noisy: Path
) -> None:
    odd(monkeypatch, "truncated: 24000 of 96000 samples")
    done = unity.enhance_file(noisy, noisy.with_name("x.wav"))
    assert (done.truncated, done.warning) == (True, "truncated: 24000 of 96000 samples")


def test_nothing_is_told_about_a_whole_input(unity: Enhancer, noisy: Path) -> None:
    done = unity.enhance_file(noisy, noisy.with_name("x.wav"))
    assert (done.truncated, done.warning) == (False, None)


def test_strict_refuses_a_truncated_input(
    monkeypatch: pytest.MonkeyPatch, unity: Enhancer, noisy: Path
) -> None:
    odd(monkeypatch, "truncated: 24000 of 96000 samples")
    with pytest.raises(AudioError, match="24000 of 96000"):
        unity.enhance_file(noisy, noisy.with_name("x.wav"), strict=True)
    assert not noisy.with_name("x.wav").exists()


def test_streams_are_as_good_as_paths(unity: Enhancer, noisy: Path) -> None:
    unity.enhance_file(noisy, noisy.with_name("x.wav"))
    stream = io.BytesIO()
    with noisy.open("rb") as source:
        done = unity.enhance_file(source, stream)
    assert (done.input, done.output) == ("-", "-")
    assert stream.getvalue() == noisy.with_name("x.wav").read_bytes()


def test_a_name_is_used_in_messages_and_in_the_result(unity: Enhancer, noisy: Path) -> None:
    target = noisy.with_name("x.wav")
    assert enhance_recording(unity, noisy, target, name="s3://bucket/a.flac").input == (
        "s3://bucket/a.flac"
    )
    with pytest.raises(AudioError, match=r"^s3://bucket/b\.wav cannot be decoded"):
        enhance_recording(unity, io.BytesIO(b"x"), target, name="s3://bucket/b.wav")


def test_an_existing_output_is_protected_without_force(unity: Enhancer, noisy: Path) -> None:
    output = noisy.with_name("x.wav")
    output.write_bytes(b"precious")
    with pytest.raises(
        OutputError, match=r"x\.wav exists already; use --force \(force=True in Python\)"
    ):
        unity.enhance_file(noisy, output)
    assert output.read_bytes() == b"precious"
    unity.enhance_file(noisy, output, force=True)
    assert sf.info(output).frames == 24000


def test_a_link_to_nowhere_is_an_output_that_exists(unity: Enhancer, noisy: Path) -> None:
    link = noisy.with_name("link.wav")
    link.symlink_to("nowhere.wav")
    with pytest.raises(OutputError, match="exists"):
        unity.enhance_file(noisy, link)


@pytest.mark.parametrize("link", [None, os.symlink, os.link])
@pytest.mark.parametrize("victim", ["noisy.flac", "model.onnx"])
def test_input_and_model_are_never_replaced(noisy: Path, victim: str, link: object) -> None:
    model = noisy.with_name("model.onnx")
    model.write_bytes(UNITY.read_bytes())
    output = noisy.with_name(victim)
    before = output.read_bytes()
    if callable(link):
        link(output, noisy.with_name("link.flac"))
        output = noisy.with_name("link.flac")
    with pytest.raises(OutputError, match="is an input, the model or another output"):
        Enhancer(model, "cpu").enhance_file(noisy, output, force=True)
    assert noisy.with_name(victim).read_bytes() == before


def test_a_folder_as_output_is_refused(unity: Enhancer, noisy: Path) -> None:
    with pytest.raises(OutputError, match="is a folder; give the path of a file"):
        unity.enhance_file(noisy, noisy.parent, force=True)


def test_a_missing_input_is_reported(unity: Enhancer, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"none\.wav \(No such file"):
        unity.enhance_file(tmp_path / "none.wav", tmp_path / "x.wav")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["x.opus", "x.txt", "x"])
def test_a_format_that_cannot_be_written_is_found_before_the_work(
    monkeypatch: pytest.MonkeyPatch, unity: Enhancer, tmp_path: Path, name: str
) -> None:
    sf.write(tmp_path / "noisy.wav", noise(1000), 44100)  # a rate that Opus does not have
    monkeypatch.setattr(Enhancer, "enhance", lambda *_, **__: pytest.fail("the work began"))
    with pytest.raises(AudioError, match=r"cannot write (OGG/OPUS|.*; use \.wav)"):
        unity.enhance_file(tmp_path / "noisy.wav", tmp_path / name)


def test_a_wrong_limit_is_found_before_the_input_is_read(unity: Enhancer, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="attenuation_limit_db"):
        unity.enhance_file(tmp_path / "none.wav", tmp_path / "x.wav", attenuation_limit_db=-1)


@pytest.mark.parametrize("file", [None, 3, b"bytes"])
def test_what_is_neither_path_nor_file_is_refused_by_name(unity: Enhancer, file: Any) -> None:
    with pytest.raises(ArgumentTypeError, match=r"input is .*; give a path or a binary file"):
        unity.enhance_file(file, io.BytesIO())
    with pytest.raises(ArgumentTypeError, match=r"output is .*; give a path or a binary file"):
        unity.enhance_file(io.BytesIO(), file)


def test_a_failure_leaves_nothing(noisy: Path) -> None:
    with pytest.raises(FsnpError, match="overflow"):
        Enhancer(with_mask(np.nan), "cpu").enhance_file(noisy, noisy.with_name("x.wav"))
    assert list(noisy.parent.iterdir()) == [noisy]


@pytest.mark.skipif(find_spec("matplotlib") is None, reason="an extra that is not installed here")
def test_the_plot_is_drawn_before_the_output_appears(unity: Enhancer, noisy: Path) -> None:
    output, plot = noisy.with_name("x.wav"), noisy.with_name("x.png")
    unity.enhance_file(noisy, output, plot=plot)
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert plot.stat().st_mtime_ns <= output.stat().st_mtime_ns
    with pytest.raises(OutputError, match=r"x\.png exists"):
        unity.enhance_file(noisy, noisy.with_name("y.wav"), plot=plot)
    with pytest.raises(OutputError, match=r"y\.wav is an input, the model or another output"):
        unity.enhance_file(noisy, noisy.with_name("y.wav"), plot=noisy.with_name("y.wav"))
    assert not noisy.with_name("y.wav").exists()


INTERRUPTED = """
import os, signal, sys, threading, time
import numpy as np
from fsnp_onnx import Enhancer

began = threading.Event()

class Endless(Enhancer):
    def enhance(self, *_, **__):
        # a thread inside the model hears no signal
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        began.set()
        threading.Event().wait()

def interrupt():
    began.wait()
    time.sleep(0.5)  # the main thread waits by now
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt, daemon=True).start()
Endless(sys.argv[1]).enhance_file(sys.argv[2], sys.argv[3])
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C to the whole console")
def test_ctrl_c_is_heard_while_the_model_runs(noisy: Path) -> None:
    command = [sys.executable, "-c", INTERRUPTED, str(UNITY), str(noisy), "x.wav"]
    done = subprocess.run(
        command, cwd=noisy.parent, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in done.stderr
    assert list(noisy.parent.iterdir()) == [noisy]


class Slow:
    """An enhancer whose output somebody else writes while it works."""

    provider = "cpu"

    def __init__(self, output: Path) -> None:
        self._output = output

    def enhance(self, samples: Any, *_: object, **__: object) -> Any:
        self._output.write_text("precious")
        return samples


@pytest.mark.parametrize("existed", [False, True])
def test_an_output_that_somebody_else_writes_during_the_work_is_kept(
    noisy: Path, tmp_path: Path, existed: bool
) -> None:
    output = tmp_path / "clean.wav"
    if existed:
        output.write_text("old")
        os.utime(output, ns=(0, 0))
    with pytest.raises(OutputError, match=r"clean\.wav has changed during the work"):
        enhance_recording(cast("Enhancer", Slow(output)), noisy, output)
    assert output.read_text() == "precious"
    assert not list(tmp_path.glob(".fsnp-*"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_path_that_leads_to_a_pipe_is_read_as_a_stream(unity: Enhancer, noisy: Path) -> None:
    pipe, output = noisy.with_name("pipe"), noisy.with_name("clean.wav")
    os.mkfifo(pipe)
    with ThreadPoolExecutor() as writer:
        writer.submit(pipe.write_bytes, noisy.read_bytes())
        unity.enhance_file(pipe, output)
    assert len(sf.read(output)[0]) == len(sf.read(noisy)[0])


@pytest.mark.parametrize("said", ["Unable to allocate 9 GiB", ""])
def test_short_memory_is_one_line_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch, unity: Enhancer, noisy: Path, said: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise MemoryError(said)

    monkeypatch.setattr(Enhancer, "enhance", refuse)
    with pytest.raises(RunError, match=r"memory is short \(.+\); give shorter audio") as caught:
        unity.enhance_file(noisy, noisy.with_name("x.wav"))
    assert "\n" not in str(caught.value)
    assert list(noisy.parent.iterdir()) == [noisy]


def test_an_empty_name_is_an_argument_error(unity: Enhancer, noisy: Path) -> None:
    with pytest.raises(ArgumentError, match=r"output is an empty name"):
        unity.enhance_file(noisy, "")
