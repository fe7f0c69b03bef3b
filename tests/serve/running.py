"""A service as a process of its own, as a user starts it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from tests.runtime.models import DELAY, UNITY

START = "from fsnp_onnx.cli.start import serve; serve()"
SMALL = ("--model", str(UNITY), "--live-model", str(DELAY), "--max-mb", "1", "--max-seconds", "30")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def head(request_id: str, *lines: str) -> bytes:
    first = ("POST /v1/enhance HTTP/1.1", "Host: x", f"X-Request-Id: {request_id}")
    return "\r\n".join((*first, *lines, "", "")).encode()


@dataclass
class Running:
    """A service that listens; its temporary files go to a folder of their own."""

    process: subprocess.Popen[str]
    port: int
    log: Path
    temporary: Path

    def get(self, path: str) -> tuple[int, str]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text

    def post(
        self, body: Any, path: str = "/v1/enhance", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("POST", path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, content

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def lines(self) -> list[dict[str, Any]]:
        texts = self.log.read_text("utf-8").splitlines()
        return [json.loads(text) for text in texts if text.startswith("{")]

    def line_of(self, request_id: str) -> dict[str, Any]:
        """Wait for the log line of a request."""
        until = time.monotonic() + 20
        while time.monotonic() < until:
            for line in self.lines():
                if line.get("request_id") == request_id and "outcome" in line:
                    return line
            time.sleep(0.02)
        raise AssertionError(f"no line for {request_id}: {self.log.read_text('utf-8')}")

    def left_files_by_name(self) -> list[Path]:
        return list(self.temporary.rglob("*"))

    def left_files(self) -> list[Path]:
        """Return the temporary files that have a name, and those that are open without one."""
        kept = self.left_files_by_name()
        for link in Path(f"/proc/{self.process.pid}/fd").iterdir():
            try:
                target = link.readlink()
            except OSError:
                continue
            if str(target).startswith(str(self.temporary)):
                kept.append(target)
        return kept

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@contextmanager
def running(folder: Path, *options: str, token: str = "") -> Iterator[Running]:
    """Start a service and end it."""
    temporary, log, port = folder / "tmp", folder / "log", free_port()
    temporary.mkdir()
    environment = os.environ | {"TMPDIR": str(temporary), "FSNP_SERVE_TOKEN": token}
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", START, "--port", str(port), *options],
            stderr=stderr,
            env=environment,
            text=True,
        )
    service = Running(process, port, log, temporary)
    try:
        _wait_until_ready(service)
        yield service
    finally:
        process.kill()
        process.wait()


def _wait_until_ready(service: Running) -> None:
    until = time.monotonic() + 120
    while True:
        try:
            if service.get("/v1/health/ready")[0] == 200:
                return
        except OSError:
            ended = service.process.poll() is not None
            if ended or time.monotonic() > until:
                raise AssertionError(service.log.read_text("utf-8")) from None
            time.sleep(0.05)
