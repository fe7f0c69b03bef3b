"""A run that was killed goes on where it was, by its journal."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from fsnp_onnx.batch.files import enhance_files
from fsnp_onnx.batch.worker import Failed
from fsnp_onnx.errors import JournalError, MissingFileError, ModelFileError, OutputError
from fsnp_onnx.runtime.recording import Done
from tests.batch.conftest import Run
from tests.batch.folders import contents, recordings, wait_for
from tests.runtime.signals import noise
from tests.runtime.sound_files import odd

WITH_JOURNAL: dict[str, Any] = {"recursive": True, "journal": "r.jsonl", "resume": True}


def rows(path: str = "r.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def counts(results: list[Done | Failed]) -> tuple[int, int, int]:
    """Return how many recordings were enhanced, failed and were skipped."""
    failed = sum(isinstance(result, Failed) for result in results)
    skipped = sum(isinstance(result, Done) and result.skipped for result in results)
    return len(results) - failed - skipped, failed, skipped


def errors(results: list[Done | Failed]) -> list[str]:
    return [str(result.error) for result in results if isinstance(result, Failed)]


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_run_killed_at_any_moment_and_resumed_gives_the_files_of_an_undisturbed_one(
    run: Run, main: Callable[..., list[str]], jobs: int
) -> None:
    recordings(Path("in"), 40)
    run("in", "whole", recursive=True)
    options = f"jobs={jobs}, recursive=True, journal='r.jsonl', resume=True"
    line = main(f"'in', 'out', {options}")
    journal = Path("r.jsonl")
    n_killed = 0
    for enough in (1, 400, 2500, 6000):  # bytes of the journal, in the middle of whatever goes on
        with subprocess.Popen(line, stdout=subprocess.DEVNULL, start_new_session=True) as process:
            while process.poll() is None and not (
                journal.exists() and journal.stat().st_size >= enough
            ):
                time.sleep(0.0005)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        n_killed += process.returncode == -signal.SIGKILL
    n_done, n_failed, n_skipped = counts(run("in", "out", jobs=jobs, **WITH_JOURNAL))
    assert n_killed >= 3
    assert contents(Path("out")) == contents(Path("whole"))
    assert (n_done + n_skipped, n_failed) == (40, 0)
    assert n_skipped


@pytest.mark.slow
@pytest.mark.parametrize("choice", ["resume", "force"])
def test_a_journal_is_for_one_run_at_a_time_and_free_when_that_is_killed(
    run: Run, main: Callable[..., list[str]], choice: str
) -> None:
    recordings(Path("in"), 100)
    Path("link.jsonl").symlink_to("r.jsonl")
    line = main("'in', 'out', recursive=True, jobs=2, journal='r.jsonl'")
    with subprocess.Popen(line, stdout=subprocess.DEVNULL) as first:
        wait_for(lambda: Path("r.jsonl").exists() and Path("r.jsonl").stat().st_size > 1000)
        first.send_signal(signal.SIGSTOP)
        before, outputs = Path("r.jsonl").read_bytes(), set(contents(Path("out")))
        for name in ("r.jsonl", "link.jsonl"):
            with pytest.raises(OutputError, match=f"{name} is being written by another run; "):
                run("in", "out", recursive=True, journal=name, **{choice: True})
        assert Path("r.jsonl").read_bytes() == before
        assert len(set(contents(Path("out"))) - outputs) <= 2  # of the processes that go on
        first.kill()
    assert counts(run("in", "out", jobs=2, **WITH_JOURNAL))[1] == 0
    assert {row["status"] for row in rows()} == {"run", "begun", "done"}


def test_a_journal_is_for_one_run_also_when_another_opened_its_lock_before_the_last_one_ended(
    run: Run, unity_path: Path
) -> None:
    fcntl = pytest.importorskip("fcntl")
    recordings(Path("in"), 2)
    last = enhance_files("in", "out", model=unity_path, journal="r.jsonl")
    with Path(".r.jsonl.lock").open("rb") as waiting:
        last.close()
        fcntl.flock(waiting, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with pytest.raises(OutputError, match="is being written by another run"):
            run("in", "out", journal="r.jsonl")


@pytest.mark.parametrize("problem", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_that_refuses_locks_goes_without(
    run: Run, monkeypatch: pytest.MonkeyPatch, problem: int
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_: object) -> None:
        raise OSError(problem, os.strerror(problem))

    recordings(Path("in"), 2)
    monkeypatch.setattr(fcntl, "flock", refuse)
    assert counts(run("in", "out", **WITH_JOURNAL)) == (2, 0, 0)
    assert counts(run("in", "out", **WITH_JOURNAL)) == (0, 0, 2)


def test_results_may_be_asked_for_and_closed_in_another_thread(run: Run, unity_path: Path) -> None:
    recordings(Path("in"), 4)
    results = enhance_files("in", "out", model=unity_path, **WITH_JOURNAL)
    with ThreadPoolExecutor(1) as other:
        assert isinstance(other.submit(next, results).result(), Done)
        other.submit(results.close).result()
    assert counts(run("in", "out", **WITH_JOURNAL)) == (3, 0, 1)


def test_the_journal_records_every_step(run: Run) -> None:
    recordings(Path("in"), 2)
    Path("in/bad,\n.wav").write_bytes(b"junk")
    run("in", "out", recursive=True, journal="logs/r.jsonl")
    first, *others = rows("logs/r.jsonl")
    assert first["status"] == "run"
    assert len(first["model_sha256"]) == 64
    steps = [(row["status"], row["input"]) for row in others]
    assert steps == [
        (status, name)
        for name, end in (
            ("in/001.wav", "done"),
            ("in/bad,\n.wav", "failed"),
            ("in/deep/000.flac", "done"),
        )
        for status in ("begun", end)
    ]
    assert others[1]["output"] == "out/001.wav"
    assert (others[1]["sample_rate"], others[1]["provider"]) == (16000, "cpu")
    assert "cannot be decoded" in others[3]["error"]
    assert {path.name for path in Path("logs").iterdir()} <= {"r.jsonl", ".r.jsonl.lock"}


def test_a_folder_that_cannot_be_read_is_in_the_journal(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def refuse(path: str) -> Iterator[os.DirEntry[str]]:
        if Path(path).name == "deep":  # by itself root may look everywhere
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    recordings(Path("in"), 2)
    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", refuse)
        run("in", "out", **WITH_JOURNAL)
    (failed,) = [row for row in rows() if row["status"] == "failed"]
    message = "cannot read in/deep (Permission denied)"
    assert failed == {"status": "failed", "input": "in/deep", "error": message}
    assert counts(run("in", "out", **WITH_JOURNAL)) == (1, 0, 1)


def test_what_is_done_is_skipped_and_what_failed_is_tried_again(run: Run) -> None:
    recordings(Path("in"), 4)
    Path("in/bad.wav").write_bytes(b"junk")
    assert counts(run("in", "out", **WITH_JOURNAL)) == (4, 1, 0)
    sf.write("in/bad.wav", noise(3000), 16000)
    assert counts(run("in", "out", **WITH_JOURNAL)) == (1, 0, 4)
    assert counts(run("in", "out", **WITH_JOURNAL)) == (0, 0, 5)
    assert len(contents(Path("out"))) == 5


def test_a_skipped_recording_is_reported_as_the_earlier_run_reported_it(run: Run) -> None:
    recordings(Path("in"), 1)
    (done,) = run("in", "out", **WITH_JOURNAL)
    (skipped,) = run("in", "out", **WITH_JOURNAL)
    assert isinstance(done, Done)
    assert isinstance(skipped, Done)
    assert skipped.skipped
    for name in ("input", "output", "seconds", "rtf", "provider", "duration_s", "clipped"):
        assert getattr(skipped, name) == getattr(done, name)


def test_a_changed_input_and_a_missing_output_are_done_again(run: Run) -> None:
    recordings(Path("in"), 4)
    run("in", "out", **WITH_JOURNAL)
    sf.write("in/001.wav", noise(500), 16000)
    Path("out/deep/002.flac").unlink()
    assert counts(run("in", "out", **WITH_JOURNAL)) == (2, 0, 2)
    assert sf.info("out/001.wav").frames == 500
    assert sf.info("out/deep/002.flac").frames == 4000


def test_an_output_that_was_there_before_is_not_replaced_by_resuming(run: Run) -> None:
    recordings(Path("in"), 2)
    Path("out/deep").mkdir(parents=True)
    Path("out/deep/000.flac").write_bytes(b"precious")
    for _ in range(2):
        (error,) = errors(run("in", "out", **WITH_JOURNAL))
        assert error.startswith("out/deep/000.flac exists already; ")
    assert Path("out/deep/000.flac").read_bytes() == b"precious"
    assert Path("out/001.wav").exists()


def test_a_half_written_last_row_is_no_obstacle(run: Run) -> None:
    recordings(Path("in"), 4)
    run("in", "out", **WITH_JOURNAL)
    wanted, journal = contents(Path("out")), Path("r.jsonl").read_bytes()
    for cut in (1, 30, len(journal) - 5):
        Path("r.jsonl").write_bytes(journal[:-cut])
        forgotten = cut > 100  # whose outputs are then
        assert counts(run("in", "out", force=forgotten, **WITH_JOURNAL))[1] == 0
        assert contents(Path("out")) == wanted
        assert {row["status"] for row in rows()} == {"run", "begun", "done"}


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        ('{"status" "begun"}\n', "Expecting ':' delimiter"),
        ('["begun"]\n', "not a JSON object"),
        ('{"output": "x"}\n', "status is missing in this row"),
        ('{"status": 1}\n', "status is 1, not text"),
        ("[" * 100_000 + "\n", "values nested too deep to be read"),
    ],
)
def test_a_damaged_journal_is_left_alone_and_the_error_says_what_to_do(
    run: Run, damage: str, problem: str
) -> None:
    recordings(Path("in"), 2)
    run("in", "out", **WITH_JOURNAL)
    journal = Path("r.jsonl").read_text() + damage
    Path("r.jsonl").write_text(journal)
    with pytest.raises(JournalError) as caught:
        run("in", "out", **WITH_JOURNAL)
    message = str(caught.value)
    assert message.startswith(f"r.jsonl, line 6: {problem}")
    assert message.endswith(
        "; use --force (force=True) instead of --resume to replace it, or give another journal"
    )
    assert Path("r.jsonl").read_text() == journal


def test_a_run_with_other_settings_is_not_resumed(run: Run, unity_path: Path) -> None:
    recordings(Path("in"), 2)
    run("in", "out", attenuation_limit_db=12, **WITH_JOURNAL)
    with pytest.raises(JournalError, match="attenuation_limit_db 12, this one has None"):
        run("in", "out", **WITH_JOURNAL)
    other = unity_path.read_bytes() + b"\x82\x01\x00"
    with pytest.raises(JournalError, match="is of a run with model_sha256 "):
        run("in", "out", attenuation_limit_db=12, model=other, **WITH_JOURNAL)
    assert counts(run("in", "out", attenuation_limit_db=12.0, **WITH_JOURNAL)) == (0, 0, 2)


@pytest.mark.parametrize("how", [{"strength": 0.5}, {"channels": "linked"}])
def test_a_run_with_another_strength_or_other_channels_is_not_resumed(
    run: Run, how: dict[str, Any]
) -> None:
    recordings(Path("in"), 2)
    run("in", "out", **how, **WITH_JOURNAL)
    ((name, value),) = how.items()
    assert rows()[0][name] == value
    with pytest.raises(JournalError, match=f"{name} {value}, this one has "):
        run("in", "out", **WITH_JOURNAL)
    assert counts(run("in", "out", **how, **WITH_JOURNAL)) == (0, 0, 2)


def test_settings_may_be_numbers_of_numpy(run: Run) -> None:
    recordings(Path("in"), 2)
    how = {"strength": np.float32(0.7), "attenuation_limit_db": np.float32(12.3)}
    run("in", "out", **how, **WITH_JOURNAL)
    assert counts(run("in", "out", **how, **WITH_JOURNAL)) == (0, 0, 2)


def test_a_journal_of_an_earlier_version_is_resumed(run: Run) -> None:
    recordings(Path("in"), 2)
    run("in", "out", **WITH_JOURNAL)
    newer = {"run": ("strength", "channels", "strict"), "done": ("truncated", "warning")}
    earlier = rows()
    for row in earlier:
        for name in newer.get(row["status"], ()):
            del row[name]
    Path("r.jsonl").write_text("".join(json.dumps(row) + "\n" for row in earlier))
    with pytest.raises(JournalError, match=r"strength 1\.0, this one has 0\.5"):
        run("in", "out", strength=0.5, **WITH_JOURNAL)
    results = run("in", "out", **WITH_JOURNAL)
    assert counts(results) == (0, 0, 2)
    assert [(done.truncated, done.warning) for done in results if isinstance(done, Done)] == [
        (False, None)
    ] * 2


def test_a_truncated_recording_is_known_to_the_journal(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    recordings(Path("in"), 1)
    odd(monkeypatch, "truncated: 3000 of 4000 samples")
    run("in", "out", **WITH_JOURNAL)
    start, _, row = rows()
    assert start["strict"] is False
    assert (row["truncated"], row["warning"]) == (True, "truncated: 3000 of 4000 samples")
    (skipped,) = run("in", "out", **WITH_JOURNAL)
    assert isinstance(skipped, Done)
    assert (skipped.truncated, skipped.warning) == (row["truncated"], row["warning"])


def test_a_run_that_becomes_strict_does_not_skip_truncated_recordings(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    recordings(Path("in"), 2)
    with monkeypatch.context() as patched:
        odd(patched, "truncated: 3000 of 4000 samples")
        run("in/deep", "out", **WITH_JOURNAL)
    run("in/001.wav", "out/", **WITH_JOURNAL)
    odd(monkeypatch, "truncated: 3000 of 4000 samples")
    assert counts(run("in/deep", "out", strict=True, **WITH_JOURNAL)) == (0, 1, 0)
    assert counts(run("in/001.wav", "out/", strict=True, **WITH_JOURNAL)) == (0, 0, 1)


def test_an_existing_journal_is_kept_without_resume_or_force(run: Run) -> None:
    recordings(Path("in"), 2)
    run("in", "out", recursive=True, journal="r.jsonl")
    before = Path("r.jsonl").read_bytes()
    with pytest.raises(
        OutputError, match=r"r\.jsonl exists already; use --resume \(resume=True\) to continue"
    ):
        run("in", "out", recursive=True, journal="r.jsonl")
    assert Path("r.jsonl").read_bytes() == before
    assert counts(run("in", "out", recursive=True, journal="r.jsonl", force=True)) == (2, 0, 0)


@pytest.mark.parametrize("text", ["something,else\n1,2", '{"a": 1}\n{"b": 2}', "status,input\n"])
@pytest.mark.parametrize("how", [{"resume": True}, {"force": True}])
def test_a_file_that_is_not_a_journal_stays_as_it_was(
    run: Run, text: str, how: dict[str, bool]
) -> None:
    recordings(Path("in"), 2)
    Path("r.jsonl").write_text(text)
    with pytest.raises(JournalError, match=r"r\.jsonl is not the journal of a run; "):
        run("in", "out", recursive=True, journal="r.jsonl", **how)
    assert Path("r.jsonl").read_text() == text
    assert not Path("out").exists()


def test_a_run_that_does_not_start_leaves_no_journal(run: Run) -> None:
    recordings(Path("in"), 2)
    with pytest.raises(ModelFileError):
        run("in", "out", model=b"not a model", **WITH_JOURNAL)
    assert [path.name for path in Path().iterdir()] == ["in"]


def test_an_output_stays_this_runs_own_when_another_try_fails(run: Run) -> None:
    recordings(Path("in"), 2)
    run("in", "out", **WITH_JOURNAL)
    Path("in/001.wav").write_bytes(b"junk")
    assert counts(run("in", "out", **WITH_JOURNAL)) == (0, 1, 1)
    sf.write("in/001.wav", noise(700), 16000)
    assert counts(run("in", "out", **WITH_JOURNAL)) == (1, 0, 1)
    assert sf.info("out/001.wav").frames == 700


def test_a_file_put_where_a_recording_failed_is_not_replaced(run: Run) -> None:
    recordings(Path("in"), 2)
    Path("in/001.wav").write_bytes(b"junk")
    run("in", "out", **WITH_JOURNAL)
    sf.write("in/001.wav", noise(700), 16000)
    Path("out/001.wav").write_bytes(b"precious")
    (error,) = errors(run("in", "out", **WITH_JOURNAL))
    assert error.startswith("out/001.wav exists already; ")
    assert Path("out/001.wav").read_bytes() == b"precious"


def test_an_output_stays_this_runs_own_when_its_store_cannot_be_reached_once(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    recordings(Path("in"), 2)
    run("in", "out", **WITH_JOURNAL)
    journal = Path("r.jsonl").read_bytes()
    cut = journal.rindex(b'{"status": "done"')  # killed with the output in place, but not noted
    Path("r.jsonl").write_bytes(journal[:cut])

    def unreachable(name: str) -> bool:
        if name.startswith("out"):
            raise MissingFileError("cannot read it (no answer)")
        return os.path.lexists(name)

    with monkeypatch.context() as patched:
        patched.setattr("fsnp_onnx.batch.storage.exists", unreachable)
        assert errors(run("in", "out", **WITH_JOURNAL)) == ["cannot read it (no answer)"] * 2
    assert counts(run("in", "out", **WITH_JOURNAL)) == (1, 0, 1)


def test_a_picture_that_cannot_be_drawn_leaves_no_output(run: Run) -> None:
    pytest.importorskip("matplotlib")
    sf.write("a.wav", noise(7000), 16000)
    Path("no").write_text("not a folder")
    assert counts(run("a.wav", "b.wav", plot="no/x.png", **WITH_JOURNAL)) == (0, 1, 0)
    assert not Path("b.wav").exists()
    assert counts(run("a.wav", "b.wav", plot="x.png", **WITH_JOURNAL)) == (1, 0, 0)


def test_the_journal_of_a_run_is_a_manifest_of_what_it_did(run: Run) -> None:
    recordings(Path("in"), 3)
    run("in", "out", **WITH_JOURNAL)
    done = [row for row in rows() if row["status"] == "done"]
    assert {row["input"].removeprefix("in/") for row in done} == set(contents(Path("out")))
