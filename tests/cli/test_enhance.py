"""fsnp-enhance as a shell sees it: files, streams, folders, messages and exit codes."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray

from fsnp_onnx.cli import enhance as command
from fsnp_onnx.runtime.bundled import DEFAULT_MODEL
from fsnp_onnx.runtime.enhancer import Enhancer
from tests.batch.folders import contents, recordings
from tests.cli.shell import shell
from tests.runtime.models import HALVES
from tests.runtime.signals import noise, tone
from tests.runtime.sound_files import odd

Run = Callable[..., int]
Samples = NDArray[np.float32]


@pytest.fixture
def run(unity_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Call the command with the unity model in an empty folder and return its exit code."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str | Path) -> int:
        line = ["fsnp-enhance", "--model", str(unity_path), *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", line)
        with pytest.raises(SystemExit) as ended:
            command.main()
        return int(ended.value.code or 0)

    return call


def wav(name: str, n_samples: int = 3000, rate: int = 16000, subtype: str = "PCM_16") -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, noise(n_samples), rate, subtype=subtype)
    return path


@pytest.mark.parametrize(
    ("name", "subtype", "rate", "channels"),
    [
        ("x.wav", "PCM_16", 16000, 1),
        ("x.wav", "FLOAT", 48000, 1),
        ("x.flac", "PCM_24", 44100, 2),
        ("x.ogg", "VORBIS", 32000, 2),
        ("x.mp3", "MPEG_LAYER_III", 44100, 2),
        ("x.aiff", "PCM_16", 8000, 1),
    ],
)
def test_everything_about_the_file_is_kept(
    run: Run, name: str, subtype: str, rate: int, channels: int
) -> None:
    source = np.stack([tone(rate + 77, rate, 300.0 * (c + 1)) for c in range(channels)], axis=1)
    sf.write(name, source, rate, subtype=subtype)
    assert run(name) == 0
    output = Path(name).with_name(f"x.enhanced{Path(name).suffix}")
    before, after = sf.info(name), sf.info(output)
    for attribute in ("format", "subtype", "samplerate", "channels", "frames"):
        assert getattr(after, attribute) == getattr(before, attribute)
    enhanced, _ = sf.read(output, dtype="float32", always_2d=True)
    assert np.abs(enhanced - source).max() < 0.05  # lossy codecs included


def test_one_line_says_what_was_done(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    wav("x.wav", 16000)
    assert run("x.wav") == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("x.wav -> x.enhanced.wav (1.00 s of audio in ")
    assert "on cpu, real-time factor" in printed.err
    assert printed.err.count("\n") == 1


def test_json_has_one_object_for_each_file(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    sf.write("a.wav", noise(22050, 2), 22050)
    Path("b.wav").write_bytes(b"junk")
    assert run("a.wav", "b.wav", "--json") == 1
    printed = capsys.readouterr()
    good, bad = (json.loads(line) for line in printed.out.splitlines())
    assert good["seconds"] > 0
    assert good["rtf"] == pytest.approx(good["seconds"], abs=2e-4)
    del good["seconds"], good["rtf"]
    assert good == {
        "input": "a.wav",
        "output": "a.enhanced.wav",
        "provider": "cpu",
        "sample_rate": 22050,
        "channels": 2,
        "duration_s": 1.0,
        "clipped": 0,
        "truncated": False,
        "warning": None,
    }
    assert bad["input"] == "b.wav"
    assert "cannot be decoded" in bad["error"]
    error, summary = printed.err.splitlines()
    assert error == f"error: {bad['error']}"
    assert summary.startswith("1 of 2 recordings enhanced, 1 failed, 0 skipped: 1.0 s of audio in ")


def test_clipped_samples_are_counted(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    sf.write("loud.wav", 40 * noise(4000), 16000, subtype="FLOAT")
    assert run("loud.wav", "-o", "loud.flac", "--json") == 0
    assert json.loads(capsys.readouterr().out)["clipped"] > 1000
    assert run("loud.wav", "-o", "again.flac") == 0
    assert "samples clipped" in capsys.readouterr().err


def test_another_extension_converts_the_container(run: Run) -> None:
    wav("x.wav", subtype="PCM_24")
    assert run("x.wav", "-o", "sub/y.flac") == 0
    info = sf.info("sub/y.flac")
    assert (info.format, info.subtype, info.frames) == ("FLAC", "PCM_24", 3000)


def test_several_files_go_into_a_folder(run: Run) -> None:
    wav("a.wav"), wav("b/b.wav")
    assert run("a.wav", "b/b.wav", "-o", "out") == 0
    assert sorted(p.name for p in Path("out").iterdir()) == ["a.wav", "b.wav"]


@pytest.mark.parametrize("output", ["out/", "there"])
def test_one_file_goes_into_a_folder_that_is_named_as_one(run: Run, output: str) -> None:
    Path("there").mkdir()
    wav("a.wav")
    assert run("a.wav", "-o", output) == 0
    assert (Path(output) / "a.wav").exists()


def test_folder_keeps_its_structure(run: Run) -> None:
    wav("in/a.wav"), wav("in/deep/er/b.flac"), wav("in/.hidden.wav")
    Path("in/notes.txt").write_text("no sound")
    assert run("in", "-o", "flat") == 0
    assert [str(p) for p in sorted(Path("flat").rglob("*.*"))] == ["flat/a.wav"]
    assert run("in", "-o", "out", "--recursive") == 0
    assert [str(p) for p in sorted(Path("out").rglob("*.*"))] == ["out/a.wav", "out/deep/er/b.flac"]


def test_output_below_the_input_folder_is_not_read_again(run: Run) -> None:
    wav("in/a.wav")
    for _ in range(2):
        assert run("in", "-o", "in/clean", "-r", "--force") == 0
    assert sorted(str(p) for p in Path("in").rglob("*.wav")) == ["in/a.wav", "in/clean/a.wav"]


def test_one_bad_file_does_not_stop_the_others(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    wav("a.wav"), wav("c.wav")
    Path("b.wav").write_bytes(b"junk")
    assert run("a.wav", "b.wav", "none.wav", "c.wav", "-o", "out") == 1
    assert sorted(p.name for p in Path("out").iterdir()) == ["a.wav", "c.wav"]
    errors = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error: ")]
    assert len(errors) == 2


def test_an_error_names_the_recording_it_is_about(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    loud = np.full(3000, 3e38, np.float32)
    loud[::2] *= -1
    sf.write("loud.wav", loud, 44100, "FLOAT")
    wav("fine.wav")
    assert run("fine.wav", "loud.wav", "-o", "out") == 1
    (error,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error: ")]
    assert error.startswith("error: loud.wav: ")


def test_existing_output_is_kept_without_force(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    wav("x.wav")
    Path("x.enhanced.wav").write_bytes(b"precious")
    assert run("x.wav") == 1
    assert "x.enhanced.wav exists already; use --force" in capsys.readouterr().err
    assert Path("x.enhanced.wav").read_bytes() == b"precious"
    assert run("x.wav", "--force") == 0
    assert sf.info("x.enhanced.wav").frames == 3000


@pytest.mark.parametrize("link", [os.symlink, os.link, None])
def test_input_is_never_overwritten(
    run: Run, capsys: pytest.CaptureFixture[str], link: Callable[[str, str], None] | None
) -> None:
    content = wav("x.wav").read_bytes()
    if link:
        link("x.wav", "y.wav")
    assert run("x.wav", "-o", "y.wav" if link else "x.wav", "--force") == 1
    assert "is an input of this run" in capsys.readouterr().err
    assert Path("x.wav").read_bytes() == content


@pytest.mark.parametrize("name", ["out.txt", "out", "out.opus"])
def test_output_that_cannot_be_written_is_found_before_the_work(run: Run, name: str) -> None:
    wav("x.wav", rate=44100)
    assert run("x.wav", "-o", name) == 1
    assert [p.name for p in Path.cwd().iterdir()] == ["x.wav"]


def test_the_summary_says_how_many_files_were_passed_over_and_why(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    wav("in/x.wav"), wav("in/sub/y.wav")
    for name in ("notes.txt", "table.csv"):
        Path("in", name).touch()
    Path("in/gone.wav").symlink_to("none.wav")
    assert run("in", "-o", "out", "-r") == 0
    printed = capsys.readouterr().err
    assert "3 passed over (2: not a sound file; 1: a link to nothing)\n" in printed
    assert run("in", "-o", "out2") == 0
    printed = capsys.readouterr().err
    assert "4 passed over (2: not a sound file; " in printed


def test_empty_folder_does_not_stop_the_others(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    wav("a/x.wav"), wav("c.wav")
    Path("b").mkdir()
    assert run("a", "b", "c.wav", "-o", "out", "--json") == 1
    assert sorted(p.name for p in Path("out").iterdir()) == ["c.wav", "x.wav"]
    printed = capsys.readouterr()
    assert printed.err.startswith("error: b contains no sound files")
    lines = [json.loads(line) for line in printed.out.splitlines()]
    assert [(line["input"], "error" in line) for line in lines] == [
        ("b", True),
        ("a/x.wav", False),
        ("c.wav", False),
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["in"],
        ["in", "-o", "-"],
        ["-", "x.wav"],
        ["-", "-o", "in"],
        ["x.wav", "-o", "-", "--json"],
        ["x.wav", "in/y.wav", "--plot", "p.png"],
        ["x.wav", "--provider", "tpu"],
        ["x.wav", "--threads", "0"],
        ["x.wav", "--attenuation-limit", "-3"],
        ["x.wav", "--strength", "1.1"],
        ["x.wav", "--channels", "both"],
        ["x.wav", "in/y.wav", "--residual", "r.wav"],
        ["x.wav", "-o", "y.wav", "--residual", "r.csv", "--summary", "r.csv"],
        ["x.wav", "--residual", "r.wav", "--engine", "ray"],
        ["x.wav", "--no-such-option"],
        ["in", "-o", "out", "--resume"],
        ["--manifest", "m.csv", "in"],
        ["--manifest", "m.txt"],
        ["in", "-o", "out", "--journal", "r.csv"],
        ["in", "-o", "out", "--summary", "s.json"],
        ["--manifest", "m.csv", "--summary", "./m.csv"],
        ["m.csv", "--summary", "m.csv", "--force"],
        ["x.wav", "-o", "s.csv", "--summary", "s.csv"],
        ["-", "--attenuation-limit", "-3", "--summary", "s.csv"],
        ["-", "--resume"],
        ["in", "-o", "out", "--jobs", "0"],
        ["in", "-o", "out", "--ray-address", "auto"],
        ["in", "-o", "out", "--gpus", "1"],
        ["in", "-o", "out", "--gpus", "1", "--provider", "cuda"],
        ["in", "-o", "out", "--gpus", "1", "--engine", "ray"],
        ["in", "-o", "out", "--gpus", "0", "--engine", "ray", "--provider", "cuda"],
        ["in", "-o", "out", "--device-id", "1", "--engine", "ray"],
        ["-", "--engine", "ray"],
        ["-", "--journal", "r.jsonl"],
        ["x.wav", "-o", "-", "--engine", "ray"],
        ["x.wav", "--plot", "x.png", "--engine", "ray"],
        ["x.wav", "--plot", "x.jpg"],
        ["-", "-o", "z.wav", "--plot", "x.jpg"],
        ["x.wav", "--format", "f32le"],
    ],
)
def test_wrong_usage_ends_with_2_and_writes_nothing(run: Run, arguments: list[str]) -> None:
    wav("x.wav"), wav("in/y.wav")
    Path("m.csv").write_text("input,output\nx.wav,z.wav\n")
    assert run(*arguments) == 2
    assert sorted(p.name for p in Path.cwd().rglob("*.*")) == ["m.csv", "x.wav", "y.wav"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x.wav", "--jobs", "0"], "error: --jobs is 0; give 1 or more\n"),
        (["x.wav", "--attenuation-limit", "-3"], "error: --attenuation-limit is -3.0; give 0 dB"),
        ([], "error: INPUT is missing; give sound files, folders or a manifest\n"),
        (["x.wav", "-o", "y.wav", "--resume"], "error: --resume needs a journal"),
        (["-", "--engine", "ray"], "error: --engine needs files; standard input"),
        (["x.wav", "--threads", "two"], "error: Invalid value for '--threads': "),
        (["x.wav", "--nope"], "error: No such option: --nope"),
        (
            ["x.wav", "-m", str(HALVES), "--attenuation-limit", "9"],
            "error: --attenuation-limit is 9,",
        ),
        (
            ["x.wav", "-m", str(HALVES), "--channels", "linked"],
            "error: --channels is 'linked', but",
        ),
    ],
)
def test_a_wrong_argument_is_one_line_that_names_the_option(
    run: Run, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    wav("x.wav")
    assert run(*arguments) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(message)
    assert printed.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-m", "none.onnx"], "cannot read the model none.onnx"),
        (["-m", "x.wav"], "expected an ONNX file written by fsnp-export"),
        (["--provider", "cuda"], "CUDA"),
    ],
)
def test_model_that_does_not_start_is_one_line(
    run: Run, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    wav("x.wav")
    assert run("x.wav", *arguments) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert message in printed
    assert printed.count("\n") == 1


def test_plot_shows_both_spectrograms(run: Run) -> None:
    wav("x.wav", 20000, rate=44100)
    assert run("x.wav", "--plot", "pictures/x.png") == 0
    assert Path("pictures/x.png").read_bytes().startswith(b"\x89PNG")
    assert run("x.wav", "-o", "y.wav", "--plot", "pictures/x.png") == 1
    assert not Path("y.wav").exists()


def test_plot_of_a_long_recording_is_drawn(run: Run) -> None:
    wav("x.wav", 1_000_000, rate=8000)
    assert run("x.wav", "--plot", "x.png") == 0
    assert Path("x.png").read_bytes().startswith(b"\x89PNG")


def test_a_bar_is_drawn_on_a_terminal_only(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wav("x.wav")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda _: True)
    assert run("x.wav") == 0
    printed = capsys.readouterr()
    assert "1/1" in printed.err
    assert "\x1b[2Kx.wav -> x.enhanced.wav (" in printed.err  # not behind the bar
    assert "real-time factor" in printed.err
    assert printed.out == ""


def test_version_is_printed(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out.startswith("fsnp-onnx ")


def test_help_has_the_common_options_first_and_examples_last(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--help") == 0
    printed = capsys.readouterr().out
    panels = ("Signal", "Other outputs", "Many recordings", "Where it runs")
    parts = ("--output", "--force", *(f"─ {panel} ─" for panel in panels), "fsnp-enhance talk.wav ")
    places = [printed.index(part) for part in parts]
    assert places == sorted(places)


def test_wav_goes_through_a_pipe(unity_path: Path) -> None:
    stream = io.BytesIO()
    sf.write(stream, noise(5000, 2), 22050, format="WAV", subtype="PCM_24")
    ended = subprocess.run(
        shell(unity_path, "-"), input=stream.getvalue(), capture_output=True, check=True
    )
    enhanced = io.BytesIO(ended.stdout)
    info = sf.info(enhanced)
    assert (info.format, info.subtype, info.frames) == ("WAV", "PCM_24", 5000)
    assert (info.samplerate, info.channels) == (22050, 2)
    assert ended.stderr.startswith(b"- -> - (")


def test_stream_can_be_written_to_a_file_and_a_file_to_a_stream(
    unity_path: Path, tmp_path: Path
) -> None:
    sf.write(tmp_path / "x.flac", noise(5000), 16000)
    with (tmp_path / "x.flac").open("rb") as source:
        subprocess.run(
            shell(unity_path, "-", "-o", "y.mp3"), stdin=source, cwd=tmp_path, check=True
        )
    assert sf.info(tmp_path / "y.mp3").frames == 5000
    ended = subprocess.run(
        shell(unity_path, "x.flac", "-o", "-"), cwd=tmp_path, capture_output=True, check=True
    )
    assert sf.info(io.BytesIO(ended.stdout)).frames == 5000


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has it")
@pytest.mark.parametrize("options", [["-o", "-"], ["--json"]], ids=["sound", "json"])
def test_standard_output_on_a_full_disk_is_one_line_that_names_it(
    unity_path: Path, tmp_path: Path, options: list[str]
) -> None:
    sf.write(tmp_path / "x.wav", noise(5000), 16000)
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            shell(unity_path, "x.wav", *options),
            cwd=tmp_path,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert ended.returncode == 1
    assert ended.stderr == "error: cannot write standard output (No space left on device)\n"


def test_empty_stream_is_one_line(unity_path: Path) -> None:
    ended = subprocess.run(shell(unity_path, "-"), input=b"", capture_output=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith(b"error: the stream cannot be decoded")
    assert ended.stderr.count(b"\n") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="others do not limit a process like this")
def test_short_memory_is_one_line(unity_path: Path, tmp_path: Path) -> None:
    sf.write(tmp_path / "x.wav", noise(16000 * 600), 16000)
    limited = 'ulimit -v 400000; exec "$0" "$@"'
    line = shell(unity_path, "x.wav", "--provider", "cpu", "--threads", "1")
    ended = subprocess.run(
        ["sh", "-c", limited, *line],
        cwd=tmp_path,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},  # each reserves memory of its own
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: x.wav: ")
    assert ended.stderr.endswith("; give shorter audio or fewer jobs\n")
    assert ended.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["x.wav"]


def test_closed_pipe_is_no_traceback(unity_path: Path, tmp_path: Path) -> None:
    sf.write(tmp_path / "x.wav", noise(200_000), 16000)
    line = shell(unity_path, str(tmp_path / "x.wav"), "-o", "-")
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        errors = process.stderr.read()
        assert process.wait(20) == 1
    assert errors == b""


def test_interrupt_ends_with_130_and_leaves_nothing(unity_path: Path, tmp_path: Path) -> None:
    sf.write(tmp_path / "x.wav", noise(16000), 16000)
    code = (
        "import time; from fsnp_onnx import Enhancer; from fsnp_onnx.cli import start;"
        "Enhancer.enhance = lambda *_, **__: (print('begun', flush=True), time.sleep(60));"
        "start.enhance()"
    )
    line = [sys.executable, "-c", code, "-m", str(unity_path), "x.wav"]
    with subprocess.Popen(
        line, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"begun\n"
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
        assert process.stderr.read().strip() == b"interrupted"
    assert [p.name for p in tmp_path.iterdir()] == ["x.wav"]


def test_runtime_works_where_torch_and_onnx_cannot_be_imported(
    unity_path: Path, tmp_path: Path
) -> None:
    shutil.copy(unity_path, tmp_path / "m.onnx")
    sf.write(tmp_path / "x.wav", noise(3000), 44100)
    code = (
        "import sys;"
        "sys.modules.update(dict.fromkeys(['torch', 'onnx', 'onnxsim', 'onnxscript']));"
        "import fsnp_onnx, numpy;"
        "x = numpy.ones(3000, numpy.float32);"
        "assert fsnp_onnx.Enhancer('m.onnx').enhance(x, 48000).shape == (3000,);"
        "sys.argv = ['fsnp-enhance', 'x.wav', '-m', 'm.onnx', '--plot', 'x.png', '--json'];"
        "from fsnp_onnx.cli.enhance import main; main()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["output"] == "x.enhanced.wav"


def test_slow_packages_are_imported_only_when_needed(unity_path: Path, tmp_path: Path) -> None:
    sf.write(tmp_path / "x.wav", noise(16000), 16000)
    code = (
        "import sys, atexit;"
        "slow = {'rich', 'filelock', 'matplotlib', 'soxr', 'torch', 'onnx', 'scipy'};"
        "atexit.register(lambda: print(sorted(slow & set(sys.modules))));"
        "from fsnp_onnx.cli.enhance import main; main()"
    )
    line = [sys.executable, "-c", code, "-m", str(unity_path), "x.wav"]
    ended = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


def test_closed_standard_error_is_no_obstacle(unity_path: Path, tmp_path: Path) -> None:
    sf.write(tmp_path / "x.wav", noise(3000), 16000)
    line = ["sh", "-c", 'exec "$0" "$@" 2>&-', *shell(unity_path, "x.wav", "--json")]
    ended = subprocess.run(line, cwd=tmp_path, stdout=subprocess.PIPE, check=True)
    assert json.loads(ended.stdout)["output"] == "x.enhanced.wav"


def test_killed_run_leaves_no_partial_file(unity_path: Path, tmp_path: Path) -> None:
    sf.write(tmp_path / "x.wav", noise(16000), 16000)
    code = (
        "import time; from fsnp_onnx.cli import start; import soundfile;"
        "write = soundfile.SoundFile.write;"
        "soundfile.SoundFile.write = lambda self, x: ("
        "  write(self, x), len(x) > 1 and (print('begun', flush=True), time.sleep(60)));"
        "start.enhance()"
    )
    line = [sys.executable, "-c", code, "-m", str(unity_path), "x.wav"]
    with subprocess.Popen(line, cwd=tmp_path, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        assert len(list(tmp_path.iterdir())) == 2
        process.terminate()
        assert process.wait(10) == 143
    assert [p.name for p in tmp_path.iterdir()] == ["x.wav"]


@pytest.mark.skipif(sys.platform != "linux", reason="others have no such names")
def test_names_need_not_be_utf8(
    run: Run, unity_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, folder, journal, summary = map(
        os.fsdecode, (b"in/\xff.wav", b"out\xfe", b"\xfd.jsonl", b"\xfc.csv")
    )
    wav("x.wav")
    Path("in").mkdir()
    Path("x.wav").rename(source)
    line = ("in", "-o", f"{folder}/", "--json", "--journal", journal, "--resume")
    assert run(*line, "--summary", summary) == 0
    target = f"{folder}/{Path(source).name}"
    assert Path(target).exists()
    assert b"in/\xff.wav,out\xfe/\xff.wav," in Path(summary).read_bytes()
    row = json.loads(capsys.readouterr().out)
    assert (row["input"], row["output"]) == (source, target)
    assert run(*line) == 0
    assert not capsys.readouterr().out  # what is done is known by its name
    for message in (" -> in/\\udcff.enhanced.wav (", ": in/\\udcff.enhanced.wav exists already; "):
        printed = subprocess.run(shell(unity_path, source), capture_output=True, check=False)
        assert message.encode() in printed.stderr


def test_attenuation_limit_is_passed_on(run: Run) -> None:
    wav("x.wav", subtype="FLOAT")
    model = Path(__file__).parents[1] / "data" / "wavy.onnx"
    line = ("x.wav", "-o", "y.wav", "-m", model, "--provider", "cpu", "--attenuation-limit", "3.5")
    assert run(*line, "--journal", "r.jsonl") == 0
    first, *_ = Path("r.jsonl").read_text().splitlines()
    assert json.loads(first)["attenuation_limit_db"] == 3.5
    noisy, limited = (sf.read(name, dtype="float32")[0] for name in ("x.wav", "y.wav"))
    enhancer = Enhancer(model, "cpu")
    wanted = enhancer.enhance(noisy, 16000, attenuation_limit_db=3.5)
    np.testing.assert_array_equal(limited, wanted)
    assert np.abs(limited - enhancer.enhance(noisy, 16000)).max() > 1e-2


def test_strength_and_channels_are_passed_on(run: Run) -> None:
    sf.write("x.wav", noise(9000, 2), 16000, "FLOAT")
    model = DEFAULT_MODEL
    line = ("x.wav", "-o", "y.wav", "-m", model, "--provider", "cpu")
    assert run(*line, "--strength", "0.25", "--channels", "linked") == 0
    noisy, mixed = (sf.read(name, dtype="float32")[0] for name in ("x.wav", "y.wav"))
    wanted = Enhancer(model, "cpu").enhance(noisy, 16000, strength=0.25, channels="linked")
    np.testing.assert_array_equal(mixed, wanted)


def test_a_stream_takes_all_options_of_one_recording(unity_path: Path, tmp_path: Path) -> None:
    source = io.BytesIO()
    sf.write(source, noise(5000, 2), 22050, format="WAV", subtype="PCM_24")
    options = ("--strength", "0", "--channels", "linked", "--strict", "--residual", "r.wav")
    ended = subprocess.run(
        shell(unity_path, "-", *options),
        cwd=tmp_path,
        input=source.getvalue(),
        capture_output=True,
        check=True,
    )
    source.seek(0)
    noisy, _ = sf.read(source, dtype="int32")
    enhanced, _ = sf.read(io.BytesIO(ended.stdout), dtype="int32")
    assert np.array_equal(enhanced, noisy)
    removed, _ = sf.read(tmp_path / "r.wav", dtype="int32")
    assert removed.shape == noisy.shape
    assert not removed.any()


@pytest.mark.parametrize("as_json", [False, True])
def test_a_warning_is_one_line_that_names_the_recording(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    as_json: bool,
) -> None:
    wav("x.wav")
    odd(monkeypatch, "truncated: 3000 of 6000 samples")
    line = ("x.wav", "--journal", "r.jsonl", "--resume", "--summary", "s.csv")
    assert run(*line, *(["--json"] if as_json else [])) == 0
    printed = capsys.readouterr()
    first, *others = printed.err.splitlines()
    assert first == "warning: x.wav: truncated: 3000 of 6000 samples"
    assert len(others) == (0 if as_json else 1)
    if as_json:
        assert json.loads(printed.out)["truncated"] is True
    with Path("s.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["truncated"], row["warning"]) == ("True", "truncated: 3000 of 6000 samples")
    assert run(*line) == 0
    assert "warning" not in capsys.readouterr().err  # of what was skipped


def test_strict_makes_it_an_error(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wav("x.wav")
    odd(monkeypatch, "truncated: 3000 of 6000 samples")
    assert run("x.wav", "--strict") == 1
    assert capsys.readouterr().err == "error: x.wav: truncated: 3000 of 6000 samples\n"
    assert [path.name for path in Path().iterdir()] == ["x.wav"]


def test_the_last_line_sums_up_a_run(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    recordings(Path("in"), 4)
    line = ("in", "-o", "out", "-r", "--journal", "r.jsonl", "--resume")
    assert run(*line) == 0
    last = capsys.readouterr().err.splitlines()[-1]
    pattern = (
        r"4 of 4 recordings enhanced, 0 failed, 0 skipped: 0\.9 s of audio in [\d.]+ s "
        r"\([\d.]+x real time\)"
    )
    assert re.fullmatch(pattern, last)
    assert run(*line) == 0
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("0 of 4 recordings enhanced, 0 failed, 4 skipped: ")


def test_a_summary_has_a_row_for_each_recording(run: Run) -> None:
    recordings(Path("in"), 2)
    line = ("in", "-o", "out", "-r", "--journal", "r.jsonl", "--resume", "--summary", "s.csv")
    assert run(*line) == 0
    Path("in/bad,.wav").write_bytes(b"junk")
    assert run(*line) == 1
    with Path("s.csv").open(newline="") as file:
        rows = {row["input"]: row for row in csv.DictReader(file)}
    assert len(rows) == 3
    assert rows["in/001.wav"]["output"] == "out/001.wav"
    assert rows["in/001.wav"]["skipped"] == "True"
    assert float(rows["in/001.wav"]["duration_s"]) == pytest.approx(3500 / 16000, abs=1e-4)
    assert rows["in/001.wav"]["error"] == ""
    assert "cannot be decoded" in rows["in/bad,.wav"]["error"]


def test_an_existing_summary_is_kept_without_force_and_another_file_always(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    wav("x.wav")
    line = ("x.wav", "-o", "y.wav", "--summary", "s.csv")
    Path("s.csv").write_text("input,output\nprecious,row\n")
    before = contents(Path())
    assert run(*line) == 1
    assert "s.csv exists already; use --force" in capsys.readouterr().err
    assert run(*line, "--force") == 1
    assert "s.csv is not the summary of a run" in capsys.readouterr().err
    assert contents(Path()) == before
    Path("s.csv").unlink()
    assert run(*line) == 0
    first = Path("s.csv").read_bytes()
    assert run(*line) == 1
    assert Path("s.csv").read_bytes() == first
    assert run(*line, "--force") == 0
    assert first.splitlines()[0] == Path("s.csv").read_bytes().splitlines()[0]
    Path("s.csv").write_text("input,output,seconds,rtf,provider,error\n")  # of another version
    assert run(*line, "--force") == 0
    assert first.splitlines()[0] == Path("s.csv").read_bytes().splitlines()[0]
    assert [path.name for path in Path().iterdir() if path.name.startswith(".")] == []


def test_a_closed_pipe_is_not_the_fault_of_the_summary(unity_path: Path, tmp_path: Path) -> None:
    recordings(tmp_path / "in", 30)
    line = shell(unity_path, "in", "-o", "out", "-r", "--json", "--summary", "s.csv")
    with subprocess.Popen(
        line, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(20) == 1
    n_rows = len((tmp_path / "s.csv").read_text().splitlines()) - 1
    assert 0 < n_rows == len(contents(tmp_path / "out")) < 30


def test_a_manifest_takes_the_place_of_the_inputs(run: Run) -> None:
    wav("x.wav")
    Path("m.csv").write_text("input,output\nx.wav,z.wav\n")
    assert run("--manifest", "m.csv") == 0
    assert sf.info("z.wav").frames == 3000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_a_run_of_two_processes_with_one_line_and_leaves_nothing(
    unity_path: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    recordings(tmp_path / "in", 60)
    options = ("-r", "--jobs", "2", "-o", "out", "--json", "--summary", "s.csv")
    (tmp_path / "temporary").mkdir()
    with subprocess.Popen(
        shell(unity_path, "in", *options),
        cwd=tmp_path,
        env=os.environ | {"TMPDIR": str(tmp_path / "temporary")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
        assert process.wait(60) == code
        assert process.stderr.read() == "interrupted\n"
    outputs = contents(tmp_path / "out")
    assert 0 < len(outputs) < 60
    assert not list(tmp_path.rglob("*.part"))
    assert not list((tmp_path / "temporary").iterdir())
    with (tmp_path / "s.csv").open(newline="") as file:
        told = {row["output"].removeprefix("out/") for row in csv.DictReader(file)}
    assert told
    assert told <= outputs.keys()


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_command_runs_on_a_cluster_and_hears_signals(
    unity_path: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    recordings(tmp_path / "in", 100)
    options = ("in", "-r", "-o", "out", "--engine", "ray", "--jobs", "1", "--json")
    with (
        tempfile.TemporaryDirectory(prefix="r") as short,
        subprocess.Popen(
            shell(unity_path, *options),
            cwd=tmp_path,
            env=os.environ | {"RAY_TMPDIR": short},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["provider"] == "cpu"
        process.send_signal(number)
        assert process.wait(120) == code
        assert process.stderr.read().splitlines()[-1] == "interrupted"
    assert not list(tmp_path.rglob("*.part"))
