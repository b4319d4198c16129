"""Results made ahead of need, by processes of their own."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import Any, Generic, TypeVar

import torch

from nas.core.errors import EvaluationError

Result = TypeVar("Result")

_PER_WORKER = 2  # results that each has ready or in the making


class Ahead(Generic[Result]):
    """Gives ``make(step)`` for step after step; the next ones are made meanwhile.

    torch's `DataLoader` is not used: where a worker is killed, it raises from a signal handler, in
    whatever line the main thread happens to be.

    Args:
        make: Sent to each worker once; its results and errors are pickled.
        workers: Processes, at least 1; they have one thread each and end with this one.
    """

    def __init__(self, make: Callable[[int], Result], *, workers: int) -> None:
        self._make, self._workers = make, workers
        self._pool: ProcessPoolExecutor | None = None
        self._made: deque[Future[Result]] = deque()
        self._next = 0  # step of the first in `_made`

    def __call__(self, step: int) -> Result:
        """Returns the result of a step; one that is not the next discards what was made.

        Raises:
            Exception: What `make` raised.
            EvaluationError: A worker was killed, such as for want of memory.
        """
        if self._pool is None:
            self._pool = ProcessPoolExecutor(self._workers, initializer=_start,
                                             initargs=(self._make,))
        if step != self._next:
            self._discard()
            self._next = step
        try:
            while len(self._made) < _PER_WORKER * self._workers:
                self._made.append(self._pool.submit(_run, self._next + len(self._made)))
            self._next += 1
            return self._made.popleft().result()
        except BrokenProcessPool:
            self.close()
            raise EvaluationError("a process that prepares batches was killed, perhaps for want "
                                  "of memory; use fewer workers or smaller batches") from None

    def close(self) -> None:
        """Ends the workers; the next call starts new ones."""
        self._discard()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def _discard(self) -> None:
        for future in self._made:
            future.cancel()
        self._made.clear()


_make: Callable[[int], Any] | None = None  # of this process, if it is a worker


def _start(make: Callable[[int], Any]) -> None:
    global _make
    _make = make
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the main process
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # A killed main process cannot end its workers.
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _run(step: int) -> Any:
    assert _make is not None  # `_start` has run
    return _make(step)
