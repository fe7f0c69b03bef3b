"""fsnp-enhance as a shell sees it: files, streams, folders, messages and exit codes."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray

from fsnp_onnx import Enhancer
from fsnp_onnx.cli import enhance as command
from tests.runtime.signals import noise, tone

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


def shell(unity_path: Path, *arguments: str) -> list[str]:
    code = "from fsnp_onnx.cli.enhance import main; main()"
    return [sys.executable, "-c", code, "--model", str(unity_path), *arguments]


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
    }
    assert bad["input"] == "b.wav"
    assert "cannot be decoded" in bad["error"]
    error, summary = printed.err.splitlines()
    assert error == f"error: {bad['error']}"
    assert summary.startswith("1 of 2 recordings enhanced, 1 failed, 0 skipped: 0.0003 hours of")


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


@pytest.mark.skipif(sys.platform != "linux", reason="others have no such names")
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_names_need_not_be_utf8(
    run: Run, unity_path: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    source, folder, results = map(os.fsdecode, (b"in/\xff.wav", b"out\xfe", b"\xfd"))
    wav("x.wav")
    Path("in").mkdir()
    Path("x.wav").rename(source)
    line = ("in", "-o", f"{folder}/", "--json", "--results", f"{results}{suffix}", "--resume")
    assert run(*line) == 0
    target = f"{folder}/{Path(source).name}"
    assert Path(target).exists()
    told = json.loads(capsys.readouterr().out)
    assert (told["input"], told["output"]) == (source, target)
    assert run(*line) == 0
    assert not capsys.readouterr().out  # what is done is known by its name
    for message in (" -> in/\\udcff.enhanced.wav (", ": in/\\udcff.enhanced.wav exists; "):
        told_to_people = subprocess.run(shell(unity_path, source), capture_output=True, check=False)
        assert message.encode() in told_to_people.stderr


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
    assert "x.enhanced.wav exists; use --force" in capsys.readouterr().err
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


def test_another_input_is_never_overwritten(run: Run) -> None:
    wav("x.wav"), wav("x.enhanced.wav", 500)
    assert run("x.wav", "x.enhanced.wav", "--force") == 1
    assert sf.info("x.enhanced.wav").frames == 500


@pytest.mark.parametrize("link", [os.symlink, os.link, None])
def test_the_model_is_never_overwritten(
    run: Run,
    unity_path: Path,
    capsys: pytest.CaptureFixture[str],
    link: Callable[[str, str], None] | None,
) -> None:
    wav("x.wav")
    shutil.copy(unity_path, "u.wav")
    if link:
        link("u.wav", "y.wav")
    arguments = ("-m", "u.wav", "-o", "y.wav" if link else "u.wav", "--force")
    assert run("x.wav", *arguments) == 1
    assert "or its model" in capsys.readouterr().err
    assert Path("u.wav").read_bytes() == unity_path.read_bytes()


def test_two_inputs_for_one_output_stop_before_any_work(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    wav("a/x.wav"), wav("b/x.wav"), wav("c.wav")
    assert run("c.wav", "a/x.wav", "b/x.wav", "-o", "out") == 1
    assert "a/x.wav and b/x.wav would both be written" in capsys.readouterr().err
    assert not Path("out").exists()


@pytest.mark.parametrize("name", ["out.txt", "out", "out.opus"])
def test_output_that_cannot_be_written_is_found_before_the_work(run: Run, name: str) -> None:
    wav("x.wav", rate=44100)
    assert run("x.wav", "-o", name) == 1
    assert [p.name for p in Path.cwd().iterdir()] == ["x.wav"]


def test_empty_folder_is_reported(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    wav("in/deep/x.wav")
    assert run("in", "-o", "out") == 1
    assert "in holds no sound files" in capsys.readouterr().err


def test_empty_folder_does_not_stop_the_others(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    wav("a/x.wav"), wav("c.wav")
    Path("b").mkdir()
    assert run("a", "b", "c.wav", "-o", "out", "--json") == 1
    assert sorted(p.name for p in Path("out").iterdir()) == ["c.wav", "x.wav"]
    printed = capsys.readouterr()
    assert printed.err.startswith("error: b holds no sound files")
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
        ["x.wav", "--no-such-option"],
    ],
)
def test_wrong_usage_ends_with_2_and_writes_nothing(run: Run, arguments: list[str]) -> None:
    wav("x.wav"), wav("in/y.wav")
    assert run(*arguments) == 2
    assert sorted(p.name for p in Path.cwd().rglob("*.*")) == ["x.wav", "y.wav"]


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


def test_attenuation_limit_is_passed_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = []

    def remember(_: Enhancer, samples: Samples, __: float, limit_db: float) -> Samples:
        limits.append(limit_db)
        return samples

    monkeypatch.setattr(Enhancer, "enhance", remember)
    wav("x.wav")
    assert run("x.wav", "--attenuation-limit", "12.5") == 0
    assert limits == [12.5]


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


@pytest.mark.parametrize("plot", ["x.wav", "y.wav", "./y.wav", "to_y.wav", "m.onnx", "to_m", "lm"])
def test_plot_over_a_file_of_the_run_is_refused_before_the_work(
    run: Run, unity_path: Path, capsys: pytest.CaptureFixture[str], plot: str
) -> None:
    wav("x.wav")
    shutil.copy(unity_path, "m.onnx")
    Path("to_m").symlink_to("m.onnx")
    Path("lm").hardlink_to("m.onnx")
    Path("to_y.wav").symlink_to("y.wav")
    before = {p.name: p.read_bytes() for p in Path.cwd().iterdir() if p.exists()}
    assert run("x.wav", "-m", "m.onnx", "-o", "y.wav", "--plot", plot, "--force") == 1
    assert capsys.readouterr().err.startswith(f"error: {Path(plot)} is ")
    assert {p.name: p.read_bytes() for p in Path.cwd().iterdir() if p.exists()} == before


def test_plot_without_matplotlib_is_found_before_the_work(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    wav("x.wav")
    assert run("x.wav", "--plot", "x.png") == 1
    assert "pip install 'fsnp-onnx[plot]'" in capsys.readouterr().err
    assert [p.name for p in Path.cwd().iterdir()] == ["x.wav"]


def test_a_bar_is_drawn_on_a_terminal_only(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wav("x.wav")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda _: True)
    assert run("x.wav") == 0
    printed = capsys.readouterr()
    assert "0%" in printed.err
    assert "\x1b[2Kx.wav -> x.enhanced.wav (" in printed.err  # not behind the bar
    assert "real-time factor" in printed.err
    assert printed.out == ""


def test_version_is_printed(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out.startswith("fsnp-onnx ")


def test_help_shows_examples(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    assert "fsnp-enhance talk.wav " in capsys.readouterr().out


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


def test_empty_stream_is_one_line(unity_path: Path) -> None:
    ended = subprocess.run(shell(unity_path, "-"), input=b"", capture_output=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith(b"error: standard input cannot be decoded")
    assert ended.stderr.count(b"\n") == 1


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
        "import time; from fsnp_onnx import Enhancer; from fsnp_onnx.cli import enhance;"
        "Enhancer.enhance = lambda *_: (print('begun', flush=True), time.sleep(60));"
        "enhance.main()"
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
        "slow = {'rich', 'matplotlib', 'soxr', 'torch', 'onnx', 'scipy'};"
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
        "import time; from fsnp_onnx.cli import enhance; import soundfile;"
        "write = soundfile.SoundFile.write;"
        "soundfile.SoundFile.write = lambda self, x: ("
        "  write(self, x), len(x) > 1 and (print('begun', flush=True), time.sleep(60)));"
        "enhance.main()"
    )
    line = [sys.executable, "-c", code, "-m", str(unity_path), "x.wav"]
    with subprocess.Popen(line, cwd=tmp_path, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        assert len(list(tmp_path.iterdir())) == 2
        process.terminate()
        assert process.wait(10) == 143
    assert [p.name for p in tmp_path.iterdir()] == ["x.wav"]
