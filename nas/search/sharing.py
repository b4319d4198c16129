"""Several processes on one study: all do the same search, and each trial is run by one of them.

Each process has its own searcher, equal to the others': it asks the same trials and is told the
same outcomes. What it asks is claimed in the study (`nas.search.claims`), one trial after another;
what others have claimed is waited for; and what a process had claimed that has died
(`nas.search.presence`) is claimed again. So all end with the same outcomes, and the ledger is that
of one process alone.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from nas.core.errors import InputError, LedgerError
from nas.core.protocols import Evaluator, Executor
from nas.core.trial import Outcome, Trial
from nas.search.claims import Board, Claims
from nas.search.ledger import Ledger
from nas.search.presence import Presence, Process, Watch, processes, refuse_company
from nas.search.work import INTERVAL_S, Recalling, batch_record, checked, replayed

_SHORTEST_POLL_S = 0.02


@dataclass(frozen=True, kw_only=True, slots=True)
class Joining:
    """How a process shares a study.

    Attributes:
        workers: Trials that it claims at once, ≥ 1: as many as its executor runs at once.
        interval_s: Between its signs of life; the same for all processes.
        grace_s: A process of another machine that gave none for so long has died; well above
            `interval_s`.
        longest_poll_s: Between two looks at what others have finished; short at first.

    Raises:
        InputError: A number out of range.
    """

    workers: int = 1
    interval_s: float = INTERVAL_S
    grace_s: float = 30.0
    longest_poll_s: float = 1.0

    def __post_init__(self) -> None:
        if self.workers < 1 or self.interval_s <= 0 or self.longest_poll_s <= 0:
            raise InputError(f"joining: {self} has a number out of range")
        if self.grace_s <= self.interval_s:
            raise InputError(f"joining: grace of {self.grace_s} s must be longer than the interval "
                             f"of {self.interval_s} s between signs of life")


class Shared:
    """The `nas.search.work.Work` of a process that shares the study.

    Args:
        executor: Runs what is claimed here. One that decides over a whole batch
            (`nas.search.work.Recalling`) runs whole batches: then one process works at a time.
        evaluate: What it runs.
        ledger: Of the study.
        joining: See there.

    Raises:
        LedgerError: On entering: a process is at work on the study that does not share it.
    """

    def __init__(self, executor: Executor, evaluate: Evaluator, ledger: Ledger,
                 joining: Joining) -> None:
        self._executor = executor
        self._evaluate = evaluate
        self._ledger = ledger
        self._joining = joining
        self._claims = Claims(ledger)
        self._watch = Watch(joining.grace_s)
        self._process = Process.this(shares=True)
        self._presence = Presence(ledger, self._process, joining.interval_s)

    def __enter__(self) -> Self:
        """Says that this process takes part."""
        refuse_company(self._ledger, shares=True, interval_s=self._joining.interval_s)
        self._presence.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        """Gives its claims up, so that nobody has to wait, and says that it has ended."""
        try:
            if kind is None or not issubclass(kind, Exception):
                self._claims.retire_all(self._process.token)
        finally:
            self._presence.__exit__(kind, error, trace)

    def run(self, trials: Sequence[Trial], there: Sequence[Outcome],
            record: Mapping[str, Any]) -> Iterator[Outcome]:
        """See `nas.search.work.Work`."""
        batch = _Batch(trials, there, record)
        pause = _SHORTEST_POLL_S
        while batch.missing:
            board = self._claims.board()
            new = [replayed(self._ledger.outcome(board.finished[trial.id]), trial, self._ledger)
                   for trial in batch.missing.values() if trial.id in board.finished]
            for outcome in new:
                batch.add(outcome)
                yield outcome
            mine = self._take(board, batch)
            if mine:
                yield from self._run(mine, batch)
            elif batch.missing and not new:
                if self._ended(batch):
                    return
                self._bury(board, batch)
                time.sleep(pause)
                pause = min(1.5 * pause, self._joining.longest_poll_s)
                continue
            pause = _SHORTEST_POLL_S
        if isinstance(self._executor, Recalling) and not batch.recalled:
            self._executor.recall(batch.there)

    def stop(self, reason: str, *, after: int) -> None:
        """See `nas.search.work.Work`; it waits for a process that is about to end the search."""
        token = self._process.token
        self._claims.put_end(after, token)
        while self._ledger.stopped is None:
            board = self._claims.board()
            mine = board.put_by(token, after, ends=True)
            if not mine:  # it was retired by a process that took this one for dead
                self._claims.put_end(after, token)
                continue
            if board.begun(after, before=mine[0].number):
                break
            holder = board.holder(after)
            if holder is None or holder.owner == token:
                self._ledger.stop(reason, after=after)
            elif self._dead(holder.owner):
                self._claims.retire(holder.number)
            else:
                time.sleep(_SHORTEST_POLL_S)
        self._claims.retire_all(token)

    def _take(self, board: Board, batch: "_Batch") -> dict[int, int]:
        # Claims what nobody has; returns trial id → number of those claims that count.
        whole = isinstance(self._executor, Recalling)
        mine: dict[int, int] = {}
        head = batch.head(whole=whole)
        if head is not None:
            # Claimed before all others, so that it decides whether the search goes on, or, with
            # an executor that runs whole batches, who runs this one.
            holder = board.holder(head.id)
            if holder is not None and (whole or holder.ends):
                return {}
            if holder is None:
                mine = self._claim([head], batch)
                if not mine or self._ended(batch):
                    for number in mine.values():
                        self._claims.retire(number)
                    return {}
        free = [trial for trial in batch.missing.values()
                if trial.id not in mine and board.holder(trial.id) is None]
        if not whole:
            # Each process begins elsewhere, so that two seldom want the same.
            turn = int(self._process.token, 16) % len(free) if free else 0
            free = [*free[turn:], *free[:turn]][:self._joining.workers - len(mine)]
        return {**mine, **(self._claim(free, batch) if free else {})}

    def _claim(self, trials: Sequence[Trial], batch: "_Batch") -> dict[int, int]:
        token = self._process.token
        for trial in trials:
            self._claims.put(trial, token, batch_record(trial, batch.trials, batch.record))
        board = self._claims.board()
        mine = {}
        for trial in trials:
            holder = board.holder(trial.id)
            if trial.id not in board.finished and holder is not None and holder.owner == token:
                mine[trial.id] = holder.number
            for claim in board.put_by(token, trial.id):
                if claim.number != mine.get(trial.id):
                    self._claims.retire(claim.number)
        return mine

    def _run(self, mine: Mapping[int, int], batch: "_Batch") -> Iterator[Outcome]:
        if isinstance(self._executor, Recalling):
            if batch.recalled:
                raise LedgerError(f"ledger {self._ledger.where}: another process took this one for "
                                  "dead and has run its batch; start this one again")
            batch.recalled = True
            self._executor.recall(batch.there)
        trials = [batch.missing[trial_id] for trial_id in sorted(mine)]
        for raw in self._executor.run(self._evaluate, trials):
            outcome = checked(raw, self._ledger.objectives)
            # If its claim does not count any more, another process gives its outcome.
            if self._claims.finish(mine[outcome.trial.id], outcome):
                batch.add(outcome)
                yield outcome

    def _ended(self, batch: "_Batch") -> bool:
        if batch.trials[0].id not in batch.missing:
            return False
        stopped = self._ledger.stopped
        return stopped is not None and stopped.after <= batch.trials[0].id

    def _bury(self, board: Board, batch: "_Batch") -> None:
        waited_for = [claim for claim in board.claims if claim.trial_id in batch.missing
                      and not claim.retired and claim.owner != self._process.token]
        if waited_for:
            present = processes(self._ledger)
            for claim in waited_for:
                if self._watch.dead(claim.owner, present):
                    self._claims.retire(claim.number)

    def _dead(self, owner: str) -> bool:
        return self._watch.dead(owner, processes(self._ledger))


class _Batch:
    """A batch in hand: what is there of it and what is missing, by trial id."""

    def __init__(self, trials: Sequence[Trial], there: Sequence[Outcome],
                 record: Mapping[str, Any]) -> None:
        self.trials = trials
        self.record = record
        self.recalled = False
        self._there = {outcome.trial.id: outcome for outcome in there}
        self.missing = {trial.id: trial for trial in trials if trial.id not in self._there}

    @property
    def there(self) -> list[Outcome]:
        return [self._there[number] for number in sorted(self._there)]

    def add(self, outcome: Outcome) -> None:
        self._there[outcome.trial.id] = outcome
        del self.missing[outcome.trial.id]

    def head(self, *, whole: bool) -> Trial | None:
        """Returns the trial to be claimed before all others, if that is still to be run."""
        return self.missing.get(min(self.missing, default=-1) if whole else self.trials[0].id)
