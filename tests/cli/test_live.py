"""fsnp-enhance --live as a pipe sees it: raw samples in, raw samples out, at once."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.runtime.models import DELAY, UNITY
from tests.runtime.signals import noise, tone

LIVE = [sys.executable, "-m", "fsnp_onnx", "--live", "--model", str(DELAY)]


def run(*options: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*LIVE, *options], input=data, capture_output=True, check=False)


@pytest.mark.parametrize("channels", [1, 2])
def test_integers_come_back_enhanced_as_many_as_went_in(channels: int) -> None:
    noisy = np.rint(noise(5000, channels) * 32768).astype("<i2")
    ended = run("--channels", str(channels), data=noisy.tobytes())
    assert ended.returncode == 0, ended.stderr
    enhanced = np.frombuffer(ended.stdout, "<i2").reshape(-1, channels)
    assert np.array_equal(enhanced, np.rint(noisy / 2).astype("<i2"))
    assert b"s16le at 16000 Hz, channels: " in ended.stderr
    assert b"latency: 48 ms" in ended.stderr
    assert b"0.3 s of audio, real-time factor " in ended.stderr


def test_floats_at_another_rate_keep_length_and_place() -> None:
    noisy = tone(48000, 48000).astype("<f4")
    ended = run("--rate", "48000", "--format", "f32le", data=noisy.tobytes())
    assert ended.returncode == 0, ended.stderr
    enhanced = np.frombuffer(ended.stdout, "<f4")
    assert enhanced.shape == noisy.shape
    np.testing.assert_allclose(enhanced[4800:-4800], noisy[4800:-4800] / 2, atol=1e-4)


def n_threads(*options: str) -> int:
    """Return how many threads a stream has that waits for its input."""
    with subprocess.Popen(
        [*LIVE, *options], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin
        assert process.stderr
        assert b"latency" in process.stderr.readline()
        threads = len(list(Path(f"/proc/{process.pid}/task").iterdir()))
        process.stdin.close()
    return threads


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="only Linux shows threads there")
def test_a_stream_runs_on_one_thread_unless_more_are_asked_for() -> None:
    assert n_threads() == n_threads("--threads", "1") == n_threads("--threads", "3") - 2


def test_what_is_known_is_written_before_the_input_ends() -> None:
    noisy = np.full(1600, 1000, "<i2").tobytes()
    with subprocess.Popen(
        LIVE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(noisy)
        process.stdin.flush()
        early = process.stdout.read(2 * (1536 - 512))  # whole hops without the latency
        process.stdin.close()
        rest = process.stdout.read()
    assert len(early) + len(rest) == len(noisy)
    assert set(np.frombuffer(early + rest, "<i2")) == {500}


def test_the_real_time_factor_leaves_out_the_time_that_a_slow_reader_takes() -> None:
    script = f"head -c 640000 /dev/zero | {' '.join(LIVE)} | (sleep 4; cat)"  # pipes hold less
    ended = subprocess.run(["bash", "-c", script], capture_output=True, timeout=60, check=True)
    assert len(ended.stdout) == 640_000
    (factor,) = re.findall(rb"20\.0 s of audio, real-time factor (\S+)", ended.stderr)
    assert float(factor) < 0.1


def test_an_interrupt_ends_the_stream_with_what_is_known_written() -> None:
    with subprocess.Popen(
        LIVE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdin.write(np.full(1600, 1000, "<i2").tobytes())
        process.stdin.flush()
        early = process.stdout.read(2 * (1536 - 512))
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
        assert set(np.frombuffer(early, "<i2")) == {500}
        assert process.stderr.read().splitlines()[1:] == [b"interrupted"]


@pytest.mark.parametrize("end", ["stdin", "stdout"])
def test_a_terminal_is_refused(end: str) -> None:
    first, second = os.openpty()
    ends: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, end: second}
    ended = subprocess.run(LIVE, **ends, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(first)
    os.close(second)
    standard = {"stdin": "input", "stdout": "output"}[end]
    assert ended.returncode == 2
    message = f"error: --live needs a pipe or a file as standard {standard}\n"
    assert ended.stderr.decode() == message


def test_samples_that_are_no_numbers_end_the_stream_with_one_line() -> None:
    noisy = np.full(1600, np.nan, "<f4").tobytes()
    ended = run("--format", "f32le", data=noisy)
    assert (ended.returncode, ended.stdout) == (1, b"")
    (error,) = ended.stderr.splitlines()[1:]
    assert error.startswith(b"error: sample 0 is nan; a stream takes finite ones up to 1e+09; ")
    assert error.endswith(b"; is the input really f32le?")


def test_half_a_sample_at_the_end_is_left_out_and_said() -> None:
    ended = run(data=bytes(2001))
    assert (ended.returncode, len(ended.stdout)) == (0, 2000)
    assert b"warning: the last 1 bytes are not a whole sample" in ended.stderr


def test_a_sound_file_is_not_taken_for_raw_samples() -> None:
    ended = run(data=b"RIFF\xff\xff\xff\xffWAVEfmt " + bytes(2000))
    assert (ended.returncode, ended.stdout) == (1, b"")
    line = ended.stderr.decode().splitlines()[-1]
    assert line.startswith("error: standard input is a WAV file; --live takes raw samples: ")


def test_integers_read_as_floats_end_with_a_hint_at_the_format() -> None:
    ended = run("--format", "f32le", data=np.full(999, 2e9, "<f4").tobytes())
    assert (ended.returncode, ended.stdout) == (1, b"")
    line = ended.stderr.decode().splitlines()[-1]
    assert line.startswith("error: sample 0 is 2e+09; ")
    assert line.endswith("is the input really f32le?")


def test_an_input_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as write_only:
        ended = subprocess.run(LIVE, stdin=write_only, capture_output=True, check=False)
    assert ended.returncode == 1
    last = ended.stderr.decode().splitlines()[-1]
    assert last == "error: cannot read standard input (Bad file descriptor)"


def test_no_input_is_no_output() -> None:
    ended = run()
    assert (ended.returncode, ended.stdout) == (0, b"")


def test_a_reader_that_leaves_ends_the_stream_without_a_traceback() -> None:
    script = f"{' '.join(LIVE)} < /dev/zero | head -c 10000 > /dev/null"
    ended = subprocess.run(["bash", "-c", script], capture_output=True, timeout=60, check=False)
    assert b"Traceback" not in ended.stderr


def test_a_pipe_that_takes_parts_gets_every_sample(tmp_path: Path) -> None:
    noisy, (read_end, write_end) = tmp_path / "noisy.s16", os.pipe()
    noisy.write_bytes(bytes(200_000))
    os.set_blocking(write_end, False)
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with (
        os.fdopen(read_end, "rb") as output,
        noisy.open("rb") as source,
        subprocess.Popen(
            LIVE, stdin=source, stdout=write_end, stderr=subprocess.DEVNULL, env=environment
        ),
    ):
        os.close(write_end)
        time.sleep(1)  # the pipe is full by now
        assert len(output.read()) == 200_000


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has it")
def test_a_full_disk_is_named() -> None:
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            LIVE, input=bytes(32000), stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert ended.returncode == 1
    last = ended.stderr.decode().splitlines()[-1]
    assert last == "error: cannot write standard output (No space left on device)"


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["x.wav"], 2, "--live reads standard input and writes standard output; name no files"),
        (["-o", "x.wav"], 2, "--live reads standard input"),
        (["--plot", "x.png"], 2, "--plot needs files; --live reads and writes raw samples"),
        (["--attenuation-limit", "3"], 2, "--attenuation-limit needs files"),
        (["--attenuation-limit", "0"], 2, "--attenuation-limit needs files"),
        (["--jobs", "2"], 2, "--jobs needs files"),
        (["--resume"], 2, "--resume needs files"),
        (["--recursive"], 2, "--recursive needs files"),
        (["--force"], 2, "--force needs files"),
        (["--strict"], 2, "--strict needs files"),
        (["--channels", "linked"], 2, "--channels is linked; --live takes their number"),
        (["--channels", "0"], 2, "--channels is 0; give a whole number of 1 to 1024"),
        (["--rate", "1"], 2, "--rate is 1.0; give a number of 100 to 10000000 Hz"),
        (["--model", str(UNITY)], 1, "unity.onnx has the interface 'mask' and cannot run live"),
        (["--model", ""], 2, "--model is an empty name"),
    ],
)
def test_misuse_is_one_line(options: list[str], code: int, message: str) -> None:
    ended = run(*options)
    assert ended.returncode == code
    assert ended.stdout == b""
    (line,) = ended.stderr.decode().splitlines()
    assert line.startswith("error: ")
    assert message in line


def test_a_rate_without_live_is_wrong_usage(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fsnp_onnx", "x.wav", "--rate", "8000"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert ended.returncode == 2
    assert b"--rate needs --live" in ended.stderr
