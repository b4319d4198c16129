"""Several trials at once, each in a process of its own on this machine."""

import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import reduction, spawn
from multiprocessing.connection import Connection, Pipe, wait
from typing import IO, Any

from nas.core.errors import InputError, NasError
from nas.core.protocols import Evaluator
from nas.core.resources import Resources
from nas.core.trial import Outcome, Trial
from nas.execution import worker as inside
from nas.execution.dispatch import Answer, Died, Dispatcher, Event, Ready, Unusable
from nas.execution.packing import pack
from nas.execution.serial import require_this_machine
from nas.execution.threads import thread_environment

_PROGRAM = ("import sys; sys.path[:] = sys.argv[3:]; from nas.execution.worker import main; "
            "main(int(sys.argv[1]), int(sys.argv[2]))")

# What glibc keeps of freed memory, instead of giving it back and faulting it in again, which was
# much of the CPU time of a validation. The worker is a process of ours; elsewhere it means nothing.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(32 * 2**20), "MALLOC_TRIM_THRESHOLD_": str(2**30)}

_ALIGNMENT = 64  # bytes; as torch aligns tensors
_KEPT = 4  # evaluators that stay with the workers: a search uses one or two in turn


class ProcessExecutor:
    """The `Executor` of worker processes, started at first use and kept.

    An evaluator is sent once to each worker; its arrays and CPU tensors lie in memory once for all
    workers, and what a worker writes to them is its own. A worker never outlives this process.
    A trial whose worker dies is started again in a fresh one.

    The calling script is imported by the workers only if the evaluator is defined in it; only then
    it needs the guard ``if __name__ == "__main__":``.

    Args:
        resources: `workers` is by default as many as the cores take at `threads` each.

    Raises:
        InputError: A cluster's address or a share of GPUs; a GPU that the evaluator is on is used
            by all workers.
    """

    def __init__(self, resources: Resources | None = None) -> None:
        resources = resources or Resources()
        require_this_machine(resources, "process")
        threads = resources.threads or 1
        workers = resources.workers or max(1, usable_cores() // threads)
        self._pool = _ProcessPool(workers, threads)
        self._dispatcher = Dispatcher(self._pool, resources.attempts)

    def run(self, evaluate: Evaluator, trials: Sequence[Trial]) -> Iterator[Outcome]:
        """Yields the outcome of each trial as soon as it is there; see `Dispatcher.run`."""
        if inside.importing_main:
            raise InputError("the script with the evaluator starts a search as it is imported; "
                             "put what it does under `if __name__ == \"__main__\":`")
        return self._dispatcher.run(evaluate, trials)

    def close(self) -> None:
        """Ends the workers and frees what they shared."""
        self._dispatcher.close()
        self._pool.forget()


def usable_cores() -> int:
    """Returns the number of cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(eq=False, slots=True)
class _Worker:
    process: "subprocess.Popen[bytes]"
    connection: Connection


@dataclass(frozen=True, slots=True)
class _Shared:
    """An evaluator in shared memory; it is referred to so that its identity is not given again."""

    evaluate: Evaluator
    memory: IO[bytes]
    spans: Sequence[tuple[int, int]]
    main: dict[str, Any] | None


class _ProcessPool:
    """The `Pool` of processes."""

    def __init__(self, size: int, threads: int) -> None:
        self.size = size
        self._threads = threads
        self._shared: dict[int, _Shared] = {}  # by number, the one used last at the end
        self._numbers = 0
        self._current = 0

    def use(self, evaluate: Evaluator) -> None:
        known = [n for n, shared in self._shared.items() if shared.evaluate is evaluate]
        if known:
            self._current = known[0]
            self._shared[self._current] = self._shared.pop(self._current)
        else:
            self._numbers += 1
            self._shared[self._numbers] = _share(evaluate)
            self._current = self._numbers
        while len(self._shared) > _KEPT:
            self._shared.pop(next(iter(self._shared))).memory.close()

    def forget(self) -> None:
        """Frees the shared memory."""
        for shared in self._shared.values():
            shared.memory.close()
        self._shared.clear()

    def start(self) -> _Worker:
        mine, its = Pipe()
        command = [sys.executable, "-c", _PROGRAM, str(its.fileno()), str(self._threads),
                   *sys.path]
        try:
            # A group of its own: Ctrl-C is for this process to handle. Its standard output goes
            # to where errors go, for this process may be writing a result to its own.
            process = subprocess.Popen(
                command, pass_fds=(its.fileno(),), stdin=subprocess.DEVNULL, stdout=2,
                process_group=0,
                env={**os.environ, **ALLOCATOR, **thread_environment(self._threads)})
        except OSError as error:
            mine.close()
            raise NasError(f"a worker process cannot be started ({error}); use fewer workers"
                           ) from error
        finally:
            its.close()
        return _Worker(process, mine)

    def prepare(self, worker: _Worker) -> None:
        shared = self._shared[self._current]
        plan = inside.Plan(self._current, frozenset(self._shared), shared.spans, shared.main)
        with suppress(OSError):  # it is dead, which `wait` will see
            worker.connection.send_bytes(inside.LOAD + pickle.dumps(plan))
            reduction.send_handle(worker.connection, shared.memory.fileno(), worker.process.pid)

    def send(self, worker: _Worker, trial: Trial) -> None:
        with suppress(OSError):
            worker.connection.send_bytes(inside.TRIAL + pickle.dumps((self._current, trial)))

    def wait(self, workers: Collection[_Worker]) -> Sequence[tuple[_Worker, Event]]:
        of = {worker.connection: worker for worker in workers}
        found: list[tuple[_Worker, Event]] = []
        for connection in wait([*of]):
            assert isinstance(connection, Connection)
            event = self._event(of[connection])
            if event is not None:
                found.append((of[connection], event))
        return found

    def end(self, worker: _Worker) -> None:
        if worker.process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(worker.process.pid, signal.SIGKILL)  # and what it started itself
            worker.process.wait()
        worker.connection.close()

    def _event(self, worker: _Worker) -> Event | None:
        try:
            message = worker.connection.recv_bytes()
        except (EOFError, OSError):
            self.end(worker)  # one that ended by itself keeps its exit code
            return Died(_ending(worker.process.returncode))
        if message[:1] == inside.ANSWER:
            return Answer(message[1:])
        number, reason = pickle.loads(message[1:])
        if number != self._current:
            return None  # of an evaluator of which another run has taken the place
        return Ready() if reason is None else Unusable(reason)


def _share(evaluate: Evaluator) -> _Shared:
    packed = pack(evaluate, what="the evaluator")
    parts = [memoryview(packed.payload), *packed.buffers]
    spans: list[tuple[int, int]] = []
    memory: IO[bytes] = (  # without a name, so that it ends with whoever has it open
        os.fdopen(os.memfd_create("nas-evaluator"), "wb") if hasattr(os, "memfd_create")
        else tempfile.TemporaryFile())  # noqa: SIM115
    for part in parts:
        start = memory.seek(-memory.tell() % _ALIGNMENT, os.SEEK_CUR)
        memory.write(part)
        spans.append((start, part.nbytes))
    memory.truncate(memory.tell())  # flushes, and makes room where the last part is empty
    # The name may be there by chance; then the script is imported without need.
    needs_main = b"__main__" in packed.payload
    return _Shared(evaluate, memory, spans, _main_module() if needs_main else None)


def _main_module() -> dict[str, Any]:
    found = spawn.get_preparation_data("worker")
    return {key: value for key, value in found.items() if key.startswith("init_main_")}


def _ending(code: int) -> str:
    if code >= 0:
        return f"it ended with exit code {code}"
    name = signal.Signals(-code).name
    memory = " (the system does that when memory runs out)" if name == "SIGKILL" else ""
    return f"it was killed by {name}{memory}"
