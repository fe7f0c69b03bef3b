"""Recordings spread over the machines of a Ray cluster.

A Ray Data pipeline with a pool of actors, each of which holds one model. Paths must lead to the same
files on every machine; URLs do by themselves.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import socket
import sys
import warnings
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsnp_onnx.batch import storage as remote
from fsnp_onnx.batch.plan import Job
from fsnp_onnx.batch.recording import Report, Settings, enhance_recording
from fsnp_onnx.batch.run import Outcomes
from fsnp_onnx.errors import InstallError, ProviderError, one_line
from fsnp_onnx.runtime.cpus import available_cpus

if TYPE_CHECKING:
    import pyarrow as pa

_JOBS_AT_ONCE = 4096  # in one pipeline, so that a million are never in memory
_RETRIES = 2
DIED = (
    f"the workers that enhanced it died, {_RETRIES + 1} in a row; if memory is short, give shorter "
)
DIED += "audio or more --threads, of which a machine then starts fewer jobs"


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where to run, and with how much for each recording.

    Attributes:
        address: Of a running cluster, None for one that is started here for this run.
        n_actors: Recordings at a time, None for as many as the cluster has room for.
        gpus: Share of a GPU that each takes with provider "cuda".
    """

    address: str | None
    n_actors: int | None
    gpus: float


def enhance_on_cluster(jobs: Iterator[Job], settings: Settings, cluster: Cluster) -> Outcomes:
    """Yield what came of each recording, in the order in which they end.

    Args:
        jobs: The recordings; some thousands are taken at once.
        settings: What they share. The model is sent along.
        cluster: Where to run.

    Raises:
        InstallError: Ray is not installed.
        ProviderError: The cluster cannot be reached or cannot work.
        FsnpError: The model cannot be opened.
    """
    ray = _load_ray()
    on_cuda = settings.provider == "cuda"
    provider = settings.provider if on_cuda else "cpu"  # the same on every machine
    replace(settings, provider="cpu").open()  # for the error of a file that is no model
    if isinstance(settings.model, Path):
        settings = replace(settings, model=settings.model.read_bytes())
    settings = replace(settings, provider=provider)
    open_jobs: dict[int, Job] = {}
    with redirect_stdout(sys.stderr):  # where it prints what happens to its workers
        _connect(ray, cluster, settings.threads)
        try:
            while window := list(islice(jobs, _JOBS_AT_ONCE)):
                open_jobs = dict(enumerate(window))
                yield from _enhance_window(ray, open_jobs, settings, cluster)
        finally:
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

        outcomes = []
        for number, job in zip(batch["number"], batch["job"], strict=True):
            outcome = enhance_recording(pickle.loads(job.as_py()), self._enhancer, self._settings)
            outcomes.append({"number": number.as_py(), "outcome": pickle.dumps(outcome)})
        return pa.Table.from_pylist(outcomes)


def _enhance_window(
    ray: Any, open_jobs: dict[int, Job], settings: Settings, cluster: Cluster
) -> Outcomes:
    """Run one pipeline, a block for each recording, as a block is what Ray retries.

    A recording that has ended is taken out of ``open_jobs``.
    """
    rows = [{"number": n, "job": pickle.dumps(_absolute(job))} for n, job in open_jobs.items()]
    n_actors = min(cluster.n_actors or _room(ray, settings, cluster), len(rows))
    with warnings.catch_warnings():
        # without a limit a recording that kills its worker would be tried for ever, and 2.60 warns
        # that this way to give one will go, but has no other yet
        warnings.filterwarnings("ignore", message=".*ray_remote_args")
        enhanced = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            _Actor,
            fn_constructor_args=(ray.put(settings),),
            batch_size=1,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=n_actors, max_tasks_in_flight_per_actor=2),
            num_cpus=settings.threads,
            num_gpus=cluster.gpus if settings.provider == "cuda" else 0,
            max_task_retries=_RETRIES,
        )
    for row in _rows(ray, enhanced):
        job = open_jobs.pop(row["number"])
        yield job, _as_given(job, pickle.loads(row["outcome"]))
    for job in open_jobs.values():
        job.remove_partial()
        yield job, DIED


def _rows(ray: Any, dataset: Any) -> Iterator[dict[str, Any]]:
    try:
        yield from dataset.iter_rows()
    except ray.exceptions.RayError as error:
        raise ProviderError(f"Ray stopped ({one_line(error)})") from error


def _room(ray: Any, settings: Settings, cluster: Cluster) -> int:
    """Return how many actors the machines have room for."""
    there = ray.cluster_resources()
    room = there.get("CPU", 0) // settings.threads
    if settings.provider == "cuda":
        room = min(room, there.get("GPU", 0) // cluster.gpus)
    if room < 1:
        raise ProviderError(
            f"the Ray cluster has {there.get('CPU', 0):g} CPUs and {there.get('GPU', 0):g} GPUs, "
            f"too few for one job of {settings.threads} threads; give fewer --threads or --gpus"
        )
    return int(room)


def _connect(ray: Any, cluster: Cluster, threads: int) -> None:
    on_terminate = signal.getsignal(signal.SIGTERM)
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    address = cluster.address or os.environ.get("RAY_ADDRESS")
    try:
        if address:
            _require_listener(address)
            ray.init(address=address, **quiet)
        else:
            n_cpus = max(available_cpus()[0], (cluster.n_actors or 1) * threads)
            ray.init(address="local", num_cpus=n_cpus, include_dashboard=False, **quiet)
    except (OSError, RuntimeError, ValueError) as error:
        raise ProviderError(
            f"no Ray cluster {f'at {address}' if address else 'can be started here'} "
            f"({one_line(error)}); ray status tells of a running one"
        ) from error
    signal.signal(signal.SIGTERM, on_terminate)  # Ray's own would not remove partial files
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # failures are told by recording
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.max_errored_blocks = -1


def _require_listener(address: str) -> None:
    """Raise the error of a connection to where nobody listens, for which Ray takes minutes."""
    host, colon, port = address.rpartition(":")
    if colon and "/" not in host:
        socket.create_connection((host, int(port)), timeout=10).close()


def _load_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # else a line for every actor
    try:
        import ray  # noqa: PLC0415 - an extra
        import ray.data  # noqa: PLC0415
    except ImportError as error:
        raise InstallError(
            f"--engine ray needs Ray Data, which is not installed ({error}); "
            "run pip install 'fsnp-onnx[ray]'"
        ) from error
    return ray


def _absolute(job: Job) -> Job:
    """Return a job whose paths mean the same in another folder."""
    source, target = (
        name if name is None or remote.is_url(name) else str(Path(name).absolute())
        for name in (job.source, job.target)
    )
    return replace(job, source=source, target=target)


def _as_given(job: Job, outcome: Report | str) -> Report | str:
    if isinstance(outcome, str):
        return outcome
    return replace(outcome, input=job.source_name, output=job.target_name)
