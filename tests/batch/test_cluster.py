"""The same files from the two machines of a Ray cluster, from paths and from URLs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from fsnp_onnx.batch import cluster as on_ray
from fsnp_onnx.batch.cluster import Cluster
from fsnp_onnx.batch.files import enhance_files
from fsnp_onnx.errors import InstallError, WorkerError
from tests.batch.conftest import Run
from tests.batch.folders import contents, recordings, wait_for

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
from fsnp_onnx.runtime import decode
read = decode.read
def read_or_fail(path, name, **how):
    if "deadly" in name:
        os.kill(os.getpid(), 9)
    if "odd" in name:
        raise KeyError(name)
    return read(path, name, **how)
decode.read = read_or_fail
"""


Main = Callable[..., list[str]]


@dataclass(frozen=True)
class _Machines:
    """Two machines of one CPU, whose workers are killed by recordings named deadly.

    dir:// is a store that all of them see, as s3:// would be.
    """

    address: str
    store: Path
    environment: dict[str, str]

    def run(self, line: list[str]) -> list[str]:
        ended = subprocess.run(
            line, env=self.environment, capture_output=True, text=True, timeout=200, check=True
        )
        return ended.stdout.splitlines()


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Machines]:
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
            yield _Machines(next(a for a in addresses if ":" in a), store, environment)
            process.stdin.close()


@pytest.mark.slow
@pytest.mark.cluster
def test_two_machines_give_the_files_of_one(machines: _Machines, run: Run, main: Main) -> None:
    recordings(Path("in"), 8)
    run("in", "one", recursive=True)
    Path("in/bad.wav").write_bytes(b"junk")
    for name in ("deadly", "odd"):
        shutil.copy("in/001.wav", f"in/{name}.wav")
    choices = f"recursive=True, journal='r.jsonl', cluster=Cluster({machines.address!r})"
    line = main(f"'in', 'many', {choices}")
    results = machines.run(line)
    assert contents(Path("many")) == contents(Path("one"))
    bad, deadly, odd = sorted(line for line in results if line.startswith("Failed("))
    assert len(results) == 11
    assert bad.startswith("Failed(input='in/bad.wav', output='many/bad.wav', error=AudioError(")
    assert deadly.startswith("Failed(input='in/deadly.wav', output='many/deadly.wav', error=")
    assert on_ray.DIED in deadly
    assert odd.startswith("Failed(input='in/odd.wav', output='many/odd.wav', error=RunError(")
    assert "unexpected KeyError(" in odd
    statuses = [json.loads(row)["status"] for row in Path("r.jsonl").read_text().splitlines()]
    assert [statuses.count(status) for status in ("begun", "done", "failed")] == [11, 8, 3]
    assert any(line.startswith("Done(input='in/001.wav', output='many/001") for line in results)


@pytest.mark.slow
@pytest.mark.cluster
def test_a_run_on_a_cluster_that_is_killed_resumes_to_the_bytes_of_one_machine(
    machines: _Machines, run: Run, main: Main
) -> None:
    recordings(machines.store / "in", 12)
    run(machines.store / "in", "one", recursive=True)
    choices = "recursive=True, journal='r.jsonl', resume=True"
    line = main(f"'dir://in', 'dir://out/', {choices}, cluster=Cluster({machines.address!r})")
    with subprocess.Popen(
        line, env=machines.environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Done(")
        process.kill()
    results = machines.run(line)
    assert contents(machines.store / "out") == contents(Path("one"))
    assert len(results) == 12
    assert any("skipped=True" in result for result in results)
    assert not any(result.startswith("Failed(") for result in results)
    (machines.store / "out" / "001.wav").unlink()
    (again,) = [result for result in machines.run(line) if "skipped=True" not in result]
    assert again.startswith("Done(input='dir://in/001.wav'")
    assert contents(machines.store / "out") == contents(Path("one"))


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.usefixtures("in_empty_folder")
def test_ray_that_runs_in_this_process_is_used_and_left_as_it_was(main: Main) -> None:
    recordings(Path("in"), 4)
    after = """
    import logging
    import ray, ray.data
    def state():
        context, log = ray.data.DataContext.get_current(), logging.getLogger("ray.data")
        return log.level, context.enable_progress_bars, context.max_errored_blocks
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    node, before = ray.get_runtime_context().get_node_id(), state()
    n_results = len(list(results))
    same = ray.is_initialized() and ray.get_runtime_context().get_node_id() == node
    print(n_results, same, state() == before)
"""
    with tempfile.TemporaryDirectory(prefix="r") as short:
        ended = subprocess.run(
            main("'in', 'out', recursive=True, cluster=Cluster()", after=after),
            env=os.environ | {"RAY_TMPDIR": short},
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
    assert ended.stdout.splitlines()[-1] == "4 True True"


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.usefixtures("in_empty_folder")
def test_an_interrupt_ends_a_cluster_that_was_started_for_the_run(main: Main) -> None:
    recordings(Path("in"), 200)
    with (
        tempfile.TemporaryDirectory(prefix="r") as short,
        subprocess.Popen(
            main("'in', 'out', recursive=True, jobs=2, cluster=Cluster()"),
            env=os.environ | {"RAY_TMPDIR": short},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Done(")
        assert processes_of(short)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
        wait_for(lambda: not processes_of(short))
    assert not list(Path().rglob("*.part"))
    assert 0 < len(contents(Path("out"))) < 200


def processes_of(session_folder: str) -> list[str]:
    """Return the command lines that name the folder of a Ray session."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            lines.append(path.read_text(errors="replace"))
    return [line for line in lines if session_folder in line]


@pytest.mark.usefixtures("in_empty_folder")
def test_without_ray_the_call_says_how_to_install_it(
    unity_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    recordings(Path("in"), 2)
    with pytest.raises(InstallError, match=r"pip install 'fsnp-onnx\[ray\]'"):
        enhance_files("in", "out", model=unity_path, cluster=Cluster())


@pytest.mark.cluster
def test_an_address_without_a_cluster_is_a_worker_error(run: Run) -> None:
    recordings(Path("in"), 2)
    with pytest.raises(WorkerError, match=r"no Ray cluster at 127\.0\.0\.1:1 \("):
        run("in", "out", cluster=Cluster("127.0.0.1:1"))
