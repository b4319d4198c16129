"""The one ask → run → tell loop; a resumed search is the same loop over a ledger with trials."""

import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from nas.core.errors import EvaluationError, LedgerError
from nas.core.problem import Objective, minimized
from nas.core.protocols import Evaluator, Executor, Gate, Searcher
from nas.core.trial import Outcome, Trial
from nas.search.ledger import Ledger


def drive(searcher: Searcher, executor: Executor, evaluate: Evaluator, ledger: Ledger, *,
          budget: int, batch_size: int, gate: Gate | None = None,
          on_outcome: Callable[[Outcome], None] | None = None) -> list[Outcome]:
    """Runs a search to its end and returns all outcomes, sorted by trial id.

    Trials that the ledger has are not run again. A batch is told in the order of trial ids,
    whatever the order in which the executor finished it. The last trial of each batch carries
    the searcher's counts, so that a resumed search proves that it replays the same exits.

    Args:
        searcher: Fresh: the ledger's outcomes are told to it again.
        executor: Runs what the ledger does not have.
        evaluate: Must give every objective of the ledger as a finite number, else the trial
            counts as failed.
        ledger: Gets each outcome as soon as it is there.
        budget: Number of trials, failed ones included.
        batch_size: Trials asked for at once; the last batch may be smaller.
        gate: The one of the searcher's problem; told after the searcher, and recorded.
        on_outcome: Called with each outcome, those from the ledger included.

    Raises:
        LedgerError: The ledger disagrees with what the searcher asks, or cannot be written.
    """
    known = {outcome.trial.id: outcome for outcome in ledger.outcomes()}
    records = ledger.batches()
    if gate is not None:
        gate.recall(record["gate"] for record in records.values() if "gate" in record)
    done: list[Outcome] = []
    while len(done) < budget:
        trials = searcher.ask(min(batch_size, budget - len(done)))
        if not trials:
            break
        record: dict[str, Any] = {"first": trials[0].id, "counts": dict(searcher.counts)}
        if gate is not None:
            record["gate"] = gate.record()
        last = trials[-1].id
        _check_record(records.get(last, record), record, last, ledger)
        batch = [_replayed(known.pop(trial.id), trial, ledger)
                 for trial in trials if trial.id in known]
        for outcome in batch:
            _report(outcome, on_outcome)
        replayed = {outcome.trial.id for outcome in batch}
        rest = [trial for trial in trials if trial.id not in replayed]
        for raw in executor.run(evaluate, rest) if rest else ():
            outcome = checked(raw, ledger.objectives)
            ledger.record(outcome, batch=record if outcome.trial.id == last else None)
            batch.append(outcome)
            _report(outcome, on_outcome)
        batch.sort(key=lambda outcome: outcome.trial.id)
        searcher.tell(batch)
        if gate is not None:
            gate.tell(batch)
        done += batch
    if known:
        raise LedgerError(f"ledger {ledger.where} has trial {min(known)}, which this search does "
                          "not ask for; resume with the options that it was started with")
    return done


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


def _replayed(outcome: Outcome, trial: Trial, ledger: Ledger) -> Outcome:
    if outcome.trial.arch.digest != trial.arch.digest:
        raise LedgerError(
            f"ledger {ledger.where}: trial {trial.id} is {outcome.trial.arch.digest} there, but "
            f"the search asks for {trial.arch.digest}; options or code have changed since")
    return outcome


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
