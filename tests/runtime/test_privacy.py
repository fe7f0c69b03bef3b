"""A recording stays private: nothing is sent, and nothing is written outside the outputs."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

START = "import sys; from fsnp_onnx.cli import start; sys.argv[0] = 'fsnp-{0}'; start.{0}()"
OPEN = "from fsnp_onnx import Enhancer; Enhancer()"
ENHANCE = START.format("enhance")
CALLS = {
    "Enhancer": (OPEN,),
    "fsnp-enhance": (ENHANCE, "noisy.wav", "-o", "enhanced.wav"),
    "fsnp-enhance --plot": (ENHANCE, "noisy.wav", "-o", "enhanced.wav", "--plot", "plot.png"),
    "fsnp-doctor": (START.format("doctor"),),
}
OUTPUTS = {"noisy.wav", "enhanced.wav", "plot.png"}

FORK = """
import os, sys
from fsnp_onnx import Enhancer

enhancer = Enhancer(threads=2)  # one thread would start no pool that a fork loses
if os.fork() == 0:
    sys.exit(7)
_, status = os.wait()
sys.exit(os.waitstatus_to_exitcode(status))
"""

SERVICE = """
import io
import soundfile as sf
from fsnp_onnx import Enhancer

enhancer = Enhancer(threads=1)

def app(environ, start_response):
    noisy, rate = sf.read(io.BytesIO(environ["wsgi.input"].read()), dtype="float32")
    wav = io.BytesIO()
    sf.write(wav, enhancer.enhance(noisy, rate), rate, format="WAV")
    start_response("200 OK", [("Content-Type", "audio/wav")])
    return [wav.getvalue()]
"""


def environment(home: Path) -> dict[str, str]:
    """Return an environment in which programs may write into a new home, if they want to."""
    ours = {"ORT_DISABLE_TELEMETRY", "MPLCONFIGDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"}
    return {k: v for k, v in os.environ.items() if k not in ours} | {"HOME": str(home)}


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A folder with a recording, beside an empty home."""
    for name in ("home", "work"):
        (tmp_path / name).mkdir()
    sf.write(tmp_path / "work" / "noisy.wav", np.zeros(16000), 16000)
    return tmp_path / "work"


def call(work: Path, name: str, home: Path, *prefix: str) -> subprocess.CompletedProcess[str]:
    code, *arguments = CALLS[name]
    if "plot.png" in arguments:
        pytest.importorskip("matplotlib")
    command = [*prefix, sys.executable, "-c", code, *arguments]
    return subprocess.run(
        command, cwd=work, env=environment(home), capture_output=True, text=True, check=True
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_home_stays_empty(work: Path, name: str) -> None:
    home = work.parent / "home"
    call(work, name, home)
    assert list(home.rglob("*")) == []
    assert {path.name for path in work.iterdir()} <= OUTPUTS


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_a_home_that_cannot_be_written_is_not_spoken_of(work: Path, name: str) -> None:
    done = call(work, name, Path("/proc/no/home"))
    assert re.fullmatch(r"(noisy\.wav -> enhanced\.wav \(.*\)\n)?", done.stderr)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("name", CALLS)
def test_no_socket_is_made(work: Path, name: str) -> None:
    trace = work.parent / "trace"
    call(
        work, name, work.parent / "home", "strace", "-fqq", "-e", "trace=network", "-o", f"{trace}"
    )
    assert re.findall(r"^\d+ +\w+\(.*", trace.read_text(), re.MULTILINE) == []


def test_a_users_own_choice_about_telemetry_is_kept(tmp_path: Path) -> None:
    code = "import os, fsnp_onnx; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    own = environment(tmp_path) | {"ORT_DISABLE_TELEMETRY": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=own, capture_output=True, text=True, check=True
    )
    assert done.stdout == "0\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_ends_by_sys_exit_at_once(tmp_path: Path) -> None:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK],
        env=environment(tmp_path),
        timeout=60,
        check=False,
    )
    assert done.returncode == 7
    assert time.monotonic() - began < 15


@pytest.fixture
def service(work: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A pre-forking server with two workers whose parent has opened the model, and its port."""
    pytest.importorskip("gunicorn", reason="it does not run on this system")
    (work / "service.py").write_text(SERVICE)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "service:app", "--preload", "--workers=2"]
    path = os.pathsep.join([str(work), *sys.path])
    with subprocess.Popen(
        [*command, f"--bind=127.0.0.1:{port}", "--log-level=warning"],
        cwd=work,
        env=environment(work.parent / "home") | {"PYTHONPATH": path},
    ) as server:
        yield server, port
        server.kill()


@pytest.mark.slow
def test_a_service_with_forked_workers_ends_within_two_seconds(
    service: tuple[subprocess.Popen[bytes], int], work: Path
) -> None:
    server, port = service
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            connection.connect()
            break
        except ConnectionRefusedError:
            time.sleep(0.1)
    connection.request("POST", "/", (work / "noisy.wav").read_bytes())
    response = connection.getresponse()
    assert (response.status, response.read()[:4]) == (200, b"RIFF")
    connection.close()
    began = time.monotonic()
    server.terminate()
    assert server.wait(timeout=60) == 0
    assert time.monotonic() - began < 2
