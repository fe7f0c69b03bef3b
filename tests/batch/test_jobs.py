"""What is written where: folders of any size, links, collisions."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from fsnp_onnx.batch.inputs import add_inputs
from fsnp_onnx.batch.jobs import Plan
from fsnp_onnx.batch.search import Found, search
from fsnp_onnx.errors import ArgumentError, OutputError


def touch(*names: str) -> None:
    for name in names:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def pairs(plan: Plan) -> list[tuple[str | None, str | None]]:
    return [(job.source, job.target) for job in plan.jobs(longest_first=False)]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def found(folder: str, output: str = "out", *, recursive: bool = True) -> list[str]:
    errors: list[OSError] = []
    files = search(folder, output, recursive=recursive, on_error=errors.append)
    names = [file.relative for file in files if not file.passed_over]
    assert not errors
    return names


def test_files_are_found_sorted_in_every_folder() -> None:
    touch("in/b.wav", "in/a/z.WAV", "in/a/y.flac", "in/c/d/e.mp3", "in/c.ogg")
    touch("in/no.txt", "in/.hidden.wav", "in/wav")
    assert found("in") == ["b.wav", "c.ogg", "a/y.flac", "a/z.WAV", "c/d/e.mp3"]
    assert found("in", recursive=False) == ["b.wav", "c.ogg"]


def test_links_to_files_are_followed_and_links_to_folders_are_not() -> None:
    touch("in/a.wav", "elsewhere/b.wav")
    Path("in/link.wav").symlink_to(Path("elsewhere/b.wav").absolute())
    Path("in/folder").symlink_to(Path("elsewhere").absolute())
    Path("in/nowhere.wav").symlink_to("none.wav")
    Path("in/loop").symlink_to(Path("in").absolute())
    assert found("in") == ["a.wav", "link.wav"]


def test_the_output_below_the_input_is_passed_over_by_any_name() -> None:
    touch("in/a.wav", "in/out/a.wav", "in/other/b.wav")
    Path("alias").symlink_to("in/out")
    Path("in/other/c.wav").symlink_to(Path("in/out/a.wav").absolute())
    for name in ("in/out", "./in/../in/out", "alias"):
        assert found("in", name) == ["a.wav", "other/b.wav"]
    assert found("in/other", "in") == ["b.wav", "c.wav"]


def test_size_is_that_of_the_file() -> None:
    touch("in/a.wav")
    Path("in/a.wav").write_bytes(b"12345")
    files = search("in", "out", recursive=False, on_error=print)
    assert list(files) == [Found("in/a.wav", "a.wav", 5)]


def test_a_folder_that_cannot_be_read_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scandir = os.scandir

    def refuse(path: str) -> Iterator[os.DirEntry[str]]:
        if Path(path).name == "b":  # by itself root may look everywhere
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    touch("in/a.wav", "in/b/c.wav", "in/d/e.wav")
    monkeypatch.setattr(os, "scandir", refuse)
    plan = Plan()
    add_inputs(plan, ["in"], "out", recursive=True)
    assert pairs(plan) == [("in/a.wav", "out/a.wav"), ("in/d/e.wav", "out/d/e.wav")]
    assert str(plan.failed["in/b"]) == "cannot read in/b (Permission denied)"
    plan.close()


def test_names_need_not_be_utf8() -> None:
    name = os.fsdecode(b"in/\xff\n.wav")
    touch(name)
    plan = Plan()
    add_inputs(plan, ["in"], "out", recursive=False)
    assert pairs(plan) == [(name, name.replace("in/", "out/"))]
    assert plan.is_input(name)
    plan.close()


@pytest.mark.parametrize("second", ["out/x.wav", "./out/x.wav", "alias/x.wav", "out/../out/x.wav"])
def test_two_names_of_one_output_collide(second: str) -> None:
    Path("out").mkdir()
    Path("alias").symlink_to("out")
    plan = Plan()
    plan.add("a.wav", "out/x.wav")
    with pytest.raises(OutputError, match=r"a\.wav and b\.wav would both be written to"):
        plan.add("b.wav", second)
    plan.close()


def test_inputs_are_known_by_any_name() -> None:
    touch("in/real.wav", "in/other.wav")
    Path("link.wav").symlink_to("in/real.wav")
    Path("alias").symlink_to("in")
    plan = Plan()
    plan.add("link.wav", "out.wav")
    for name in ("link.wav", "in/real.wav", "alias/real.wav", "./in/../link.wav"):
        assert plan.is_input(name)
    assert not plan.is_input("in/other.wav")
    plan.close()


def test_url_of_a_local_file_is_its_path() -> None:
    touch("in/a b.wav", "other/c.wav")
    plan = Plan()
    here = Path.cwd().as_uri()
    add_inputs(plan, [f"{here}/in/a%20b.wav", f"{here}/other"], f"{here}/out/", recursive=False)
    assert pairs(plan) == [
        (f"{Path.cwd()}/in/a b.wav", f"{Path.cwd()}/out/a b.wav"),
        (f"{Path.cwd()}/other/c.wav", f"{Path.cwd()}/out/c.wav"),
    ]
    plan.close()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_a_large_plan_is_not_in_memory() -> None:
    # not ru_maxrss, which begins with the peak of the process that started this one
    code = (
        "from pathlib import Path;"
        "from fsnp_onnx.batch.jobs import Plan;"
        "words = lambda: Path('/proc/self/status').read_text().split();"
        "peak = lambda: int(words()[words().index('VmHWM:') + 1]);"
        "plan = Plan();"
        "before = peak();"
        "[None for i in range(60_000) if plan.add(f'in/{i:0150d}.wav', f'out/{i:0150d}.wav', i)];"
        "assert sum(1 for _ in plan.jobs(longest_first=True)) == 60_000;"
        "print(peak() - before)"
    )
    line = [sys.executable, "-c", code]
    ended = subprocess.run(line, capture_output=True, text=True, check=True)
    assert int(ended.stdout) * 1024 < 12e6  # its names alone are 37 MB


def test_every_file_of_a_folder_that_is_passed_over_has_a_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fsnp_onnx.batch.search.has_av", lambda: False)
    touch("in/a.wav", "in/film.MP4", "in/notes.txt", "in/.b.wav", "in/.DS_Store", "in/sub/c.wav")
    touch("in/out/d.wav", "elsewhere/e.wav", "in/.trash/f.wav")
    os.mkfifo("in/pipe.wav")
    Path("in/nowhere.flac").symlink_to("none.flac")
    Path("in/linked").symlink_to(Path("elsewhere").absolute())
    passed_over: dict[str, str] = {}
    plan = Plan()
    add_inputs(plan, ["in"], "in/out", recursive=False, on_passed_over=passed_over.__setitem__)
    assert pairs(plan) == [("in/a.wav", "in/out/a.wav")]
    assert passed_over == {
        "in/.b.wav": "a hidden file",
        "in/.trash": "a hidden folder",
        "in/film.MP4": "needs pip install 'fsnp-onnx[av]'",
        "in/linked": "a link to a folder",
        "in/notes.txt": "not a sound file",
        "in/nowhere.flac": "a link to nothing",
        "in/pipe.wav": "not a regular file",
        "in/sub": "a subfolder; --recursive (recursive=True) searches it",
    }


def test_what_cannot_be_written_back_becomes_a_wav_beside_all_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fsnp_onnx.batch.search.has_av", lambda: True)
    touch("in/talk.m4a", "in/talk.wav", "in/film.mp4", "in/a/talk.m4a")
    plan = Plan()
    add_inputs(plan, ["in"], "out", recursive=True)
    assert pairs(plan) == [
        ("in/talk.wav", "out/talk.wav"),
        ("in/film.mp4", "out/film.wav"),
        ("in/talk.m4a", "out/talk.m4a.wav"),
        ("in/a/talk.m4a", "out/a/talk.wav"),
    ]


@pytest.mark.parametrize(
    ("container", "ending"),
    [("WAV", ".wav"), ("FLAC", ".flac"), ("MP3", ".mp3"), ("AIFF", ".aiff")],
)
@pytest.mark.parametrize("name", ["talk", "talk.2026-11-28", "talk.bak"])
def test_a_name_without_the_ending_of_a_sound_file_gets_that_of_its_content(
    name: str, container: str, ending: str
) -> None:
    sf.write(name, np.zeros(4000), 16000, format=container)
    plan = Plan()
    add_inputs(plan, [name], None, recursive=False)
    add_inputs(plan, [name], "out/", recursive=False)
    assert pairs(plan) == [(name, f"{name}.enhanced{ending}"), (name, f"out/{name}{ending}")]


@pytest.mark.parametrize("name", ["/dev/stdin", "/dev/fd/63", "/proc/self/fd/0"])
def test_a_device_needs_an_output(name: str) -> None:
    with pytest.raises(ArgumentError, match=f"output is missing; {name} is a device or pipe"):
        add_inputs(Plan(), [name], None, recursive=False)


def test_a_name_whose_content_is_not_known_before_it_is_read_gets_a_wav() -> None:
    os.mkfifo("pipe")
    touch("empty")
    plan = Plan()
    add_inputs(plan, ["pipe", "empty", "film.mp4"], None, recursive=False)
    targets = [target for _, target in pairs(plan)]
    assert targets == [
        "pipe.enhanced.wav",
        "empty.enhanced.wav",
        "film.enhanced.wav",
    ]


def test_hidden_folders_are_passed_over_on_disk_and_behind_urls() -> None:
    touch("in/a.wav", "in/deep/.trash/more/b.wav", "in/deep/c.wav")
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.put("in", "/hidden", recursive=True)
    for folder in ("in", "memory://hidden"):
        passed_over: dict[str, str] = {}
        plan = Plan()
        add_inputs(plan, [folder], "out", recursive=True, on_passed_over=passed_over.__setitem__)
        assert pairs(plan) == [
            (f"{folder}/a.wav", "out/a.wav"),
            (f"{folder}/deep/c.wav", "out/deep/c.wav"),
        ]
        assert passed_over == {f"{folder}/deep/.trash": "a hidden folder"}
