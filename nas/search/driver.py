"""The one ask → run → tell loop; a resumed search is the same loop over a ledger with trials."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from nas.core.errors import LedgerError
from nas.core.protocols import Evaluator, Executor, Gate, Searcher
from nas.core.trial import Outcome
from nas.search.ledger import Ledger
from nas.search.sharing import Joining, Shared
from nas.search.work import Alone, Work, replayed

_ROUNDING = 1e-9  # of sums of costs such as 0.2


@runtime_checkable
class Priced(Protocol):
    """An `Executor` whose trials do not cost one full validation each."""

    def cost(self, n: int) -> float:
        """Returns the most that a batch of n trials will cost, in full validations.

        It must not fall with n, and be a function of the batches before this one.
        """


def drive(searcher: Searcher, executor: Executor, evaluate: Evaluator, ledger: Ledger, *,
          budget: float, batch_size: int, gate: Gate | None = None,
          on_outcome: Callable[[Outcome], None] | None = None,
          stop: Callable[[Sequence[Outcome]], str | None] | None = None,
          join: Joining | None = None) -> list[Outcome]:
    """Runs a search to its end and returns all outcomes, sorted by trial id.

    Trials that the ledger has are not run again. A batch is told in the order of trial ids,
    whatever the order in which the executor finished it. The last trial of each batch carries
    the searcher's counts, so that a resumed search proves that it replays the same exits.

    A batch is the largest that `batch_size` allows and whose cost is left of the budget: with a
    `Priced` executor that is ``executor.cost(n)``, else n. The search ends when there is none. A
    `nas.search.work.Recalling` executor is given, before each batch, what is there of it already.

    Args:
        searcher: Fresh: the ledger's outcomes are told to it again.
        executor: Runs what the ledger does not have.
        evaluate: Must give every objective of the ledger as a finite number, else the trial
            counts as failed.
        ledger: Gets each outcome as soon as it is there.
        budget: The sum of the outcomes' costs that is not exceeded; a failed trial costs what its
            outcome says, which is 1 unless its executor knows better.
        batch_size: Trials asked for at once, at most.
        gate: The one of the searcher's problem; told after the searcher, and recorded.
        on_outcome: Called with each outcome, those from the ledger included.
        stop: Asked after each new batch with all outcomes so far, sorted by id. A reason ends the
            search and is written to the ledger; resumed, the search ends there again.
        join: The study is shared with other processes that do the same search; None: it is not.

    Raises:
        LedgerError: The ledger disagrees with what the searcher asks, cannot be written, or
            another process is at work on it that does not share it.
    """
    work: Work = (Alone(executor, evaluate, ledger) if join is None
                  else Shared(executor, evaluate, ledger, join))
    with work:
        known = {outcome.trial.id: outcome for outcome in ledger.outcomes()}
        records = ledger.batches()
        if gate is not None:
            gate.recall(record["gate"] for record in records.values() if "gate" in record)
        done: list[Outcome] = []
        while not _stopped(ledger, len(done)):
            n = _affordable(executor, batch_size, budget - math.fsum(o.cost for o in done))
            trials = searcher.ask(n) if n else ()
            if not trials:
                break
            record: dict[str, Any] = {"first": trials[0].id, "counts": dict(searcher.counts)}
            if gate is not None:
                record["gate"] = gate.record()
            _check_record(records.get(trials[-1].id, record), record, trials[-1].id, ledger)
            batch = [replayed(known.pop(trial.id), trial, ledger)
                     for trial in trials if trial.id in known]
            for outcome in batch:
                _report(outcome, on_outcome)
            for outcome in work.run(trials, tuple(batch), record):
                batch.append(outcome)
                _report(outcome, on_outcome)
            if not batch:  # another process has ended the search before this batch
                break
            batch.sort(key=lambda outcome: outcome.trial.id)
            searcher.tell(batch)
            if gate is not None:
                gate.tell(batch)
            done += batch
            # Where there are trials already, it was asked before and had no reason.
            if stop is not None and not known and not _stopped(ledger, len(done)) and (
                    reason := stop(done)) is not None:
                work.stop(reason, after=len(done))
    if known:
        raise LedgerError(f"ledger {ledger.where} has trial {min(known)}, which this search does "
                          "not ask for; resume with the options that it was started with")
    return done


def _stopped(ledger: Ledger, after: int) -> bool:
    stopped = ledger.stopped
    return stopped is not None and after >= stopped.after


def _affordable(executor: Executor, batch_size: int, left: float) -> int:
    if not isinstance(executor, Priced):
        return max(0, min(batch_size, math.floor(left + _ROUNDING)))
    return next((n for n in range(batch_size, 0, -1)
                 if executor.cost(n) <= left + _ROUNDING), 0)


def _check_record(stored: Mapping[str, Any], now: Mapping[str, Any], last: int,
                  ledger: Ledger) -> None:
    if stored != now:
        raise LedgerError(
            f"ledger {ledger.where}: up to trial {last} the search counted {stored.get('counts')} "
            f"then and {now['counts']} now; constraints, costs, batch size, scores or code have "
            "changed since")


def _report(outcome: Outcome, on_outcome: Callable[[Outcome], None] | None) -> None:
    if on_outcome is not None:
        on_outcome(outcome)
