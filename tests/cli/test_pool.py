"""Recordings spread over processes: the same files, whatever dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile as sf

from fsnp_onnx.batch import processes as pool
from fsnp_onnx.batch.plan import Job
from fsnp_onnx.batch.recording import Settings
from fsnp_onnx.batch.run import Outcomes
from fsnp_onnx.cli import enhance
from tests.cli.shell import contents, members, recordings, shell, wait_for
from tests.runtime.signals import noise

_PATCHED = """
import os, sys, time
from pathlib import Path
import soundfile
from fsnp_onnx.batch import recording; from fsnp_onnx.cli import enhance

read = recording.audio.read
def read_or_die(path, name):
    if "deadly" in name:
        os.kill(os.getpid(), 9)
    if "once" in name and not Path("died").exists():
        Path("died").touch()
        os.kill(os.getpid(), 9)
    return read(path, name)
recording.audio.read = read_or_die

write = soundfile.SoundFile.write
def write_slowly(self, samples):
    write(self, samples)
    if len(samples) > 1 and "slow" in sys.argv[-1]:
        time.sleep(60)
soundfile.SoundFile.write = write_slowly

if __name__ == "__main__":
    enhance.main()
"""


@pytest.fixture
def patched(tmp_path: Path, unity_path: Path) -> list[str]:
    """Return a command whose processes die at recordings with certain names."""
    (tmp_path / "main.py").write_text(_PATCHED)
    return [sys.executable, str(tmp_path / "main.py"), "-m", str(unity_path)]


def test_two_jobs_write_the_same_files_as_one(unity_path: Path, tmp_path: Path) -> None:
    recordings(tmp_path / "in", 7)
    (tmp_path / "in" / "bad.wav").write_bytes(b"junk")
    ended = [
        subprocess.run(
            shell(unity_path, "in", "-o", f"out{jobs}", "-r", "--json", "--jobs", jobs),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        for jobs in ("1", "2")
    ]
    assert [run.returncode for run in ended] == [1, 1]
    assert contents(tmp_path / "out1") == contents(tmp_path / "out2")
    assert len(contents(tmp_path / "out1")) == 7
    told = [{json.loads(line)["input"] for line in run.stdout.splitlines()} for run in ended]
    assert told[0] == told[1]
    summary = ended[1].stderr.splitlines()[-1]
    assert summary.startswith("7 of 8 recordings enhanced, 1 failed, 0 skipped: ")


def test_the_longest_recording_goes_first(unity_path: Path, tmp_path: Path) -> None:
    for name, n_samples in (("a", 3000), ("b", 9000), ("c", 6000), ("d", 12000)):
        sf.write(tmp_path / f"{name}.wav", noise(n_samples), 16000)
    inputs = [f"{name}.wav" for name in "abcd"]
    line = shell(unity_path, *inputs, "-o", "out", "--jobs", "2", "--results", "r.jsonl")
    subprocess.run(line, cwd=tmp_path, check=True)
    rows = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    begun = [row["input"] for row in rows if row["status"] == "begun"]
    assert begun == ["d.wav", "b.wav", "c.wav", "a.wav"]


def test_threads_are_shared_out(
    unity_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []

    def remember(_: Iterator[Job], settings: Settings, n_processes: int) -> Outcomes:
        seen.append((settings.threads, n_processes))
        yield from ()

    monkeypatch.setattr(enhance, "enhance_in_processes", remember)
    monkeypatch.setattr(enhance, "available_cpus", lambda: (12, "a test"))
    recordings(tmp_path / "in", 5)
    for options in (["--jobs", "3"], ["--jobs", "100"], ["-j", "2", "--threads", "7"]):
        arguments = [str(tmp_path / "in"), "-r", "-o", str(tmp_path / "out"), *options]
        monkeypatch.setattr(sys, "argv", ["fsnp-enhance", "-m", str(unity_path), *arguments])
        with pytest.raises(SystemExit):
            enhance.main()
    assert seen == [(4, 3), (2, 5), (7, 2)]


@pytest.mark.parametrize("model", ["none.onnx", "a.wav"])
def test_model_that_does_not_open_is_one_line(tmp_path: Path, model: str) -> None:
    recordings(tmp_path, 3)
    (tmp_path / "a.wav").write_bytes(b"no model")
    line = shell(tmp_path / model, ".", "-o", "out", "-r", "--jobs", "2")
    ended = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: ")
    assert ended.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("scheme", ["", "local://"])
def test_a_process_that_dies_costs_its_own_recording_only(
    patched: list[str], tmp_path: Path, scheme: str
) -> None:
    recordings(tmp_path / "in", 5)
    for name in ("deadly", "once"):
        sf.write(tmp_path / "in" / f"{name}.wav", noise(20000), 16000)
    folder, temporary = f"{scheme}{tmp_path}/in", tmp_path / "temporary"
    temporary.mkdir()
    ended = subprocess.run(
        [*patched, folder, "-o", "out", "-r", "--jobs", "2"],
        cwd=tmp_path,
        env=os.environ | {"TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    errors = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert errors == [f"error: {folder}/deadly.wav: {pool.DIED_TWICE}"]
    assert (tmp_path / "died").exists()
    assert len(contents(tmp_path / "out")) == 6
    assert not list(temporary.glob("fsnp-*"))


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_interrupt_ends_all_processes_and_leaves_nothing(
    patched: list[str], tmp_path: Path, number: signal.Signals, code: int
) -> None:
    recordings(tmp_path / "in", 4)
    (tmp_path / "temporary").mkdir()
    with subprocess.Popen(
        [*patched, "in", "-r", "--jobs", "2", "-o", "slow"],
        cwd=tmp_path,
        env=os.environ | {"TMPDIR": str(tmp_path / "temporary")},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        wait_for(lambda: len(list(tmp_path.glob("slow/**/.*.part"))) == 2)
        os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
        assert process.wait(60) == code
        assert process.stderr.read().strip() == "interrupted"
    assert not contents(tmp_path / "slow")
    assert not list((tmp_path / "temporary").glob("fsnp-*"))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_interrupt_while_processes_start_is_one_line(patched: list[str], tmp_path: Path) -> None:
    recordings(tmp_path / "in", 4)
    main = tmp_path / "main.py"  # which each process imports, too
    main.write_text(
        "import os, time\nos.write(2, b'begun\\n')\n"
        f"if __name__ != '__main__': time.sleep(60)\n{main.read_text()}"
    )
    with subprocess.Popen(
        [*patched, "in", "-r", "--jobs", "2", "-o", "out"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        assert [process.stderr.readline() for _ in range(3)] == ["begun\n"] * 3
        for number in set(members(process.pid)) - {process.pid}:
            os.kill(number, signal.SIGINT)
        time.sleep(0.5)  # in which a process that heard it would say so
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stderr.read() == "interrupted\n"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_processes_do_not_outlive_a_killed_parent(patched: list[str], tmp_path: Path) -> None:
    recordings(tmp_path / "in", 4)
    line = [*patched, "in", "-r", "--jobs", "2", "-o", "slow"]
    with subprocess.Popen(line, cwd=tmp_path, start_new_session=True) as process:
        wait_for(lambda: len(list(tmp_path.glob("slow/**/.*.part"))) == 2)
        assert len(members(process.pid)) >= 3
        process.kill()
    wait_for(lambda: not members(process.pid))
