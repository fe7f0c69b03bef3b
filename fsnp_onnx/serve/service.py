"""The state that all requests of a process share: models, threads, places, and whether it is ending."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Final, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from fsnp_onnx.errors import ModelFileError
from fsnp_onnx.runtime.cpus import available_cpus
from fsnp_onnx.runtime.enhancer import Enhancer
from fsnp_onnx.serve.metrics import Metrics
from fsnp_onnx.serve.settings import Settings

T = TypeVar("T")

_LONGEST_RETRY_S: Final = 120
_SMOOTHING: Final = 0.2  # of the mean time of a job


class StreamLimitError(Exception):
    """As many streams are open as may be."""


class Service:
    """Models, threads and places of one process."""

    def __init__(self, settings: Settings) -> None:
        """Open the models.

        Raises:
            MissingFileError, ModelFileError, ProviderError, InstallError: As `Enhancer` says.
        """
        self.settings = settings
        self.metrics = Metrics()
        self.enhancers = {
            "default": Enhancer(settings.model, threads=1),
            "live": Enhancer(settings.live_model, threads=1),
        }
        if (found := self.enhancers["live"].spec.interface) != "stream":
            raise ModelFileError(
                f"{settings.live_model} has the interface {found!r}; the live model has to be a "
                "stream, as the bundled model 'live' is"
            )
        self.ending = asyncio.Event()
        self.n_streams = 0
        self._jobs = ThreadPoolExecutor(settings.jobs, "enhance")
        self._hops = ThreadPoolExecutor(available_cpus()[0], "stream")
        self._turns = asyncio.Semaphore(settings.jobs)
        self._held = 0
        self._mean_s = 1.0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold one of the places of uploads, from the first byte of one to the last of its answer.

        Raises:
            HTTPException: 429, all places are held; 503, the service is ending.
        """
        if self.ending.is_set():
            raise HTTPException(503, "the service is shutting down; try again", _retry(1))
        most = self.settings.jobs + self.settings.queue
        if self._held >= most:
            wait_s = self._mean_s * most / self.settings.jobs
            problem = f"all {most} places are taken; try again later"
            raise HTTPException(429, problem, _retry(min(wait_s, _LONGEST_RETRY_S)))
        self._held += 1
        with self.metrics.held.track_inprogress():
            try:
                yield
            finally:
                self._held -= 1

    async def run(self, job: Callable[[], T], has_left: Callable[[], Awaitable[bool]]) -> T:
        """Run a job in a thread when it is its turn, unless its client has left.

        Raises:
            ClientDisconnect: The client has left.
        """
        async with self._turns:
            if await has_left():
                raise ClientDisconnect
            started = time.perf_counter()
            with self.metrics.running.track_inprogress():
                result = await asyncio.get_running_loop().run_in_executor(self._jobs, job)
            self._mean_s += _SMOOTHING * (time.perf_counter() - started - self._mean_s)
        return result

    @contextmanager
    def stream_place(self) -> Iterator[None]:
        """Hold a place of a stream.

        Raises:
            StreamLimitError: All are held, or the service is ending.
        """
        if self.ending.is_set():
            raise StreamLimitError("the service is shutting down; try again")
        if self.n_streams >= self.settings.streams:
            raise StreamLimitError(f"{self.n_streams} streams are open, as many as may be")
        self.n_streams += 1
        with self.metrics.open_streams.track_inprogress():
            try:
                yield
            finally:
                self.n_streams -= 1

    async def run_hops(self, work: Callable[..., T], *arguments: object) -> T:
        """Run a part of a stream in one of the threads of streams."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._hops, partial(work, *arguments))

    def close(self) -> None:
        """Let the threads end."""
        self._jobs.shutdown()
        self._hops.shutdown()


def _retry(seconds: float) -> dict[str, str]:
    return {"Retry-After": str(max(1, math.ceil(seconds)))}
