"""What happens inside a worker, whatever started it: a process, an actor.

A worker process is told messages over a connection, each of one kind, which its first byte says.
"""

import mmap
import multiprocessing.spawn
import os
import pickle
import queue
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import Any

from nas.core.protocols import Evaluator
from nas.core.trial import Outcome, Trial
from nas.execution.packing import unpack
from nas.execution.serial import error_line, run_trial
from nas.execution.threads import thread_environment, use_threads

LOAD, TRIAL = b"l", b"t"  # what a worker is told: a `Plan`; the number of a plan and a trial
READY, UNUSABLE, ANSWER = b"r", b"u", b"a"  # what it says: both with the plan's number; an answer

importing_main = False  # while the caller's script is imported here, which must start nothing


@dataclass(frozen=True, slots=True)
class Plan:
    """How a worker process comes by an evaluator. Its shared memory follows as a descriptor.

    Attributes:
        number: By which trials refer to the evaluator.
        keep: Numbers of evaluators that may be asked for again.
        spans: (start, bytes) in the memory: first the evaluator's pickle, then the buffers.
        main: For `multiprocessing.spawn.prepare`, if the evaluator is of the caller's script.
    """

    number: int
    keep: Collection[int]
    spans: Sequence[tuple[int, int]]
    main: dict[str, Any] | None


class Interrupted:
    """The answer of a worker whose evaluation was interrupted."""


class Shelf:
    """The evaluators that a worker holds, by number; the process is taken to be the worker's own.

    Args:
        threads: Of their computations.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        os.environ.update(thread_environment(threads))
        self._evaluators: dict[int, Evaluator] = {}

    def load(self, number: int, keep: Collection[int], make: Callable[[], Evaluator]) -> str | None:
        """Takes an evaluator, if it is not there; returns in one line why it cannot be used."""
        for other in set(self._evaluators) - set(keep):
            del self._evaluators[other]
        if number in self._evaluators:
            return None
        try:
            self._evaluators[number] = make()
        except (Exception, SystemExit) as error:  # a script that is imported may do anything
            return error_line(error)
        use_threads(self._threads)
        return None

    def answer(self, number: int, trial: Trial) -> bytes:
        """Returns the pickled outcome of a trial, or an `Interrupted`; never raises."""
        found: Outcome | Interrupted
        try:
            found = run_trial(self._evaluators[number], trial)
        except KeyboardInterrupt:
            found = Interrupted()
        try:
            return pickle.dumps(found)
        except Exception as error:  # metrics that cannot leave the worker
            return pickle.dumps(Outcome(trial, error=f"the metrics cannot be sent back "
                                                     f"({error_line(error)})"))


def read_answer(payload: bytes, trial: Trial) -> Outcome:
    """Returns the outcome of a trial.

    Raises:
        KeyboardInterrupt: The evaluation was interrupted.
    """
    try:
        found = pickle.loads(payload)
    except Exception as error:  # metrics of a class that only the worker knows
        return Outcome(trial, error=f"the metrics cannot be read here ({error_line(error)})")
    if isinstance(found, Interrupted):
        raise KeyboardInterrupt
    assert isinstance(found, Outcome)
    return found


def main(descriptor: int, threads: int) -> None:
    """Runs a worker process to its end, which is that of the connection."""
    connection = Connection(descriptor)
    told: queue.SimpleQueue[tuple[bytes, int]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(connection, told), daemon=True).start()
    shelf = Shelf(threads)
    while True:
        message, memory = told.get()
        content = pickle.loads(message[1:])
        if message[:1] == TRIAL:
            connection.send_bytes(ANSWER + shelf.answer(*content))
            continue
        reason = _load(shelf, content, memory)
        connection.send_bytes((READY if reason is None else UNUSABLE)
                              + pickle.dumps((content.number, reason)))


def _listen(connection: Connection, told: "queue.SimpleQueue[tuple[bytes, int]]") -> None:
    # Also while a trial runs: a worker ends with its parent, even if that one was killed.
    try:
        while True:
            message = connection.recv_bytes()
            loads = message[:1] == LOAD
            told.put((message, reduction.recv_handle(connection) if loads else -1))
    except (EOFError, OSError):
        os._exit(0)


def _load(shelf: Shelf, plan: Plan, memory: int) -> str | None:
    try:
        return shelf.load(plan.number, plan.keep, lambda: _evaluator(plan, memory))
    finally:
        os.close(memory)


def _evaluator(plan: Plan, memory: int) -> Evaluator:
    if plan.main is not None:
        _import_main(plan.main)
    size = max(start + length for start, length in plan.spans)
    # Private: what a worker writes is its own, what it only reads is in memory once for all.
    whole = memoryview(mmap.mmap(memory, size, access=mmap.ACCESS_COPY))
    payload, *buffers = (whole[start:start + length] for start, length in plan.spans)
    evaluate: Evaluator = unpack(bytes(payload), buffers)
    return evaluate


def _import_main(preparation: dict[str, Any]) -> None:
    # Once: `prepare` sees what it has imported.
    global importing_main
    importing_main = True
    try:
        multiprocessing.spawn.prepare(preparation)
    finally:
        importing_main = False
