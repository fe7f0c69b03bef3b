"""Sound files behind URLs: found, fetched, stored whole, and one typed error for what fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsnp_onnx.batch import storage
from fsnp_onnx.batch.jobs import Job
from fsnp_onnx.batch.search import search
from fsnp_onnx.batch.worker import Failed
from fsnp_onnx.errors import MissingFileError, OutputError
from tests.batch.conftest import Run
from tests.batch.folders import contents, recordings

fsspec = pytest.importorskip("fsspec")


def test_sound_files_behind_a_url_are_found_as_in_a_folder() -> None:
    fs = fsspec.filesystem("memory")
    for name in ("b.wav", "a/c.flac", "a/notes.txt", "a/.d.wav", "clean/b.wav"):
        fs.pipe(f"/bucket/{name}", b"1234")
    found = list(search("memory://bucket", "memory://bucket/clean", recursive=True, on_error=print))
    assert [(f.source, f.relative, f.size) for f in found if not f.passed_over] == [
        ("memory://bucket/b.wav", "b.wav", 4),
        ("memory://bucket/a/c.flac", "a/c.flac", 4),
    ]
    assert [(f.relative, f.passed_over) for f in found if f.passed_over] == [
        ("a/.d.wav", "a hidden file"),
        ("a/notes.txt", "not a sound file"),
    ]
    top = search("memory://bucket/", "memory://other", recursive=False, on_error=print)
    assert [f.relative for f in top if not f.passed_over] == ["b.wav"]


def test_a_file_of_a_web_server_is_called_what_its_path_says() -> None:
    assert storage.last_name("https://host/a%20b.wav?signature=x/y.z") == "a b.wav"
    assert storage.last_name("s3://bucket/what?%20.wav") == "what?%20.wav"


def test_a_url_may_be_longer_than_the_name_of_a_file_can_be() -> None:
    name = f"memory://bucket/{'x' * 300}.wav"
    fsspec.filesystem("memory").pipe(name, b"1234")
    with storage.fetched(name) as copy:
        assert copy.read_bytes() == b"1234"
        assert copy.suffix == ".wav"


def test_what_a_store_refuses_is_one_typed_error() -> None:
    with (
        pytest.raises(MissingFileError, match=r"cannot read memory://none/x\.wav"),
        storage.fetched("memory://none/x.wav"),
    ):
        pass
    with pytest.raises(MissingFileError, match="cannot open nonsense://x"):
        storage.exists("nonsense://x")
    with (
        pytest.raises(OutputError, match="cannot write memory://bucket/y"),
        storage.stored("memory://bucket/y.wav", "token"),
    ):
        pass  # writes nothing, so there is nothing to be stored


@pytest.mark.parametrize("old", [None, b"old"])
def test_an_output_on_a_file_system_behind_a_url_is_whole_or_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: bytes | None
) -> None:
    from fsspec.implementations.local import LocalFileSystem

    def stop_halfway(_: object, __: str, path: str) -> None:
        Path(path).write_bytes(b"ha")
        raise KeyboardInterrupt

    target, url = tmp_path / "x.wav", f"local://{tmp_path}/x.wav"
    if old:
        target.write_bytes(old)
    before = contents(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(LocalFileSystem, "put_file", stop_halfway)
        with pytest.raises(KeyboardInterrupt), storage.stored(url, "token"):
            pass
    assert contents(tmp_path) == before
    (tmp_path / ".fsnp-token.part").write_bytes(b"ha")  # as a kill leaves it
    Job("in.wav", url, "token").remove_partial()
    assert contents(tmp_path) == before
    with storage.stored(url, "token") as path:
        path.write_bytes(b"whole")
    assert contents(tmp_path) == {"x.wav": b"whole"}


def test_an_output_is_written_in_place_where_it_cannot_be_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fsspec.implementations.local import LocalFileSystem

    def refuse(*_: object) -> None:
        raise OSError("Operation unsupported")

    monkeypatch.setattr(LocalFileSystem, "mv", refuse)
    with storage.stored(f"local://{tmp_path}/x.wav", "token") as path:
        path.write_bytes(b"whole")
    assert contents(tmp_path) == {"x.wav": b"whole"}


@pytest.mark.parametrize("has_moved", [False, True])
def test_a_server_that_moves_over_no_file_or_says_nothing_about_it_replaces_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_moved: bool
) -> None:
    from fsspec.implementations.local import LocalFileSystem

    def move(_: object, source: str, target: str) -> None:
        if has_moved or not Path(target).exists():
            Path(source).replace(target)
        if has_moved or Path(source).exists():
            raise OSError("no answer" if has_moved else "File exists")

    monkeypatch.setattr(LocalFileSystem, "mv", move)
    (tmp_path / "x.wav").write_bytes(b"old")
    with storage.stored(f"local://{tmp_path}/x.wav", "token") as path:
        path.write_bytes(b"whole")
    assert contents(tmp_path) == {"x.wav": b"whole"}


def test_a_folder_behind_a_url_takes_no_output_into_it(tmp_path: Path) -> None:
    (tmp_path / "x.wav").mkdir()
    with (
        pytest.raises(OutputError, match="Is a directory"),
        storage.stored(f"local://{tmp_path}/x.wav", "token") as path,
    ):
        path.write_bytes(b"whole")
    assert not contents(tmp_path)


def test_an_output_behind_a_url_that_cannot_be_written_is_named_by_its_url(
    run: Run, tmp_path: Path
) -> None:
    recordings(Path("in"), 2)
    url = f"local://{tmp_path}/x.txt"
    (failed,) = run("in/001.wav", url)
    assert isinstance(failed, Failed)
    assert str(failed.error) == f"cannot write {url}; use .wav, .flac, .ogg or .mp3"
