"""Recordings spread over processes of this machine.

Each process holds one model and gets one recording at a time, so one that dies (most often for want
of memory) costs this recording alone, which is known and tried once more. The processes are spawned:
a session of ONNX Runtime does not survive a fork.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any

from fsnp_onnx.batch.plan import Job
from fsnp_onnx.batch.recording import Report, Settings, enhance_recording
from fsnp_onnx.errors import FsnpError, ProviderError, one_line

_DIED = object()
DIED_TWICE = "the process that enhanced it died, and a second one, too; if memory is short, give "
DIED_TWICE += "shorter audio or fewer --jobs"


def enhance_in_processes(
    jobs: Iterator[Job], settings: Settings, n_processes: int
) -> Generator[tuple[Job, Report | str]]:
    """Yield what came of each recording, in the order in which they end.

    Args:
        jobs: The recordings; the next one is taken when a process is free for it.
        settings: What they share.
        n_processes: How many processes to start.

    Raises:
        FsnpError: The model cannot be opened.
    """
    # what a process that is killed has fetched goes with this folder
    with tempfile.TemporaryDirectory(prefix="fsnp-") as scratch:
        yield from _enhance(_Queue(jobs), partial(_Worker, settings, scratch), n_processes)


def _enhance(
    queue: _Queue, new_worker: Callable[[], _Worker], n_processes: int
) -> Generator[tuple[Job, Report | str]]:
    heard: set[str] = set()
    workers: list[_Worker] = []
    try:
        while len(workers) < n_processes:
            workers.append(new_worker())
        while workers:
            worker = _first_with_news(workers)
            job, message = worker.job, worker.receive()
            if message is _DIED:
                _replace(worker, workers, new_worker)
                if job and not queue.put_back(job):
                    yield job, DIED_TWICE
                continue
            _raise_or_warn(message, heard)
            worker.job = queue.next()
            if not worker.give_job():
                worker.end()
                workers.remove(worker)
            if job:
                yield job, message
    finally:
        for worker in workers:
            worker.end()


class _Worker:
    """A process with a model, and the recording it has."""

    def __init__(self, settings: Settings, scratch: str) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.job: Job | None = None
        self._process = context.Process(target=_work, args=(settings, scratch, other), daemon=True)
        with _interrupts_held_back():
            self._process.start()
        other.close()

    def give_job(self) -> bool:
        """Let the process enhance its recording, if it has one."""
        with suppress(OSError):  # it has died, which the next wait finds
            self.connection.send(self.job)
        return self.job is not None

    def receive(self) -> Any:
        """Return what the process has to tell, be it that it died."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            return _DIED

    def end(self) -> None:
        """End the process, whatever it does, and remove what it has written of an output."""
        self._process.kill()
        self._process.join()
        self.connection.close()
        if self.job:
            self.job.remove_partial()


class _Queue:
    """The recordings that wait, those first whose process died."""

    def __init__(self, jobs: Iterator[Job]) -> None:
        self._jobs = jobs
        self._again: list[Job] = []
        self._tried: set[str] = set()

    def next(self) -> Job | None:
        """Return the next recording, None after the last."""
        return self._again.pop() if self._again else next(self._jobs, None)

    def put_back(self, job: Job) -> bool:
        """Let a recording be tried once more, unless it has been; return whether it will."""
        if job.token in self._tried:
            return False
        self._tried.add(job.token)
        self._again.append(job)
        return True


def _first_with_news(workers: list[_Worker]) -> _Worker:
    (connection, *_) = wait([worker.connection for worker in workers])
    return next(worker for worker in workers if worker.connection is connection)


def _replace(worker: _Worker, workers: list[_Worker], new_worker: Callable[[], _Worker]) -> None:
    """Take a process that died out of the list, and put another one there if it had a recording."""
    worker.end()
    workers.remove(worker)  # only now, so that an interrupt does not forget it
    if worker.job:
        workers.append(new_worker())
    elif not workers:
        raise ProviderError(
            "the processes died while they opened the model; if memory is short, give fewer --jobs"
        )


def _raise_or_warn(message: Any, heard: set[str]) -> None:
    """Raise the error of a model that cannot be opened; say what was warned of, but once."""
    if isinstance(message, FsnpError):
        raise message
    if isinstance(message, list):
        for warning in set(message) - heard:
            warnings.warn(warning, stacklevel=3)
        heard.update(message)


def _work(settings: Settings, scratch: str, connection: Connection) -> None:
    """Be one of the processes: tell how the model opened, then enhance what comes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it and ends this process
    threading.Thread(target=_end_with_parent, args=(scratch,), daemon=True).start()
    tempfile.tempdir = scratch
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            enhancer = settings.open()
        except FsnpError as error:
            connection.send(error)
            return
    connection.send([one_line(warning.message) for warning in caught])  # type: ignore[arg-type]
    while job := connection.recv():
        connection.send(enhance_recording(job, enhancer, settings))


def _end_with_parent(scratch: str) -> None:
    """End this process when its parent is gone, which a kill does not let it announce."""
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
    shutil.rmtree(scratch, ignore_errors=True)
    os._exit(1)


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Let what is started in the block not hear Ctrl-C, not even before it has begun to run."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # else it is started in the block, and unblocks SIGINT
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
