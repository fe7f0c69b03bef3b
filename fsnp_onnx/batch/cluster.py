"""Recordings spread over the machines of a Ray cluster.

A Ray Data pipeline with a pool of actors, each of which holds one model.
"""

from __future__ import annotations

import atexit
import logging
import os
import pickle
import socket
import sys
import warnings
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsnp_onnx.batch import storage
from fsnp_onnx.batch.jobs import Job
from fsnp_onnx.batch.signals import handler_of_sigterm_kept
from fsnp_onnx.batch.worker import Failed, Settings, enhance_job
from fsnp_onnx.errors import ArgumentError, InstallError, WorkerError, one_line
from fsnp_onnx.runtime.cpus import available_cpus
from fsnp_onnx.runtime.recording import Done

if TYPE_CHECKING:
    import pyarrow as pa

_JOBS_AT_ONCE = 4096  # in one pipeline, so that a million are never in memory
_RETRIES = 2
DIED = (
    f"the workers that enhanced it died, {_RETRIES + 1} in a row; if memory is short, give shorter "
    "audio or more threads, of which a machine then starts fewer jobs"
)


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Ray cluster to run on, and how much of it each recording gets.

    Paths must lead to the same files on every machine; URLs do so by themselves.

    Attributes:
        address: Of a running cluster. None for the one in RAY_ADDRESS, or else one that is started
            on this machine for the run. Where Ray is initialised already, that one is used and stays.
        gpus_per_job: Share of a GPU that each job takes with provider "cuda", 0.01 to 1.

    Raises:
        ArgumentError: The share is out of range.

    Example:
        >>> Cluster("10.0.0.1:6379", gpus_per_job=0.5)  # give it to `enhance_files` as cluster
        Cluster(address='10.0.0.1:6379', gpus_per_job=0.5)
    """

    address: str | None = None
    gpus_per_job: float = 1.0

    def __post_init__(self) -> None:
        share: object = self.gpus_per_job  # of any type, from a caller without types
        if not isinstance(share, int | float) or not 0.01 <= share <= 1:
            raise ArgumentError("gpus_per_job", f"is {self.gpus_per_job!r}; give 0.01 to 1")


def enhance_on_cluster(
    items: Iterator[Job | Done | Failed], settings: Settings, cluster: Cluster, n_actors: int | None
) -> Generator[Done | Failed]:
    """Yield the result of each recording, in the order in which they end.

    Some thousands of items are taken at once. Results among them are passed on. The model is sent
    along. Without a number of actors there are as many as the cluster has room for.
    """
    settings = replace(
        settings,
        model=settings.model_bytes(),
        provider="cuda" if settings.provider == "cuda" else "cpu",  # the same everywhere
        threads=settings.threads or 1,
    )
    results = _enhance(items, settings, cluster, n_actors)
    atexit.register(results.close)  # before Ray, which would else be started again and hang
    with closing(results), ExitStack() as stack:
        stack.callback(atexit.unregister, results.close)
        while True:
            with redirect_stdout(sys.stderr):  # where Ray prints what happens to its workers
                result = next(results, None)
            if result is None:
                return
            yield result


def _enhance(
    items: Iterator[Job | Done | Failed], settings: Settings, cluster: Cluster, n_actors: int | None
) -> Generator[Done | Failed]:
    ray = require_ray()
    open_jobs: dict[int, Job] = {}
    is_own = not ray.is_initialized()
    if is_own:
        _connect(ray, cluster, (n_actors or 1) * (settings.threads or 1))
    try:
        n_actors = n_actors or _room(ray, settings, cluster)
        with _quiet(ray):
            while window := list(islice(items, _JOBS_AT_ONCE)):
                yield from (item for item in window if not isinstance(item, Job))
                open_jobs = dict(enumerate(item for item in window if isinstance(item, Job)))
                if open_jobs:
                    pipeline = _pipeline(ray, open_jobs, settings, cluster, n_actors)
                    yield from _results(ray, pipeline, open_jobs)
    finally:
        if is_own:
            ray.shutdown()
        for job in open_jobs.values():  # only now, as nobody begins another partial file
            job.remove_partial()


class _Actor:
    """A model on some machine of the cluster."""

    def __init__(self, settings: Any) -> None:
        import ray  # noqa: PLC0415 - an extra

        self._settings: Settings = ray.get(settings)
        self._enhancer = self._settings.open()

    def __call__(self, batch: pa.Table) -> pa.Table:
        import pyarrow as pa  # noqa: PLC0415 - comes with Ray

        rows = []
        for number, job in zip(batch["number"], batch["job"], strict=True):
            result = enhance_job(pickle.loads(job.as_py()), self._enhancer, self._settings)
            rows.append({"number": number.as_py(), "result": pickle.dumps(result)})
        return pa.Table.from_pylist(rows)


def _pipeline(
    ray: Any, jobs: dict[int, Job], settings: Settings, cluster: Cluster, n_actors: int
) -> Any:
    """Return a pipeline with a block for each recording, as a block is what Ray retries."""
    rows = [{"number": n, "job": pickle.dumps(_absolute(job))} for n, job in jobs.items()]
    actors = ray.data.ActorPoolStrategy(
        size=min(n_actors, len(rows)), max_tasks_in_flight_per_actor=2
    )
    with warnings.catch_warnings():
        # without a limit a recording that kills its worker would be tried for ever, and 2.60 warns
        # that this way to give one will go, but has no other yet
        warnings.filterwarnings("ignore", message=".*ray_remote_args")
        return ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            _Actor,
            fn_constructor_args=(ray.put(settings),),
            batch_size=1,
            batch_format="pyarrow",
            compute=actors,
            num_cpus=settings.threads,
            num_gpus=cluster.gpus_per_job if settings.provider == "cuda" else 0,
            max_task_retries=_RETRIES,
        )


def _results(ray: Any, pipeline: Any, open_jobs: dict[int, Job]) -> Generator[Done | Failed]:
    """Yield what a pipeline gives; a recording that has ended is taken out of ``open_jobs``."""
    try:
        for row in pipeline.iter_rows():
            job = open_jobs.pop(row["number"])
            yield replace(pickle.loads(row["result"]), input=job.source, output=job.target)
    except ray.exceptions.RayError as error:
        raise WorkerError(f"Ray stopped ({one_line(error)})") from error
    for job in open_jobs.values():
        job.remove_partial()
        yield Failed(job.source, job.target, WorkerError(DIED))


def _room(ray: Any, settings: Settings, cluster: Cluster) -> int:
    """Return how many actors the machines have room for."""
    available = ray.cluster_resources()
    threads = settings.threads or 1
    room = available.get("CPU", 0) // threads
    if settings.provider == "cuda":
        room = min(room, available.get("GPU", 0) // cluster.gpus_per_job)
    if room < 1:
        raise WorkerError(
            f"the Ray cluster has {available.get('CPU', 0):g} CPUs and {available.get('GPU', 0):g} GPUs, "
            f"too few for one job of {threads} threads; give fewer threads or GPUs per job"
        )
    return int(room)


def _connect(ray: Any, cluster: Cluster, n_cpus: int) -> None:
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    address = cluster.address or os.environ.get("RAY_ADDRESS")
    try:
        with handler_of_sigterm_kept():  # Ray's own would not remove partial files
            if address:
                _require_listener(address)
                ray.init(address=address, **quiet)
            else:
                n_cpus = max(available_cpus()[0], n_cpus)
                ray.init(address="local", num_cpus=n_cpus, include_dashboard=False, **quiet)
    except (OSError, RuntimeError, ValueError) as error:
        raise WorkerError(
            f"no Ray cluster {f'at {address}' if address else 'can be started here'} "
            f"({one_line(error)}); check with ray status"
        ) from error


@contextmanager
def _quiet(ray: Any) -> Iterator[None]:
    """Let Ray Data go on after failures and print nothing, as each recording reports its own."""
    context = ray.data.DataContext.get_current()
    wanted = {"enable_progress_bars": False, "print_on_execution_start": False}
    log = logging.getLogger("ray.data")
    with ExitStack() as stack:
        stack.callback(log.setLevel, log.level)
        log.setLevel(logging.CRITICAL)
        for name, value in (wanted | {"max_errored_blocks": -1}).items():
            stack.callback(setattr, context, name, getattr(context, name))
            setattr(context, name, value)
        yield


def _require_listener(address: str) -> None:
    """Fail fast if nothing listens at the address; Ray would wait minutes."""
    host, colon, port = address.rpartition(":")
    if colon and "/" not in host:
        socket.create_connection((host, int(port)), timeout=10).close()


def require_ray() -> Any:
    """Import Ray, quiet and without usage statistics."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # else a line for every actor
    try:
        import ray  # noqa: PLC0415 - an extra
        import ray.data  # noqa: PLC0415
    except ImportError as error:
        raise InstallError(
            f"a cluster needs Ray Data, which is not installed ({error}); "
            "run pip install 'fsnp-onnx[ray]'"
        ) from error
    return ray


def _absolute(job: Job) -> Job:
    """Return a job whose paths mean the same in another folder."""
    source, target = (
        name if storage.is_url(name) else str(Path(name).absolute())
        for name in (job.source, job.target)
    )
    return replace(job, source=source, target=target)
