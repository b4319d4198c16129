"""Which worker gets which trial, and what becomes of a trial whose worker dies.

The same for processes and actors: an executor is a `Pool` and a `Dispatcher` over it.
"""

from collections import Counter, deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from nas.core.errors import InputError, NasError
from nas.core.protocols import Evaluator
from nas.core.trial import Outcome, Trial
from nas.execution.worker import read_answer

W = TypeVar("W")


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker holds the evaluator in use."""


@dataclass(frozen=True, slots=True)
class Unusable:
    """The worker works, but cannot hold the evaluator: why not."""

    reason: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What `nas.execution.worker.read_answer` reads."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Died:
    """The worker is no more: how it ended."""

    reason: str


Event = Ready | Unusable | Answer | Died


class Pool(Protocol[W]):
    """Workers of one kind, which are hashable.

    Attributes:
        size: How many there should be, ≥ 1.
    """

    size: int

    def use(self, evaluate: Evaluator) -> None:
        """Makes an evaluator the one in use; whatever it was given before is cheap to use again.

        Raises:
            InputError: It cannot be sent.
        """

    def start(self) -> W:
        """Starts a worker."""

    def prepare(self, worker: W) -> None:
        """Has a worker take the evaluator in use; it will be `Ready`, also if it has it already."""

    def send(self, worker: W, trial: Trial) -> None:
        """Has a ready worker run a trial; never raises because the worker is dead."""

    def wait(self, workers: Collection[W]) -> Sequence[tuple[W, Event]]:
        """Returns what happened to workers since, after waiting for it if need be."""

    def end(self, worker: W) -> None:
        """Ends a worker, whatever it does; it may be dead."""


class Dispatcher(Generic[W]):
    """Runs trials on the workers of a pool, one at a time each; the others wait here.

    Args:
        pool: Its workers are started as they are needed, and kept.
        attempts: How often a trial is started whose worker dies.
    """

    def __init__(self, pool: Pool[W], attempts: int) -> None:
        self._pool = pool
        self._attempts = attempts
        self._idle: list[W] = []
        self._starting: set[W] = set()
        self._busy: dict[W, Trial] = {}
        self._proven: set[W] = set()  # were ready once
        self._false_starts = 0  # workers in a row that never were
        self._last_death = ""

    def run(self, evaluate: Evaluator, trials: Sequence[Trial]) -> Iterator[Outcome]:
        """Yields the outcome of each trial as soon as it is there.

        Raises:
            InputError: The evaluator cannot be sent, or not be used where it arrived.
            NasError: No worker lives long enough to be given a trial.
            KeyboardInterrupt: Here, or in an evaluation. After each of these, all workers are
                ended.
        """
        self._give_up()  # what an earlier run, abandoned by its caller, left
        self._pool.use(evaluate)
        self._false_starts = 0
        self._starting.update(self._idle)
        self._idle.clear()
        for worker in self._starting:  # finds those that died meanwhile, too
            self._pool.prepare(worker)
        waiting, starts = deque(trials), Counter[int]()
        try:
            while waiting or self._busy:
                self._start_workers(len(waiting))
                found: list[Outcome] = []
                try:
                    for worker, event in self._pool.wait([*self._starting, *self._busy]):
                        found += self._handle(worker, event, waiting, starts)
                        self._feed(waiting, starts)
                finally:
                    yield from found
        except (KeyboardInterrupt, NasError):
            self.close()
            raise
        finally:
            self._give_up()

    def close(self) -> None:
        """Ends all workers."""
        self._give_up()
        for worker in [*self._idle, *self._starting]:
            self._end(worker)

    def _handle(self, worker: W, event: Event, waiting: deque[Trial],
                starts: Counter[int]) -> Sequence[Outcome]:
        match event:
            case Ready():
                if worker not in self._starting:
                    return []  # it was prepared twice: by an earlier run, too
                self._starting.remove(worker)
                self._idle.append(worker)
                self._proven.add(worker)
                self._false_starts = 0
            case Answer(payload):
                self._idle.append(worker)
                return [read_answer(payload, self._busy.pop(worker))]
            case Unusable(reason):
                raise InputError(f"the evaluator cannot be used in a worker ({reason}); what it "
                                 "is made of must be importable there")
            case Died(reason):
                return self._bury(worker, reason, waiting, starts)
        return []

    def _bury(self, worker: W, reason: str, waiting: deque[Trial],
              starts: Counter[int]) -> Sequence[Outcome]:
        self._false_starts += worker not in self._proven
        self._last_death = reason
        trial = self._busy.pop(worker, None)
        self._end(worker)
        if trial is None:
            return []
        if starts[trial.id] < self._attempts:
            waiting.appendleft(trial)
            return []
        return [Outcome(trial, error=f"WorkerDied: the worker of attempt {self._attempts} of "
                                     f"{self._attempts} died: {reason}")]

    def _start_workers(self, waiting: int) -> None:
        needed = min(self._pool.size, waiting + len(self._busy))
        limit = self._attempts * self._pool.size
        while self._alive < needed and self._false_starts < limit:
            worker = self._pool.start()
            self._starting.add(worker)
            self._pool.prepare(worker)
        if not self._alive:
            raise NasError(f"{self._false_starts} workers in a row died as they started, the last "
                           f"one: {self._last_death}; free some memory or use fewer workers")

    def _feed(self, waiting: deque[Trial], starts: Counter[int]) -> None:
        while waiting and self._idle:
            worker, trial = self._idle.pop(), waiting.popleft()
            starts[trial.id] += 1
            self._busy[worker] = trial
            self._pool.send(worker, trial)

    def _give_up(self) -> None:
        for worker in [*self._busy]:
            self._end(worker)

    def _end(self, worker: W) -> None:
        if worker in self._idle:
            self._idle.remove(worker)
        self._starting.discard(worker)
        self._proven.discard(worker)
        self._busy.pop(worker, None)
        self._pool.end(worker)

    @property
    def _alive(self) -> int:
        return len(self._idle) + len(self._starting) + len(self._busy)
