"""Recordings spread over processes of this machine.

A process holds one model and gets one recording at a time. So a process that dies, usually for lack
of memory, costs one recording, which is tried once more. The processes are spawned, because a session
of ONNX Runtime does not survive a fork.
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
from contextlib import suppress
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from fsnp_onnx.batch.jobs import Job
from fsnp_onnx.batch.signals import interrupts_held_back
from fsnp_onnx.batch.worker import Failed, Settings, enhance_job
from fsnp_onnx.errors import FsnpError, WorkerError, one_line
from fsnp_onnx.runtime.recording import Done

_DIED = object()
_LIVES = 3  # of the last process that opens the model, if another one could
_BROKEN = (
    "the processes died while they opened the model; if memory is short, give fewer jobs; a script "
    "has to call enhance_files below if __name__ == '__main__':"
)
_DIED_TWICE = (
    "the process that enhanced it died, and so did a second one; if memory is short, give shorter "
    "audio or fewer jobs"
)


def enhance_in_processes(
    items: Iterator[Job | Done | Failed], settings: Settings, n_processes: int
) -> Generator[Done | Failed]:
    """Yield the result of each recording, in the order in which they end.

    The next item is taken when a process is free for it. Results among the items are passed on.
    """
    # what a process that is killed has fetched goes with this folder
    with tempfile.TemporaryDirectory(prefix="fsnp-") as scratch:
        if isinstance(settings.model, bytes):  # too many for the pipe to a process that dies
            model = Path(scratch, "model.onnx")
            model.write_bytes(settings.model)
            settings = replace(settings, model=model)
        pool = _Pool(items, partial(_Worker, settings, scratch))
        try:
            pool.start(n_processes)
            while pool.workers:
                yield from pool.wait()
        finally:
            for worker in pool.workers:
                worker.end()


class _Worker:
    """A process with a model, and the recording it has."""

    def __init__(self, settings: Settings, scratch: str) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.job: Job | None = None
        self._process = context.Process(target=_work, args=(settings, scratch, other), daemon=True)
        self._process.start()
        other.close()

    def receive(self) -> Any:
        """Return what the process has to tell, also that it died."""
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


class _Pool:
    """The processes that run, and the recordings that wait: those first whose process died."""

    def __init__(
        self, items: Iterator[Job | Done | Failed], new_worker: Callable[[], _Worker]
    ) -> None:
        self.workers: list[_Worker] = []
        self._items = items
        self._new_worker = new_worker
        self._again: list[Job] = []
        self._tried: set[str] = set()
        self._heard: set[str] = set()
        self._lives = 1
        self._has_more = True

    def start(self, n: int = 1) -> None:
        """Start more processes."""
        for _ in range(n):
            with interrupts_held_back():  # until it is in the list, from which it is ended
                self.workers.append(self._new_worker())

    def wait(self) -> Iterator[Done | Failed]:
        """Wait for a process to tell something, give it the next recording, yield what has ended."""
        (connection, *_) = wait([worker.connection for worker in self.workers])
        worker = next(worker for worker in self.workers if worker.connection is connection)
        message = worker.receive()
        if message is _DIED:
            yield from self._replace(worker)
            return
        answer, said = message
        for text in said - self._heard:
            self._heard.add(text)
            warnings.warn(text, stacklevel=2)
        if isinstance(answer, FsnpError):
            raise answer
        self._lives = _LIVES
        ended = [answer] if answer else []
        while item := self._again.pop() if self._again else next(self._items, None):
            if isinstance(item, Job):
                worker.job = item
                with suppress(OSError):  # it has died, which the next wait finds
                    worker.connection.send(item)
                break
            yield from (*ended, item)
            ended = []
        else:
            self._has_more = False
            self._remove(worker)
        yield from ended

    def _replace(self, worker: _Worker) -> Iterator[Failed]:
        """Remove a process that died, and start another one if it had a recording or none is left."""
        job = worker.job
        self._remove(worker)
        if job:
            is_lost = job.token in self._tried
            if not is_lost:
                self._tried.add(job.token)
                self._again.append(job)
            self.start()
            if is_lost:
                yield Failed(job.source, job.target, WorkerError(_DIED_TWICE))
        elif not self.workers and (self._has_more or self._again):
            self._lives -= 1
            if not self._lives:
                raise WorkerError(_BROKEN)
            self.start()

    def _remove(self, worker: _Worker) -> None:
        worker.end()
        self.workers.remove(worker)  # only now, so that an interrupt does not forget it


def _work(settings: Settings, scratch: str, connection: Connection) -> None:
    """Be one of the processes: tell how the model opened, then enhance what comes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it and ends this process
    threading.Thread(target=_end_with_parent, args=(scratch,), daemon=True).start()
    tempfile.tempdir = scratch
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")

        def tell(answer: Done | Failed | FsnpError | None) -> None:
            connection.send((answer, {one_line(each.message) for each in caught}))  # type: ignore[arg-type]  # an exception
            caught.clear()

        try:
            enhancer = settings.open()
        except FsnpError as error:
            tell(error)
            return
        tell(None)
        while True:  # until the parent ends this process
            tell(enhance_job(connection.recv(), enhancer, settings))


def _end_with_parent(scratch: str) -> None:
    """End this process when its parent is gone, which a kill does not let it announce."""
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
    shutil.rmtree(scratch, ignore_errors=True)
    os._exit(1)
