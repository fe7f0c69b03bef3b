"""A service that ends, by a signal or a fault at its start, and the workers of one."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.serve.running import SMALL, START, Running, free_port, head, running


def test_a_service_that_ends_finishes_what_it_has_begun(tmp_path: Path, wav: bytes) -> None:
    with running(tmp_path, *SMALL) as ending, ending.connect() as begun:
        begun.sendall(head("begun", f"Content-Length: {len(wav)}") + wav[:100])
        while "fsnp_places_held 1.0" not in ending.get("/metrics")[1]:
            time.sleep(0.01)
        ending.process.terminate()
        time.sleep(0.5)
        begun.sendall(wav[100:])
        assert begun.recv(12) == b"HTTP/1.1 200"
        threading.Thread(
            target=lambda: [None for _ in iter(lambda: begun.recv(65536), b"")]
        ).start()
        assert ending.process.wait(30) == 0
        assert ending.left_files_by_name() == []


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_second_ctrl_c_ends_a_service_that_waits_for_a_client(tmp_path: Path, wav: bytes) -> None:
    with running(tmp_path, *SMALL) as ending, ending.connect() as begun:
        begun.sendall(head("begun", f"Content-Length: {len(wav)}") + wav[:100])
        while "fsnp_places_held 1.0" not in ending.get("/metrics")[1]:
            time.sleep(0.01)
        ending.process.send_signal(signal.SIGINT)
        while is_open(ending.port):
            time.sleep(0.05)
        assert ending.process.poll() is None
        ending.process.send_signal(signal.SIGINT)
        assert ending.process.wait(10) == 0
        assert ending.left_files_by_name() == []


@pytest.mark.slow
def test_workers_share_a_port_and_their_metrics(tmp_path: Path, wav: bytes) -> None:
    with running(tmp_path, *SMALL, "--workers", "2") as many:
        for _ in range(6):
            assert many.post(wav)[0] == 200
        counted, until = 'outcome="200",path="/v1/enhance"} 6.0', time.monotonic() + 10
        # A worker counts a request when its answer is sent; the other may be asked before that.
        while counted not in (told := many.get("/metrics")[1]) and time.monotonic() < until:
            time.sleep(0.05)
        assert counted in told
        assert many.end() == 0
        assert many.left_files_by_name() == []


def test_a_wrong_model_or_a_taken_port_is_one_line(tmp_path: Path, service: Running) -> None:
    for options in (("--model", str(tmp_path / "no.onnx")), ("--port", str(service.port))):
        default = () if "--port" in options else ("--port", str(free_port()))
        done = subprocess.run(
            [sys.executable, "-c", START, *SMALL, *options, *default],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert "no.onnx" in done.stderr or "address already in use" in done.stderr
