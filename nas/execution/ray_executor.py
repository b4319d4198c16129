"""Several trials at once, each in a Ray actor, on this machine or on a cluster."""

import math
import re
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from nas.core.errors import InputError, NasError
from nas.core.protocols import Evaluator
from nas.core.resources import Resources
from nas.core.trial import Outcome, Trial
from nas.execution.dispatch import Answer, Died, Dispatcher, Event, Ready, Unusable
from nas.execution.packing import pack, unpack
from nas.execution.ray_cluster import connect, disconnect
from nas.execution.serial import error_line
from nas.execution.worker import Shelf

_START_TIMEOUT_S = 600.0  # a cluster may have to start a node for the first worker
_DEAD_NODE = re.compile(r"node (has died|died|is dead|was (terminated|preempted|drained))", re.I)
_KEPT = 4  # evaluators that stay with the actors: a search uses one or two in turn


class RayExecutor:
    """The `Executor` of Ray actors (Moritz et al., arXiv 1712.05889), made at first use and kept.

    An evaluator is put once into the object store. Its arrays and CPU tensors lie there once for
    all actors of a machine, and must not be written to. Its modules must be importable on every
    machine of the cluster; what is defined in the calling script travels with it. A trial whose
    actor or machine dies is started again in another actor.

    Args:
        resources: `workers` is by default as many as the cluster's CPUs and GPUs allow. Without an
            address the cluster is the one that this process is connected to, or a new one on this
            machine, which `close` ends.
    """

    def __init__(self, resources: Resources | None = None) -> None:
        self._resources = resources or Resources()
        self._pool: _ActorPool | None = None
        self._dispatcher: Dispatcher[_Actor] | None = None

    def run(self, evaluate: Evaluator, trials: Sequence[Trial]) -> Iterator[Outcome]:
        """Yields the outcome of each trial as soon as it is there; see `Dispatcher.run`.

        Raises:
            InputError: No cluster answers at the address, or it can never run such a worker.
        """
        if self._dispatcher is None:
            self._pool = _ActorPool(self._resources)
            self._dispatcher = Dispatcher(self._pool, self._resources.attempts)
        return self._dispatcher.run(evaluate, trials)

    def close(self) -> None:
        """Ends the actors, and the cluster if it was started for them."""
        if self._dispatcher is not None and self._pool is not None:
            self._dispatcher.close()
            self._pool.disconnect()
        self._dispatcher = self._pool = None


class Worker:
    """What an actor does. Made where it runs.

    Args:
        threads: Of its computations.
        path: Where modules are looked for at the caller's; on its machine they are here, too.
    """

    def __init__(self, threads: int, path: Sequence[str]) -> None:
        self._shelf = Shelf(threads)
        sys.path += [entry for entry in path if entry not in sys.path]

    def load(self, number: int, keep: Collection[int], payload: bytes,
             *buffers: Any) -> str | None:
        """Takes an evaluator, if it is not there; returns in one line why it cannot be used."""
        return self._shelf.load(number, keep, lambda: unpack(payload, buffers))

    def answer(self, number: int, trial: Trial) -> bytes:
        """Returns what `nas.execution.worker.read_answer` reads."""
        return self._shelf.answer(number, trial)


@dataclass(eq=False, slots=True)
class _Actor:
    handle: Any
    pending: Any = None  # the reference to what it does
    loading: bool = True


@dataclass(frozen=True, slots=True)
class _Stored:
    """An evaluator in the object store: its pickle, and each buffer by itself."""

    evaluate: Evaluator  # referred to so that its identity is not given again
    parts: Sequence[Any]


class _ActorPool:
    """The `Pool` of actors."""

    def __init__(self, resources: Resources) -> None:
        import ray

        threads = resources.threads or 1
        self._connection = connect(resources, threads)
        try:
            self.size = resources.workers or _fitting(threads, resources.gpus_per_trial)
            if self._connection.own:
                _require_room(resources.gpus_per_trial)
        except BaseException:
            self.disconnect()
            raise
        self._threads = threads
        # Not restarted by Ray: a trial is counted each time that it is started.
        self._make = ray.remote(Worker).options(
            num_cpus=threads, num_gpus=resources.gpus_per_trial, max_restarts=0,
            max_task_retries=0)
        self._stored: dict[int, _Stored] = {}  # by number, the one used last at the end
        self._numbers = 0
        self._current = 0
        self._waiting_since: float | None = None

    def use(self, evaluate: Evaluator) -> None:
        import ray

        if not ray.is_initialized():
            raise NasError("somebody has ended this process's connection to Ray; close the "
                           "executor, then it connects again")
        known = [n for n, stored in self._stored.items() if stored.evaluate is evaluate]
        if known:
            self._current = known[0]
            self._stored[self._current] = self._stored.pop(self._current)
        else:
            self._numbers += 1
            self._stored[self._numbers] = _store(evaluate)
            self._current = self._numbers
        while len(self._stored) > _KEPT:
            del self._stored[next(iter(self._stored))]

    def disconnect(self) -> None:
        """Ends the connection if it was made here."""
        self._stored = {}
        disconnect(self._connection)

    def start(self) -> _Actor:
        return _Actor(self._make.remote(self._threads, [*sys.path]))

    def prepare(self, worker: _Actor) -> None:
        worker.loading = True
        worker.pending = worker.handle.load.remote(
            self._current, frozenset(self._stored), *self._stored[self._current].parts)

    def send(self, worker: _Actor, trial: Trial) -> None:
        worker.loading = False
        worker.pending = worker.handle.answer.remote(self._current, trial)

    def wait(self, workers: Collection[_Actor]) -> Sequence[tuple[_Actor, Event]]:
        import ray

        of = {worker.pending: worker for worker in workers}
        done, _ = ray.wait([*of], num_returns=1, timeout=_START_TIMEOUT_S)
        if done:
            # The others that are done, too: one look for all of them.
            done, _ = ray.wait([*of], num_returns=len(of), timeout=0)
        elif all(worker.loading for worker in workers):
            raise NasError(f"no Ray worker of {self._threads} CPUs has started in "
                           f"{_START_TIMEOUT_S:g} s; the cluster has {_described()}: ask for less, "
                           "or see `ray status`")
        return [(of[reference], _event(of[reference])) for reference in done]

    def end(self, worker: _Actor) -> None:
        import ray

        if ray.is_initialized():  # Ray would connect to something by itself
            with suppress(Exception):  # it or its machine may be gone already
                ray.kill(worker.handle)


def _event(worker: _Actor) -> Event:
    import ray
    from ray.exceptions import LocalRayletDiedError, RayError, RayTaskError

    try:
        found = ray.get(worker.pending)
    except LocalRayletDiedError as error:
        raise NasError(f"Ray has ended on this machine ({error_line(error)}); the search can be "
                       "resumed") from error
    except RayTaskError as error:
        # Not of an evaluation, whose errors are outcomes: its parts or the trial cannot be read.
        return Unusable(error_line(error.cause)) if worker.loading else Died(_ending(error))
    except RayError as error:
        return Died(_ending(error))
    if not worker.loading:
        return Answer(found)
    return Ready() if found is None else Unusable(found)


def _ending(error: BaseException) -> str:
    # Ray's texts are long and name processes and machines; an error in a ledger is one line, the
    # same in every run.
    from ray.exceptions import ActorUnavailableError, NodeDiedError, OutOfMemoryError

    text = str(error)
    if isinstance(error, OutOfMemoryError) or "memory usage threshold" in text:
        return "Ray killed it because memory ran out on its machine"
    if isinstance(error, NodeDiedError | ActorUnavailableError) or _DEAD_NODE.search(text):
        return "its machine cannot be reached any more"
    return f"its process ended ({type(error).__name__}; the system does that when memory runs out)"


def _store(evaluate: Evaluator) -> _Stored:
    import numpy as np
    import ray
    from ray import cloudpickle

    packed = pack(evaluate, what="the evaluator", pickler=cloudpickle.CloudPickler)
    arrays = [np.frombuffer(buffer, dtype=np.uint8) for buffer in packed.buffers]
    return _Stored(evaluate, [ray.put(packed.payload), *(ray.put(array) for array in arrays)])


def _fitting(threads: int, gpus: float) -> int:
    import ray

    there = ray.cluster_resources()  # type: ignore[no-untyped-call]
    fitting = int(there.get("CPU", 0)) // threads
    if gpus > 0:
        fitting = min(fitting, math.floor(there.get("GPU", 0) / gpus))
    return max(1, fitting)


def _require_room(gpus: float) -> None:
    import ray

    have = ray.cluster_resources().get("GPU", 0)  # type: ignore[no-untyped-call]
    if gpus > have:
        raise InputError(f"a trial takes {gpus:g} GPUs, but this machine has {have:g}; ask for "
                         "fewer, or give the address of a cluster that has them")


def _described() -> str:
    import ray

    there = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return f"{there.get('CPU', 0):g} CPUs and {there.get('GPU', 0):g} GPUs"
