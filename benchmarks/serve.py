"""The service on loopback: uploads, streams in real time, and its memory. Clients share the machine."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.speech import noisy_speech
from fsnp_onnx.runtime.pcm import encoded

START = "from fsnp_onnx.cli.start import serve; serve()"
UPLOAD = Path(__file__).parents[1] / "samples" / "hiss_0db_noisy.flac"


def measure(
    clients: int, minutes: float, streams: Sequence[int], stream_minutes: float
) -> dict[str, Any]:
    """Load a service with uploads, then with streams in real time.

    Args:
        clients: Uploads at a time.
        minutes: Duration of the uploads.
        streams: Numbers of streams, one after the other.
        stream_minutes: Duration of each number.

    Returns:
        Statuses and memory of the uploads; per number of streams the milliseconds from a hop to its
        answer; what was left on disk.
    """
    with tempfile.TemporaryDirectory() as folder, _service(Path(folder), max(streams)) as service:
        uploads = _upload(service, clients, minutes)
        late = {str(n): asyncio.run(_stream(service.port, n, stream_minutes)) for n in streams}
        left = [path.name for path in Path(folder).iterdir()]
        memory_mb = service.memory_mb()
    return {"uploads": uploads, "reply_ms": late, "memory_mb": memory_mb, "left": left}


class _Service:
    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.port, self._process = port, process

    def memory_mb(self) -> float:
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="utf-8")
        (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) * 1024 / 1e6

    def post(self, body: bytes) -> tuple[int, float]:
        """Return the status, and the seconds to wait."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.request("POST", "/v1/enhance", body)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer.status, float(answer.getheader("Retry-After") or 0)

    def is_ready(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1):
                return True
        except OSError:
            return False


@contextmanager
def _service(folder: Path, streams: int) -> Iterator[_Service]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", START, "--port", str(port), "--streams", str(streams)]
    environment = os.environ | {"TMPDIR": str(folder)}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    service = _Service(process, port)
    try:
        while not service.is_ready():
            if process.poll() is not None:
                raise RuntimeError("fsnp-serve does not start")
            time.sleep(0.1)
        yield service
    finally:
        process.terminate()
        process.wait()


def _upload(service: _Service, clients: int, minutes: float) -> dict[str, Any]:
    body, statuses, until = UPLOAD.read_bytes(), Counter[str](), time.monotonic() + 60 * minutes
    lock = threading.Lock()

    def work() -> None:
        while time.monotonic() < until:
            try:
                status, wait_s = service.post(body)
                outcome = str(status)
            except (OSError, HTTPException) as error:
                outcome, wait_s = type(error).__name__, 0.0
            with lock:
                statuses[outcome] += 1
            time.sleep(min(wait_s, 1.0))

    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    time.sleep(15 * minutes)
    early_mb = service.memory_mb()
    for thread in threads:
        thread.join()
    return {
        "statuses": dict(statuses),
        "memory_after_a_quarter_mb": early_mb,
        "memory_at_the_end_mb": service.memory_mb(),
    }


async def _stream(port: int, n: int, minutes: float) -> dict[str, float]:
    """Return the milliseconds from the time when a hop is due to the arrival of its answer."""
    noisy, rate = noisy_speech(10)
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_talk(port, noisy, rate, 60 * minutes, index / n))
            for index in range(n)
        ]
    late = 1000 * np.concatenate([task.result() for task in tasks])
    median, most = np.percentile(late, [50, 99])
    whole = max(task.result().size for task in tasks)
    n_whole = sum(task.result().size == whole for task in tasks)
    numbers = {"median": float(median), "p99": float(most), "largest": float(late.max())}
    return numbers | {"whole_streams": n_whole}


async def _talk(
    port: int, noisy: NDArray[np.float32], rate: int, seconds: float, phase: float
) -> NDArray[np.float64]:
    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosed

    async with connect(f"ws://127.0.0.1:{port}/v1/stream", compression=None) as stream:
        await stream.send(json.dumps({"sample_rate_hz": rate}))
        answer = json.loads(await stream.recv())
        hop = rate * 16 // 1000
        late = answer["latency_samples"] - hop
        start = time.perf_counter() + 0.5 + phase * hop / rate

        async def send() -> None:
            for index in range(round(seconds * rate / hop)):
                await asyncio.sleep(start + index * hop / rate - time.perf_counter())
                at = index * hop % (noisy.size - hop)
                await stream.send(encoded(noisy[at : at + hop], "s16le"))
            await stream.send('{"end": true}')

        sending = asyncio.create_task(send())
        n_samples, replies = 0, []
        with suppress(ConnectionClosed):  # by a service that cannot keep up
            async for data in stream:
                n_samples += len(data) // 2
                index = (n_samples + late) // hop - 1  # of the hop that made this
                replies.append(time.perf_counter() - start - index * hop / rate)
            await sending
        sending.cancel()
    return np.array(replies[:-1])  # the last one is the rest, of no hop
