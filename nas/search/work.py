"""How the trials of a batch get their outcomes: here by one process that has the study alone."""

import math
import numbers
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Protocol, Self, runtime_checkable

from nas.core.errors import EvaluationError, LedgerError
from nas.core.problem import Objective, minimized
from nas.core.protocols import Evaluator, Executor
from nas.core.trial import Outcome, Trial
from nas.search.claims import Claims
from nas.search.ledger import Ledger
from nas.search.presence import Presence, Process, refuse_company

INTERVAL_S = 5.0  # between two signs of life in the study


@runtime_checkable
class Recalling(Protocol):
    """An `Executor` that decides over a whole batch, so it must know all of it."""

    def recall(self, outcomes: Sequence[Outcome]) -> None:
        """Takes what is there already of a batch, sorted by trial id; none, some or all.

        It is called once for each batch, before what is not there is run.
        """


class Work(Protocol):
    """Gets the outcomes of a batch and writes them to the ledger, while it is entered."""

    def __enter__(self) -> Self: ...
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None: ...

    def run(self, trials: Sequence[Trial], there: Sequence[Outcome],
            record: Mapping[str, Any]) -> Iterator[Outcome]:
        """Yields the outcomes of a batch but for those that are there, each once it is written.

        Args:
            trials: The whole batch.
            there: Outcomes of it that the ledger had, sorted by trial id.
            record: To be written with the batch's last trial.

        Yields nothing at all if another process has ended the search before this batch.
        """

    def stop(self, reason: str, *, after: int) -> None:
        """Writes to the ledger that the search ends after so many trials.

        It does not if another process has begun with more of them.
        """


class Alone:
    """The `Work` of a process that has the study for itself.

    Args:
        executor: Runs what is not there.
        evaluate: What it runs.
        ledger: Is written to.

    Raises:
        LedgerError: On entering: another process is at work on the study.
    """

    def __init__(self, executor: Executor, evaluate: Evaluator, ledger: Ledger) -> None:
        self._executor = executor
        self._evaluate = evaluate
        self._ledger = ledger
        self._presence = Presence(ledger, Process.this(shares=False), INTERVAL_S)

    def __enter__(self) -> Self:
        """Makes sure that nobody else is there, and says that this process is."""
        refuse_company(self._ledger, shares=False, interval_s=INTERVAL_S)
        Claims(self._ledger).retire_all()  # of dead processes, then
        self._presence.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        """Says that this process has ended."""
        self._presence.__exit__(kind, error, trace)

    def run(self, trials: Sequence[Trial], there: Sequence[Outcome],
            record: Mapping[str, Any]) -> Iterator[Outcome]:
        """See `Work`."""
        if isinstance(self._executor, Recalling):
            self._executor.recall(there)
        known = {outcome.trial.id for outcome in there}
        rest = [trial for trial in trials if trial.id not in known]
        for raw in self._executor.run(self._evaluate, rest) if rest else ():
            outcome = checked(raw, self._ledger.objectives)
            self._ledger.record(outcome, batch=batch_record(outcome.trial, trials, record))
            yield outcome

    def stop(self, reason: str, *, after: int) -> None:
        """See `Work`."""
        self._ledger.stop(reason, after=after)


def batch_record(trial: Trial, trials: Sequence[Trial],
                 record: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Returns the batch's record for its last trial, else None."""
    return record if trial.id == trials[-1].id else None


def replayed(outcome: Outcome, trial: Trial, ledger: Ledger) -> Outcome:
    """Returns the outcome that the ledger has of a trial.

    Raises:
        LedgerError: It is of another architecture.
    """
    if outcome.trial.arch.digest != trial.arch.digest:
        raise LedgerError(
            f"ledger {ledger.where}: trial {trial.id} is {outcome.trial.arch.digest} there, but "
            f"the search asks for {trial.arch.digest}; options or code have changed since")
    return outcome


def checked(outcome: Outcome, objectives: Sequence[Objective]) -> Outcome:
    """Returns the outcome with plain finite metrics, or failed with the reason why not."""
    if not outcome.ok:
        return outcome
    try:
        metrics = {name: _plain(name, value) for name, value in outcome.metrics.items()}
        minimized(objectives, [metrics])
    except EvaluationError as error:
        return replace(outcome, metrics={}, error=f"EvaluationError: {error}")
    return replace(outcome, metrics=metrics)


def _plain(name: str, value: Any) -> float:
    # What the ledger gives back: int stays int, whatever the library that it came from.
    if isinstance(value, numbers.Integral):
        return int(value)
    if not isinstance(value, numbers.Real) or not math.isfinite(value):
        raise EvaluationError(f"the evaluation gave {value!r} as {name!r}, which is not a finite "
                              "number")
    return float(value)
