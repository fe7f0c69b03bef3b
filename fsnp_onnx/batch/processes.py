"""Recordings spread over processes of this machine, by pebble's pool.

A process holds one model and gets one recording at a time. So a process that dies, usually for lack
of memory, costs one recording, which is tried once more. The processes are spawned, because a session
of ONNX Runtime does not survive a fork.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import tempfile
import threading
import warnings
from collections.abc import Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from functools import cache
from typing import Any

from pebble import ProcessExpired, ProcessPool

from fsnp_onnx.batch.jobs import Job
from fsnp_onnx.batch.signals import interrupts_held_back
from fsnp_onnx.batch.worker import Failed, Settings, enhance_job
from fsnp_onnx.errors import WorkerError, one_line
from fsnp_onnx.runtime.enhancer import Enhancer
from fsnp_onnx.runtime.recording import Done

_BROKEN = (
    "the processes died while they opened the model; if memory is short, give fewer jobs; a script "
    "has to call enhance_files below if __name__ == '__main__':"
)
_DIED_TWICE = (
    "the process that enhanced it died, and so did a second one; if memory is short, give shorter "
    "audio or fewer jobs"
)
_settings: Settings  # of the run that a process works for


def enhance_in_processes(
    items: Iterator[Job | Done | Failed], settings: Settings, n_processes: int
) -> Generator[Done | Failed]:
    """Yield the result of each recording, in the order in which they end.

    The next item is taken when a process is free for it. Results among the items are passed on.
    """
    # what a process that is killed has fetched goes with this folder
    with tempfile.TemporaryDirectory(prefix="fsnp-") as scratch:
        pool = _Pool(settings, n_processes, scratch)
        try:
            for item in items:
                if isinstance(item, Job):
                    pool.begin(item)
                    while len(pool.jobs) >= n_processes:
                        yield from pool.wait()
                else:
                    yield item
            while pool.jobs:
                yield from pool.wait()
        finally:
            pool.end()


class _Pool:
    """The processes, and by its future each recording that one of them has."""

    def __init__(self, settings: Settings, n_processes: int, scratch: str) -> None:
        self.jobs: dict[Future[Any], Job] = {}
        self._tried: set[str] = set()
        self._pool = ProcessPool(
            n_processes,
            initializer=_begin,
            initargs=(settings, scratch),
            context=multiprocessing.get_context("spawn"),
        )

    def begin(self, job: Job) -> None:
        """Give a recording to a free process."""
        try:
            with interrupts_held_back():  # the first one starts the processes
                self.jobs[self._pool.schedule(_enhance, args=[job])] = job
        except RuntimeError as error:  # a pool that is broken takes no more
            raise WorkerError(_BROKEN) from error

    def wait(self) -> Iterator[Done | Failed]:
        """Wait for recordings to end; one whose process died for the first time begins again."""
        while not (done := wait(self.jobs, timeout=1, return_when=FIRST_COMPLETED).done):
            if not self._pool.active:  # it broke before it took what it was given
                raise WorkerError(_BROKEN)
        for future in done:
            job = self.jobs.pop(future)
            try:
                result, said = future.result()
            except ProcessExpired:
                job.remove_partial()
                if job.token not in self._tried:
                    self._tried.add(job.token)
                    self.begin(job)
                    continue
                result, said = Failed(job.source, job.target, WorkerError(_DIED_TWICE)), set()
            except BrokenProcessPool as error:
                raise WorkerError(_BROKEN) from error
            for message in said:  # Python shows each once, as they come from one line
                warnings.warn(message, stacklevel=1)
            yield result

    def end(self) -> None:
        """End the processes, whatever they do, and remove what they have written of an output."""
        self._pool.stop()  # type: ignore[no-untyped-call]  # pebble does not type it
        self._pool.join()
        for job in self.jobs.values():
            job.remove_partial()


def _begin(settings: Settings, scratch: str) -> None:
    """Make this process one of the pool's."""
    global _settings  # noqa: PLW0603 - a pool hands nothing else from here to its tasks
    _settings = settings
    tempfile.tempdir = scratch
    threading.Thread(target=_end_with_parent, args=(scratch,), daemon=True).start()
    with suppress(Exception):  # raised again by the first recording, which can report it
        _enhancer()  # a process that dies of it has not yet taken a recording


def _end_with_parent(scratch: str) -> None:
    """End this process when its parent is gone, which a kill does not let it announce."""
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
    shutil.rmtree(scratch, ignore_errors=True)
    os._exit(1)


@cache
def _enhancer() -> Enhancer:
    return _settings.open()


def _enhance(job: Job) -> tuple[Done | Failed, set[str]]:
    """Return the result of a recording and what was warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = enhance_job(job, _enhancer(), _settings)
    return result, {one_line(warning.message) for warning in caught}  # type: ignore[arg-type]  # an exception
