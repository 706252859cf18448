"""A Ray cluster as a pool of workers: independent jobs in, their results back as they finish (Ray Data's actor pool).

    scatter(cluster, jobs, start)     `start` is called once in every worker and returns what does a job

A job and its result are JSON values. What a job gives depends on the job alone, so it does not matter which worker does
it or how often: a worker that dies is started again by Ray and its jobs are done anew, ``restarts`` times each; then the
work stops with one sentence (`EngineError`), and what was finished before is kept by whoever asked.

Without an ``address`` a cluster is started on this machine and stopped afterwards. On another one, every node needs the
same Python, this package, and the model at the same path (a hub id, or a folder on a disk that all of them see).

Privacy  Ray's usage report is switched off unless RAY_USAGE_STATS_ENABLED says otherwise.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import math
import os
import socket
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from trl_r1.errors import first_line
from trl_r1.models.engines import EngineError
from trl_r1.text.records import Json


Job = Any  # a JSON value
Work = Callable[[Job], Any]

DEFAULT_PORT = 6379  # of `ray start --head`
STARTS = 4  # attempts to start a cluster of our own, which a busy machine needs
STORE = 256 * 2**20  # bytes for results on their way, in a cluster of our own: a unit's texts are a few MB


@dataclass(frozen=True)
class Cluster:
    """Which cluster, and how much of it."""

    workers: int
    address: str | None = None  # host:port of the head, "auto" for the one of this machine; None starts one here
    cpus: float = 1.0  # of each worker
    gpus: float | None = None  # of each worker; None: 1 where the cluster has any, else none
    restarts: int = 3  # of a worker that died, and of a job it had

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ValueError(f"ray_workers={self.workers} is no pool of workers; give a number of at least 1.")
        if not self.cpus > 0 or (self.gpus is not None and self.gpus < 0):
            raise ValueError("ray_cpus_per_worker must be above 0, and ray_gpus_per_worker not below it.")
        if self.restarts < 0:
            raise ValueError(f"ray_restarts={self.restarts} must be 0 or more.")
        if self.address and self.address.startswith("ray://"):
            raise ValueError(
                f"ray_address={self.address!r} is a Ray Client address, which is not supported here; start this on a "
                f"machine of the cluster and give the head's own address, such as 10.0.0.1:{DEFAULT_PORT}, or auto."
            )

    def check(self, seconds: float = 5.0) -> None:
        """Whether Ray is installed and somebody listens at the address, before a run begins.

        Raises:
            ImportError, ValueError: one sentence.
        """
        if importlib.util.find_spec("ray") is None:
            raise ImportError('ray_workers needs Ray, which is not installed: pip install "trl-r1[ray]"')
        if self.address in (None, "", "auto", "local"):
            return
        host, _, port = str(self.address).rpartition(":")
        if not host or not port.isdigit():
            raise ValueError(
                f"ray_address={self.address!r} is neither host:port, such as 10.0.0.1:{DEFAULT_PORT}, nor auto."
            )
        try:
            socket.create_connection((host.strip("[]"), int(port)), seconds).close()
        except (OSError, OverflowError) as error:
            raise ValueError(
                f"ray_address={self.address!r}: nobody answers there ({error}). Start the cluster with `ray start --head`, "
                "or leave ray_address out to start one on this machine."
            ) from error


class Worker:
    """What lives in an actor: starts at its first job, and reports what it did as rows of one JSON text each."""

    def __init__(self, start: Callable[[], Work]):
        self.start = start
        self.work: Work | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Columns number, job in; number, result out."""
        return {
            "number": list(batch["number"]),
            "result": [
                json.dumps(self.report(json.loads(job))) for job in batch["job"]
            ],  # ASCII: halves of characters
        }

    def report(self, job: Job) -> Json:
        try:
            work = self.work = self.work or self.start()
        except (ValueError, OSError, ImportError) as error:  # a mistake in the recipe, or a node that lacks something
            return {"refused": " ".join(str(error).split())}
        began = time.time()
        return {"value": work(job), "seconds": time.time() - began}


def scatter(cluster: Cluster, jobs: Sequence[Job], start: Callable[[], Work]) -> Iterator[tuple[int, Any, float]]:
    """Does every job in some worker.

    Args:
        start: called once in every worker process, so a model is loaded once; picklable.

    Yields:
        number of the job in ``jobs``, its result, seconds it took; in the order they finish.

    Raises:
        EngineError: the cluster cannot be used, no worker can start, or workers died more often than ``restarts``.
    """
    if not jobs:
        return
    with connected(cluster) as ray:
        gpus = share_of_cluster(cluster, ray.cluster_resources())
        rows = [{"number": number, "job": json.dumps(job)} for number, job in enumerate(jobs)]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*ray_remote_args.*")  # the only way to bound restarts
            results = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
                Worker,
                fn_constructor_args=(start,),
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(
                    size=min(cluster.workers, len(rows)), max_tasks_in_flight_per_actor=1
                ),
                num_cpus=cluster.cpus,
                num_gpus=gpus or None,
                max_restarts=cluster.restarts,
                max_task_retries=cluster.restarts,
            )
        with name_worker_deaths(ray, cluster):
            for batch in results.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=0):
                for number, text in zip(batch["number"], batch["result"], strict=True):
                    report = json.loads(text)
                    if "refused" in report:
                        raise EngineError(f"A worker of the Ray cluster cannot start: {report['refused']}")
                    yield int(number), report["value"], report["seconds"]


@contextmanager
def name_worker_deaths(ray: Any, cluster: Cluster) -> Iterator[None]:
    """A worker that dies again and again, or a node that left, as one sentence; an error in a job keeps its traceback."""
    death_errors = (
        ray.exceptions.RayActorError,
        ray.exceptions.WorkerCrashedError,
        ray.exceptions.NodeDiedError,
        ray.exceptions.OutOfMemoryError,
        ray.exceptions.ObjectLostError,
    )
    try:
        yield
    except death_errors as error:
        raise EngineError(
            f"A worker of the Ray cluster died more than {cluster.restarts} times ({type(error).__name__}); the usual cause "
            "is memory: take a smaller batch or fewer workers for each machine. What is finished is kept; start this again."
        ) from error


@contextmanager
def connected(cluster: Cluster) -> Iterator[Any]:
    """The module ``ray``, connected; disconnected afterwards, unless it was connected before.

    Raises:
        EngineError: there is no cluster, or it is of another version.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when a cluster starts
    import ray
    import ray.data
    import ray.exceptions

    if ray.is_initialized():
        yield ray
        return
    options: Json = {"logging_level": logging.ERROR, "log_to_driver": False}
    if cluster.address in (None, "", "local"):
        options |= {
            "address": "local",
            "include_dashboard": False,
            "object_store_memory": STORE,
            "num_cpus": math.ceil(cluster.workers * cluster.cpus),
        }
    else:
        options |= {"address": cluster.address}
    for attempt in range(1, STARTS + 1):
        try:
            ray.init(**options)
            break
        except Exception as error:  # a bare Exception where a node does not start within Ray's 30 seconds
            ray.shutdown()
            if attempt < STARTS and "timed out during startup" in str(error):
                continue
            raise EngineError(
                f"The Ray cluster (ray_address={cluster.address!r}) cannot be used: {first_line(error)}"
            ) from error
    quiet(ray)
    try:
        yield ray
    finally:
        ray.shutdown()


def quiet(ray: Any) -> None:
    """Ray Data without its own bars and logs: the caller shows what is done, and what goes wrong is raised."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)


def share_of_cluster(cluster: Cluster, there: dict[str, float]) -> float:
    """GPUs of each worker.

    Raises:
        EngineError: the cluster has less than the workers need together, so some would wait for ever.

    >>> share_of_cluster(Cluster(2), {"CPU": 8.0, "GPU": 2.0}), share_of_cluster(Cluster(2), {"CPU": 8.0})
    (1.0, 0.0)
    """
    gpus = cluster.gpus
    if gpus is None:
        gpus = 1.0 if there.get("GPU", 0.0) > 0.0 else 0.0
    for kind, each in (("CPU", cluster.cpus), ("GPU", gpus)):
        if each * cluster.workers > there.get(kind, 0.0) + 1e-6:
            raise EngineError(
                f"The Ray cluster has {there.get(kind, 0.0):g} {kind}, and {cluster.workers} workers of {each:g} need "
                f"{each * cluster.workers:g}; lower ray_workers or ray_{kind.lower()}s_per_worker, or add nodes."
            )
    return gpus
