"""How much of a Ray cluster samples, for the stages that can share their sampling out: rejection_sampling and evaluate."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from accelerate import PartialState

from trl_r1.models.cluster import Cluster


@dataclass
class RayOptions:
    """They decide who samples, not what is sampled, so a run may be started on one cluster and finished on another."""

    ray_workers: int = field(
        default=0,
        metadata={"help": "Models that sample side by side on a Ray cluster (extra `ray`); 0: only in this process."},
    )
    ray_address: str | None = field(
        default=None,
        metadata={"help": "Of the cluster: host:port of its head, or auto; None starts one on this machine."},
    )
    ray_cpus_per_worker: float = field(default=1.0, metadata={"help": "CPU cores, and so threads, of each of them."})
    ray_gpus_per_worker: float | None = field(
        default=None, metadata={"help": "GPUs of each of them; None: 1 where the cluster has any, else none."}
    )
    ray_restarts: int = field(
        default=3,
        metadata={"help": "How often a worker that died is started again, and a unit that it had is redone."},
    )

    def cluster(self) -> Cluster | None:
        """None where nothing is shared out.

        Raises:
            ValueError: one of the options cannot be.
        """
        if self.ray_workers == 0:
            return None
        gpus = 0.0 if getattr(self, "use_cpu", False) else self.ray_gpus_per_worker
        return Cluster(self.ray_workers, self.ray_address, self.ray_cpus_per_worker, gpus, self.ray_restarts)


RAY_NAMES = tuple(option.name for option in fields(RayOptions))


def check_cluster(options: RayOptions, state: PartialState) -> None:
    """Whether the cluster can be used, as far as can be told without connecting to it.

    Raises:
        ImportError, ValueError: one sentence.
    """
    cluster = options.cluster()
    if cluster is None:
        return
    cluster.check()
    if state.num_processes > 1:
        raise ValueError(
            f"ray_workers shares the work out itself, and this was started as {state.num_processes} processes; start it as "
            "one: accelerate launch --num_processes 1 ..."
        )
