"""A run that was killed goes on where it was, by its record; manifests in, results out."""

from __future__ import annotations

import csv
import errno
import fcntl
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import soundfile as sf

from fsnp_onnx.cli import enhance as command
from fsnp_onnx.errors import MissingFileError
from tests.cli.shell import contents, recordings, shell, wait_for
from tests.runtime.signals import noise

Run = Callable[..., int]


@pytest.fixture
def run(unity_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Call the command with the unity model in an empty folder and return its exit code."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> int:
        model = () if "-m" in arguments else ("-m", str(unity_path))
        monkeypatch.setattr(sys, "argv", ["fsnp-enhance", *model, *arguments])
        with pytest.raises(SystemExit) as ended:
            command.main()
        return int(ended.value.code or 0)

    return call


def rows(path: str) -> list[dict[str, str]]:
    with Path(path).open(newline="") as file:
        if path.endswith(".csv"):
            return list(csv.DictReader(file))
        return [{k: str(v) for k, v in json.loads(line).items()} for line in file]


def statuses(path: str, name: str) -> list[str]:
    return [row["status"] for row in rows(path) if row.get("input") == name]


@pytest.mark.parametrize(("jobs", "results"), [("1", "r.csv"), ("2", "r.jsonl")])
def test_a_run_killed_at_any_moment_and_resumed_gives_the_files_of_an_undisturbed_one(
    unity_path: Path, tmp_path: Path, jobs: str, results: str
) -> None:
    recordings(tmp_path / "in", 40)
    whole = shell(unity_path, "in", "-o", "whole", "-r")
    subprocess.run(whole, cwd=tmp_path, check=True, capture_output=True)
    options = ("in", "-o", "out", "-r", "--jobs", jobs, "--results", results, "--resume")
    line = shell(unity_path, *options)
    record = tmp_path / results
    n_killed = 0
    for enough in (1, 400, 2500, 6000):  # bytes of the record, in the middle of whatever goes on
        with subprocess.Popen(
            line, cwd=tmp_path, stderr=subprocess.DEVNULL, start_new_session=True
        ) as process:
            while process.poll() is None and not (
                record.exists() and record.stat().st_size >= enough
            ):
                time.sleep(0.0005)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        n_killed += process.returncode == -signal.SIGKILL
    ended = subprocess.run(line, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert n_killed >= 3
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert "of 40 recordings enhanced, 0 failed, " in ended.stderr
    assert " 0 skipped" not in ended.stderr


@pytest.mark.parametrize("option", ["--resume", "--force"])
def test_a_record_is_for_one_run_at_a_time_and_free_when_that_is_killed(
    run: Run, unity_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    recordings(Path("in"), 100)
    line = ("in", "-o", "out", "-r", "--jobs", "2", "--results", "r.csv")
    Path("link.csv").symlink_to("r.csv")
    with subprocess.Popen(shell(unity_path, *line), stderr=subprocess.DEVNULL) as first:
        wait_for(lambda: Path("r.csv").exists() and Path("r.csv").stat().st_size > 1000)
        first.send_signal(signal.SIGSTOP)
        before, outputs = Path("r.csv").read_bytes(), set(contents(Path("out")))
        for name in ("r.csv", "link.csv"):
            assert run(*line[:-1], name, option) == 1
            assert f"error: {name} is being written by another run; " in capsys.readouterr().err
        assert Path("r.csv").read_bytes() == before
        assert len(set(contents(Path("out"))) - outputs) <= 2  # of the processes that go on
        first.kill()
    assert run(*line, "--resume") == 0
    assert {row["status"] for row in rows("r.csv")} == {"run", "begun", "done"}


def test_where_the_file_system_refuses_locks_a_run_goes_without(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    recordings(Path("in"), 2)
    assert run("in", "-o", "out", "-r", "--results", "r.csv") == 0
    assert len(contents(Path("out"))) == 2


@pytest.mark.parametrize("results", ["r.csv", "r.jsonl"])
def test_the_record_tells_every_step(run: Run, results: str) -> None:
    recordings(Path("in"), 2)
    Path("in/bad,\n.wav").write_bytes(b"junk")
    assert run("in", "-o", "out", "-r", "--results", results) == 1
    first, *others = rows(results)
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
    assert (others[1]["sample_rate"], others[1]["provider"]) == ("16000", "cpu")
    assert "cannot be decoded" in others[3]["error"]


@pytest.mark.parametrize("results", ["r.csv", "r.jsonl"])
def test_a_folder_that_cannot_be_read_is_in_the_record(
    run: Run, monkeypatch: pytest.MonkeyPatch, results: str
) -> None:
    scandir = os.scandir

    def refuse(path: Path) -> Iterator[os.DirEntry[str]]:
        if path.name == "deep":  # by itself root may look everywhere
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    recordings(Path("in"), 2)
    line = ("in", "-o", "out", "-r", "--results", results, "--resume")
    Path("bad.onnx").write_bytes(b"no model")
    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", refuse)
        assert run(*line, "-m", "bad.onnx") == 1
        assert not Path(results).exists()
        assert run(*line) == 1
    *_, last = rows(results)
    told = {name: last.get(name, "") for name in ("status", "input", "output", "error")}
    message = "cannot read in/deep (Permission denied)"
    assert told == {"status": "failed", "input": "in/deep", "output": "", "error": message}
    assert run(*line) == 0
    assert len(contents(Path("out"))) == 2


def test_what_is_done_is_skipped_and_what_failed_is_tried_again(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    recordings(Path("in"), 4)
    Path("in/bad.wav").write_bytes(b"junk")
    line = ("in", "-o", "out", "-r", "--results", "r.csv", "--resume")
    assert run(*line) == 1
    sf.write("in/bad.wav", noise(3000), 16000)
    assert run(*line) == 0
    assert "1 of 5 recordings enhanced, 0 failed, 4 skipped" in capsys.readouterr().err
    assert run(*line) == 0
    assert "0 of 5 recordings enhanced, 0 failed, 5 skipped" in capsys.readouterr().err
    assert len(contents(Path("out"))) == 5


def test_a_changed_input_and_a_missing_output_are_done_again(run: Run) -> None:
    recordings(Path("in"), 4)
    line = ("in", "-o", "out", "-r", "--results", "r.jsonl", "--resume")
    assert run(*line) == 0
    sf.write("in/001.wav", noise(500), 16000)
    Path("out/deep/002.flac").unlink()
    assert run(*line) == 0
    assert sf.info("out/001.wav").frames == 500
    assert sf.info("out/deep/002.flac").frames == 4000
    assert statuses("r.jsonl", "in/001.wav") == ["begun", "done"] * 2
    assert statuses("r.jsonl", "in/003.wav") == ["begun", "done"]


def test_an_output_that_was_there_before_is_not_replaced_by_resuming(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    recordings(Path("in"), 2)
    Path("out/deep").mkdir(parents=True)
    Path("out/deep/000.flac").write_bytes(b"precious")
    line = ("in", "-o", "out", "-r", "--results", "r.csv", "--resume")
    for _ in range(2):
        assert run(*line) == 1
        assert "out/deep/000.flac exists; use --force" in capsys.readouterr().err
    assert Path("out/deep/000.flac").read_bytes() == b"precious"
    assert Path("out/001.wav").exists()


@pytest.mark.parametrize("results", ["r.csv", "r.jsonl"])
def test_a_half_written_last_row_is_no_obstacle(run: Run, results: str) -> None:
    recordings(Path("in"), 4)
    line = ("in", "-o", "out", "-r", "--results", results, "--resume")
    assert run(*line) == 0
    wanted, record = contents(Path("out")), Path(results).read_bytes()
    for cut in (1, 30, len(record) - 5):
        Path(results).write_bytes(record[:-cut])
        forgotten = ["--force"] if cut > 100 else []  # whose outputs are then
        assert run(*line, *forgotten) == 0
        assert contents(Path("out")) == wanted
        assert {row["status"] for row in rows(results)} == {"run", "begun", "done"}


@pytest.mark.parametrize("name", ["z\nlines", "z\rb", 'zquo"te', "z\r\n"])
def test_a_row_cut_within_a_name_of_several_lines_is_no_obstacle(run: Run, name: str) -> None:
    recordings(Path("in"), 2)
    sf.write(f"in/{name}.wav", noise(700), 16000)
    line = ("in", "-o", "out", "-r", "--results", "r.csv", "--resume")
    assert run(*line) == 0
    wanted, record = contents(Path("out")), Path("r.csv").read_bytes()
    assert run(*line) == 0
    assert Path("r.csv").read_bytes() == record
    place = record.rindex(name.replace('"', '""').encode())
    for end in (place + 2, place + 4, place + 6, len(record) - 1):
        Path("r.csv").write_bytes(record[:end])
        assert run(*line) == 0
        assert contents(Path("out")) == wanted
        assert {row["status"] for row in rows("r.csv")} == {"run", "begun", "done"}


def test_a_damaged_record_is_left_alone_and_says_how_to_go_on(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    recordings(Path("in"), 2)
    line = ("in", "-o", "out", "-r", "--results", "r.csv", "--resume")
    assert run(*line) == 0
    record = Path("r.csv").read_text().replace("begun,", 'begun,"', 1)
    Path("r.csv").write_text(record)
    capsys.readouterr()
    assert run(*line) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("error: r.csv, line ")
    assert printed.endswith(
        "; replace it with --force in place of --resume, or give another --results file\n"
    )
    assert Path("r.csv").read_text() == record


def test_that_nothing_is_left_to_do_is_said(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    sf.write("a.wav", noise(700), 16000)
    for said in ("a.wav -> b.wav", "0 of 1 recordings enhanced, 0 failed, 1 skipped"):
        assert run("a.wav", "-o", "b.wav", "--results", "r.csv", "--resume") == 0
        assert said in capsys.readouterr().err


def test_a_run_with_other_settings_does_not_go_on(
    run: Run, unity_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recordings(Path("in"), 2)
    line = ("in", "-o", "out", "-r", "--results", "r.csv", "--resume")
    assert run(*line, "--attenuation-limit", "12") == 0
    assert run(*line) == 1
    assert "attenuation_limit_db 12.0, this one has none" in capsys.readouterr().err
    Path("other.onnx").write_bytes(unity_path.read_bytes() + b"\x82\x01\x00")
    assert run(*line, "--attenuation-limit", "12", "-m", "other.onnx") == 1
    assert "is of a run with model_sha256 " in capsys.readouterr().err
    assert len(contents(Path("out"))) == 2


def test_an_existing_record_is_kept_without_resume_or_force(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    recordings(Path("in"), 2)
    line = ("in", "-o", "out", "-r", "--results", "r.csv")
    assert run(*line) == 0
    before = Path("r.csv").read_bytes()
    assert run(*line) == 1
    assert "r.csv exists; go on with --resume or replace it with --force" in capsys.readouterr().err
    assert Path("r.csv").read_bytes() == before


@pytest.mark.parametrize("name", ["r.csv", "r.jsonl"])
@pytest.mark.parametrize("text", ["something,else\n1,2", '{"a": 1}\n{"b": 2}', "status,input\n"])
def test_a_file_that_is_no_record_stays_as_it_was(
    run: Run, capsys: pytest.CaptureFixture[str], name: str, text: str
) -> None:
    recordings(Path("in"), 2)
    Path(name).write_text(text)
    assert run("in", "-o", "out", "-r", "--results", name, "--resume") == 1
    assert capsys.readouterr().err.startswith(f"error: {name} is no record of a run; ")
    assert Path(name).read_text() == text
    assert not Path("out").exists()


def test_a_run_that_does_not_start_leaves_no_record(run: Run) -> None:
    recordings(Path("in"), 2)
    Path("bad.onnx").write_bytes(b"no model")
    line = ("in", "-o", "out", "-r", "--results", "r.csv", "--resume")
    assert run(*line, "-m", "bad.onnx") == 1
    assert not Path("r.csv").exists()
    assert run(*line) == 0


def test_an_output_stays_this_runs_own_when_another_try_fails(run: Run) -> None:
    recordings(Path("in"), 2)
    line = ("in", "-o", "out", "-r", "--results", "r.csv", "--resume")
    assert run(*line) == 0
    Path("in/001.wav").write_bytes(b"junk")
    assert run(*line) == 1
    sf.write("in/001.wav", noise(700), 16000)
    assert run(*line) == 0
    assert sf.info("out/001.wav").frames == 700


def test_a_file_put_where_a_recording_failed_is_not_replaced(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    recordings(Path("in"), 2)
    Path("in/001.wav").write_bytes(b"junk")
    line = ("in", "-o", "out", "-r", "--results", "r.csv", "--resume")
    assert run(*line) == 1
    sf.write("in/001.wav", noise(700), 16000)
    Path("out/001.wav").write_bytes(b"precious")
    assert run(*line) == 1
    assert "out/001.wav exists; use --force" in capsys.readouterr().err
    assert Path("out/001.wav").read_bytes() == b"precious"


def test_an_output_stays_this_runs_own_when_its_store_cannot_be_reached_once(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    recordings(Path("in"), 2)
    line = ("in", "-o", "out", "-r", "--results", "r.csv", "--resume")
    assert run(*line) == 0
    record = Path("r.csv").read_bytes()
    cut = record.rindex(b"done,")  # killed with the output in place, before that was noted
    Path("r.csv").write_bytes(record[:cut])
    with monkeypatch.context() as patched:
        patched.setattr("fsnp_onnx.batch.run.require_free", unreachable)
        assert run(*line) == 1
    assert run(*line) == 0


def unreachable(*_: object, **__: object) -> None:
    raise MissingFileError("cannot read it (no answer)")


def test_a_picture_that_cannot_be_drawn_leaves_no_output(run: Run) -> None:
    sf.write("a.wav", noise(7000), 16000)
    Path("no").write_text("folder")
    line = ("a.wav", "-o", "b.wav", "--results", "r.csv", "--resume")
    assert run(*line, "--plot", "no/x.png") == 1
    assert not Path("b.wav").exists()
    assert run(*line, "--plot", "x.png") == 0


def test_a_manifest_names_inputs_and_outputs(run: Run) -> None:
    recordings(Path("in"), 4)
    Path("m.csv").write_text(
        "output,note,input,,\nx/a.wav,,in/001.wav,,\ny/b.wav,!,in/deep/000.flac,,\n"
    )
    assert run("--manifest", "m.csv") == 0
    assert set(contents(Path("x"))) | set(contents(Path("y"))) == {"a.wav", "b.wav"}
    assert sf.info("y/b.wav").frames == 3000
    pairs = [("in/003.wav", "z/3.wav"), ("in/deep/002.flac", "z/2.flac")]
    text = "\n".join(json.dumps({"input": i, "output": o}) for i, o in pairs)
    Path("m.jsonl").write_text(text)
    assert run("--manifest", "m.jsonl", "--jobs", "2", "--results", "r.csv") == 0
    assert set(contents(Path("z"))) == {"3.wav", "2.flac"}


def test_the_results_of_a_run_are_a_manifest_of_what_it_did(run: Run) -> None:
    recordings(Path("in"), 3)
    assert run("in", "-r", "-o", "out", "--results", "r.jsonl") == 0
    done = [row for row in rows("r.jsonl") if row["status"] == "done"]
    assert {row["input"].removeprefix("in/") for row in done} == set(contents(Path("out")))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("input,output\na.wav,b.wav\nc.wav,b.wav\n", "a.wav and c.wav would both be written to b"),
        ("input,output\na.wav,\n", "m.csv, line 2: a row without output"),
        ("input\na.wav\n", "m.csv, line 1: a header of ['input'] without output"),
        (
            "input;output\na.wav;b.wav\n",
            "m.csv, line 1: a header of ['input;output'] without input",
        ),
        ("input, output\na.wav,b.wav\n", "a header of ['input', ' output'] without output"),
        ("input,output,input\na.wav,b.wav,c.wav\n", "m.csv, line 1: a header of ['input', "),
        ("input,output\na.wav,b.wav,c.wav\n", "m.csv, line 2: 3 values below a header of 2"),
        ('input,output\n"a.wav,b.wav\n', "m.csv, line 2: "),
        ("input,output\n", "m.csv lists no recordings"),
        ("input,output\na.wav,b\0.wav\n", "'b\\x00.wav' is no name that a file can have"),
    ],
)
def test_a_malformed_manifest_stops_before_any_work(
    run: Run, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    sf.write("a.wav", noise(500), 16000)
    Path("m.csv").write_text(text)
    assert run("--manifest", "m.csv") == 1
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert message in printed
    assert printed.count("\n") == 1
    assert sorted(contents(Path())) == ["a.wav", "m.csv"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.csv", "input,output\na.wav,b.wav\n".encode("utf-16"), "zero bytes, as in UTF-16"),
        ("m.jsonl", '{"input": "a.wav"}'.encode("utf-16"), "zero bytes, as in UTF-16"),
        ("m.jsonl", b'{"input": ["a.wav"], "output": "b.wav"}', "input is ['a.wav'], not text"),
        ("m.jsonl", b'{"input": "a.wav", "output": 7}', "output is 7, not text"),
    ],
)
def test_a_manifest_that_holds_something_else_is_one_line(
    run: Run, capsys: pytest.CaptureFixture[str], name: str, content: bytes, message: str
) -> None:
    Path(name).write_bytes(content)
    assert run("--manifest", name) == 1
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: {name}, line 1: {message}")
    assert printed.count("\n") == 1


def test_an_output_that_would_not_last_is_refused(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    recordings(Path("in"), 2)
    assert run("in/001.wav", "-o", "memory://bucket/x.wav") == 1
    assert "memory://bucket/x.wav would end with this process" in capsys.readouterr().err


@pytest.mark.parametrize("opening", ["[", '{"input": '])
def test_a_line_nested_without_end_is_one_line_of_error(
    run: Run, capsys: pytest.CaptureFixture[str], opening: str
) -> None:
    recordings(Path("in"), 2)
    line = ("in", "-o", "out", "-r", "--results", "r.jsonl", "--resume")
    assert run(*line) == 0
    with Path("r.jsonl").open("a") as record:
        record.write(opening * 100_000 + "\n")
    Path("m.jsonl").write_text(opening * 100_000)
    capsys.readouterr()
    of_record = (
        "r.jsonl, line 6",
        ("replace it with --force in place of --resume, or give another --results file"),
    )
    of_manifest = "m.jsonl, line 1", "give a table with input and output"
    for options, (place, remedy) in ((line, of_record), (("--manifest", "m.jsonl"), of_manifest)):
        assert run(*options) == 1
        printed = capsys.readouterr().err
        assert printed == f"error: {place}: values nested too deep to be read; {remedy}\n"


def test_no_room_for_the_list_is_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(sqlite3.connect("")) as full:
        full.execute("PRAGMA max_page_count = 2")
        monkeypatch.setattr(sqlite3, "connect", lambda _: full)
        recordings(Path("in"), 2)
        assert run("in", "-o", "out") == 1
    printed = capsys.readouterr().err
    assert printed.startswith("error: the temporary folder cannot hold the list of recordings (")
    assert printed.count("\n") == 1


def test_an_input_of_a_manifest_is_never_overwritten(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "ab":
        sf.write(f"{name}.wav", noise(500), 16000)
    Path("link.wav").symlink_to("b.wav")
    before = contents(Path())
    Path("m.csv").write_text("input,output\na.wav,b.wav\nlink.wav,c.wav\n")
    assert run("--manifest", "m.csv", "--force") == 1
    assert "b.wav is an input of this run" in capsys.readouterr().err
    assert contents(Path()).items() >= before.items()


@pytest.mark.parametrize(
    "arguments",
    [
        ["in", "-o", "out", "--resume"],
        ["--manifest", "m.csv", "in"],
        ["--manifest", "m.csv", "-o", "out"],
        ["--manifest", "m.txt"],
        ["in", "-o", "out", "--results", "r.txt"],
        ["in", "-o", "out", "--jobs", "0"],
        ["in", "-o", "out", "--ray-address", "auto"],
        ["in", "-o", "out", "--gpus", "1"],
        ["in", "-o", "out", "--gpus", "1", "--provider", "cuda"],
        ["in", "-o", "out", "--gpus", "1", "--engine", "ray"],
        ["in", "-o", "out", "--device-id", "0", "--engine", "ray"],
    ],
)
def test_wrong_usage_ends_with_2(run: Run, arguments: list[str]) -> None:
    recordings(Path("in"), 2)
    Path("m.csv").write_text("input,output\nin/001.wav,x.wav\n")
    assert run(*arguments) == 2
    assert not Path("x.wav").exists()
    assert not Path("out").exists()
