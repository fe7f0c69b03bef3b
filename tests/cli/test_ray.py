"""The same files from the two machines of a Ray cluster, from paths and from URLs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from fsnp_onnx.batch import cluster as ray_engine
from fsnp_onnx.batch import storage as remote
from fsnp_onnx.batch.plan import Job
from fsnp_onnx.cli import enhance
from fsnp_onnx.errors import MissingFileError, OutputError
from tests.cli.shell import contents, recordings, shell, wait_for

_CLUSTER = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(True, head_node_args={"num_cpus": 1, "include_dashboard": False})
cluster.add_node(num_cpus=1)
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""
_DEADLY = """
import os
from fsnp_onnx.batch import recording
read = recording._read
recording._read = lambda name: os.kill(os.getpid(), 9) if "deadly" in name else read(name)
"""


@dataclass(frozen=True)
class _Cluster:
    """Two machines of one CPU, whose workers are killed by recordings named deadly.

    dir:// is a store that all of them see, as s3:// would be.
    """

    address: str
    store: Path
    environment: dict[str, str]

    def run(self, line: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*line, "--engine", "ray", "--ray-address", self.address],
            cwd=folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Cluster]:
    store, patch = tmp_path_factory.mktemp("store"), tmp_path_factory.mktemp("patch")
    (patch / "sitecustomize.py").write_text(_DEADLY)
    with tempfile.TemporaryDirectory(prefix="r") as short:  # the names of sockets are limited
        environment = os.environ | {
            "RAY_TMPDIR": short,
            "RAY_USAGE_STATS_ENABLED": "0",
            "PYTHONPATH": f"{patch}{os.pathsep}{Path.cwd()}",
            "FSSPEC_DIR_PATH": str(store),
            "FSSPEC_DIR_TARGET_PROTOCOL": "file",
        }
        with subprocess.Popen(
            [sys.executable, "-c", _CLUSTER],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert process.stdin is not None
            addresses = (line.strip() for line in process.stdout)
            yield _Cluster(next(a for a in addresses if ":" in a), store, environment)
            process.stdin.close()


def test_two_machines_give_the_files_of_one(
    cluster: _Cluster, unity_path: Path, tmp_path: Path
) -> None:
    recordings(tmp_path / "in", 8)
    line = shell(unity_path, "in", "-r", "--json", "-o")
    subprocess.run([*line, "one"], cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "in" / "bad.wav").write_bytes(b"junk")
    shutil.copy(tmp_path / "in" / "001.wav", tmp_path / "in" / "deadly.wav")
    ended = cluster.run([*line, "many", "--results", "r.jsonl"], tmp_path)
    assert ended.returncode == 1
    assert contents(tmp_path / "many") == contents(tmp_path / "one")
    told = {row["input"]: row for row in map(json.loads, ended.stdout.splitlines())}
    assert len(told) == 10
    assert told["in/deadly.wav"]["error"] == ray_engine.DIED
    assert "cannot be decoded" in told["in/bad.wav"]["error"]
    assert told["in/001.wav"]["output"] == "many/001.wav"
    rows = [json.loads(row) for row in (tmp_path / "r.jsonl").read_text().splitlines()]
    statuses = [row["status"] for row in rows]
    assert [statuses.count(s) for s in ("begun", "done", "failed")] == [10, 8, 2]


def test_urls_give_the_files_of_paths_and_can_be_resumed(
    cluster: _Cluster, unity_path: Path, tmp_path: Path
) -> None:
    recordings(cluster.store / "in", 4)
    local = shell(unity_path, str(cluster.store / "in"), "-r", "-o", "one")
    subprocess.run(local, cwd=tmp_path, check=True, capture_output=True)
    line = shell(unity_path, "dir://in", "-r", "-o", "dir://out/", "--results", "r.csv", "--resume")
    assert cluster.run(line, tmp_path).returncode == 0
    assert contents(cluster.store / "out") == contents(tmp_path / "one")
    (cluster.store / "out" / "001.wav").unlink()
    ended = cluster.run(line, tmp_path)
    assert "1 of 4 recordings enhanced, 0 failed, 3 skipped" in ended.stderr
    assert contents(cluster.store / "out") == contents(tmp_path / "one")


def test_interrupt_ends_a_cluster_that_was_started_for_the_run(
    unity_path: Path, tmp_path: Path
) -> None:
    recordings(tmp_path / "in", 200)
    options = ("in", "-r", "-o", "out", "--engine", "ray", "--jobs", "2")
    with (
        tempfile.TemporaryDirectory(prefix="r") as short,
        subprocess.Popen(
            shell(unity_path, *options),
            cwd=tmp_path,
            env=os.environ | {"RAY_TMPDIR": short},
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        assert process.stderr is not None
        assert any("-> out/" in line for line in process.stderr)
        assert processes_of(short)
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 130
        assert process.stderr.read().splitlines()[-1] == "interrupted"
        wait_for(lambda: not processes_of(short))
    assert not list(tmp_path.rglob("*.part"))
    assert 0 < len(contents(tmp_path / "out")) < 200


def processes_of(session_folder: str) -> list[str]:
    """Return the command lines that name the folder of a Ray session."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            lines.append(path.read_text(errors="replace"))
    return [line for line in lines if session_folder in line]


def test_without_ray_one_line_says_how_to_install_it(
    unity_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    recordings(tmp_path / "in", 2)
    options = ["-r", "-o", str(tmp_path / "out"), "--engine", "ray"]
    line = ["fsnp-enhance", str(tmp_path / "in"), "-m", str(unity_path), *options]
    monkeypatch.setattr(sys, "argv", line)
    with pytest.raises(SystemExit, match="1"):
        enhance.main()
    printed = capsys.readouterr().err
    assert "pip install 'fsnp-onnx[ray]'" in printed
    assert printed.count("\n") == 1


def test_an_address_without_a_cluster_is_one_line(unity_path: Path, tmp_path: Path) -> None:
    recordings(tmp_path / "in", 2)
    options = ("in", "-r", "-o", "out", "--engine", "ray", "--ray-address", "127.0.0.1:1")
    ended = subprocess.run(
        shell(unity_path, *options), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: no Ray cluster at 127.0.0.1:1 (")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [["-"], ["x.wav", "-o", "-"], ["x.wav", "--plot", "x.png"]])
def test_what_stays_on_this_machine_is_wrong_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["fsnp-enhance", *arguments, "--engine", "ray"])
    with pytest.raises(SystemExit, match="2"):
        enhance.main()


def test_sound_files_behind_a_url_are_found_as_in_a_folder() -> None:
    import fsspec

    fs = fsspec.filesystem("memory")
    for name in ("b.wav", "a/c.flac", "a/notes.txt", "a/.d.wav", "clean/b.wav"):
        fs.pipe(f"/bucket/{name}", b"1234")
    found = list(remote.sound_files("memory://bucket", "memory://bucket/clean", recursive=True))
    assert [(f.source, f.relative, f.size) for f in found] == [
        ("memory://bucket/b.wav", "b.wav", 4),
        ("memory://bucket/a/c.flac", "a/c.flac", 4),
    ]
    top = remote.sound_files("memory://bucket/", "memory://other", recursive=False)
    assert [f.relative for f in top] == ["b.wav"]


def test_a_file_of_a_web_server_is_called_what_its_path_says() -> None:
    assert remote.last_name("https://host/a%20b.wav?signature=x/y.z") == "a b.wav"
    assert remote.last_name("s3://bucket/what?%20.wav") == "what?%20.wav"


def test_a_url_may_be_longer_than_the_name_of_a_file_can_be() -> None:
    import fsspec

    name = f"memory://bucket/{'x' * 300}.wav"
    fsspec.filesystem("memory").pipe(name, b"1234")
    with remote.fetched(name) as copy:
        assert copy.read_bytes() == b"1234"
        assert copy.suffix == ".wav"


def test_what_a_store_refuses_is_one_typed_error() -> None:
    with pytest.raises(MissingFileError, match=r"cannot read memory://none/x\.wav"):
        remote.stamp("memory://none/x.wav")
    with pytest.raises(MissingFileError, match="cannot open nonsense://x"):
        remote.exists("nonsense://x")
    with (
        pytest.raises(OutputError, match="cannot write memory://bucket/y"),
        remote.stored("memory://bucket/y.wav", "token"),
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
        with pytest.raises(KeyboardInterrupt), remote.stored(url, "token"):
            pass
    assert contents(tmp_path) == before
    (tmp_path / ".fsnp-token.part").write_bytes(b"ha")  # as a kill leaves it
    Job("in.wav", url, "token").remove_partial()
    assert contents(tmp_path) == before
    with remote.stored(url, "token") as path:
        path.write_bytes(b"whole")
    assert contents(tmp_path) == {"x.wav": b"whole"}


def test_an_output_is_written_in_place_where_it_cannot_be_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fsspec.implementations.local import LocalFileSystem

    def refuse(*_: object) -> None:
        raise OSError("Operation unsupported")

    monkeypatch.setattr(LocalFileSystem, "mv", refuse)
    with remote.stored(f"local://{tmp_path}/x.wav", "token") as path:
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
    with remote.stored(f"local://{tmp_path}/x.wav", "token") as path:
        path.write_bytes(b"whole")
    assert contents(tmp_path) == {"x.wav": b"whole"}


def test_a_folder_behind_a_url_takes_no_output_into_it(tmp_path: Path) -> None:
    (tmp_path / "x.wav").mkdir()
    with (
        pytest.raises(OutputError, match="Is a directory"),
        remote.stored(f"local://{tmp_path}/x.wav", "token") as path,
    ):
        path.write_bytes(b"whole")
    assert not contents(tmp_path)
