"""Where Ray Tune runs: a cluster of this process's own, or one that is there; imports ray."""

import os
from dataclasses import dataclass
from typing import Any

import ray

from nas.core.errors import InputError
from nas.core.resources import Resources

# Ray reads these; whoever set them already knows better.
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent anywhere
    "RAY_AIR_NEW_OUTPUT": "0",  # else Tune prints tables even where it is to be silent
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # results are in the ledger
}


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Ray that this process is connected to.

    Attributes:
        workers: Trainings at once; None: as many as there are cores for.
        threads: Cores of each.
        lent: Whether it is somebody else's: then it is not ended.
    """

    workers: int | None
    threads: int
    lent: bool

    def close(self) -> None:
        """Ends it unless it is lent."""
        if not self.lent:
            ray.shutdown()


def connect(resources: Resources) -> Cluster:
    """Returns the Ray that this process has, the one at an address, or a new one here.

    Raises:
        InputError: The address does not answer.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if ray.is_initialized():
        return Cluster(resources.workers, resources.threads or 1, lent=True)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if resources.address is not None:
        try:
            ray.init(address=resources.address, **quiet)
        except Exception as error:  # ray raises several kinds
            raise InputError(f"no Ray cluster answers at {resources.address} ("
                             f"{' '.join(str(error).split())}); check --ray-address and that "
                             "`ray status` works there") from None
        return Cluster(resources.workers, resources.threads or 1, lent=False)
    cores = os.cpu_count() or 1
    workers = resources.workers or max(1, cores // (resources.threads or 1))
    threads = resources.threads or max(1, cores // workers)
    # "local": a cluster that RAY_ADDRESS names is used only if it is asked for.
    ray.init(address="local", num_cpus=workers * threads, include_dashboard=False, **quiet)
    return Cluster(workers, threads, lent=False)
