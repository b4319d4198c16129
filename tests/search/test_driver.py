from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.core.arch import Arch
from nas.core.errors import LedgerError
from nas.core.problem import Problem
from nas.core.protocols import Evaluator
from nas.core.trial import Outcome, Trial
from nas.execution.serial import SerialExecutor
from nas.search.driver import drive
from nas.search.entries import Stopped
from nas.search.ledger import Ledger, ledger_equal
from nas.search.random_search import RandomSearch
from nas.search.record import read_record

MakeLedger = Callable[..., Ledger]


@pytest.fixture
def problem(make_problem: Callable[..., Problem]) -> Problem:
    return make_problem()


def run(problem: Problem, evaluate: Any, ledger: Ledger, **options: Any) -> list[Outcome]:
    return drive(RandomSearch(problem), SerialExecutor(), evaluate, ledger,
                 **{"budget": 10, "batch_size": 4, **options})


def test_budget_counts_asked_trials_failed_ones_included(
        problem: Problem, evaluate: Evaluator, make_ledger: MakeLedger) -> None:
    ledger = make_ledger(problem)
    outcomes = run(problem, evaluate, ledger)
    assert [outcome.trial.id for outcome in outcomes] == list(range(10))
    assert any(not outcome.ok for outcome in outcomes)
    assert ledger.outcomes() == outcomes


@pytest.mark.parametrize(("metrics", "error"), [
    ({"error": 1.0}, "EvaluationError: the evaluation gave no 'speed'; it gave error"),
    ({}, "EvaluationError: the evaluation gave no 'error'; it gave nothing"),
    ({"error": np.nan, "speed": 1.0}, "EvaluationError: the evaluation gave nan as 'error'"),
    ({"error": 1.0, "speed": 1.0, "extra": -np.inf}, "the evaluation gave -inf as 'extra'"),
    ({"error": "low", "speed": 1.0}, "the evaluation gave 'low' as 'error'"),
])
def test_missing_or_unusable_metric_is_a_failure(
        problem: Problem, make_ledger: MakeLedger, metrics: Mapping[str, Any],
        error: str) -> None:
    ledger = make_ledger(problem)
    outcomes = run(problem, lambda _: metrics, ledger, budget=2)
    assert all(error in (outcome.error or "") for outcome in outcomes)
    assert all(outcome.metrics == {} for outcome in outcomes)
    assert ledger.outcomes() == outcomes


def test_numbers_of_libraries_become_plain(problem: Problem, make_ledger: MakeLedger) -> None:
    outcome, = run(problem, lambda _: {"error": np.float32(0.5), "speed": np.int64(3)},
                   make_ledger(problem), budget=1)
    assert [type(value) for value in outcome.metrics.values()] == [float, int]


def test_each_batch_leaves_its_counts_on_its_last_trial(
        problem: Problem, evaluate: Evaluator, make_ledger: MakeLedger) -> None:
    ledger = make_ledger(problem)
    run(problem, evaluate, ledger)
    batches = ledger.batches()
    assert {last: record["first"] for last, record in batches.items()} == {3: 0, 7: 4, 9: 8}
    for last, record in batches.items():
        counts = dict(record["counts"])
        assert counts.pop("sampled") == sum(counts.values()) + last + 1


def test_other_batch_size_is_refused(problem: Problem, evaluate: Evaluator,
                                     make_ledger: MakeLedger, tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    run(problem, evaluate, make_ledger(problem, path))
    with pytest.raises(LedgerError, match="batch size"):
        run(problem, evaluate, make_ledger(problem, path), batch_size=8)


def test_other_architecture_is_refused(problem: Problem, evaluate: Evaluator,
                                       make_ledger: MakeLedger) -> None:
    ledger = make_ledger(problem)
    stranger = problem.space.decode(np.zeros((1, len(problem.space.genes)), dtype=np.int16))[0]
    ledger.record(Outcome(Trial(1, stranger), evaluate(stranger)))
    with pytest.raises(LedgerError, match=f"trial 1 is {stranger.digest} there"):
        run(problem, evaluate, ledger)


def test_ledger_with_more_trials_than_asked_for_is_refused(
        problem: Problem, evaluate: Evaluator, make_ledger: MakeLedger) -> None:
    ledger = make_ledger(problem)
    run(problem, evaluate, ledger, budget=8)
    with pytest.raises(LedgerError, match="has trial 4, which this search does not ask for"):
        run(problem, evaluate, ledger, budget=4)


def test_search_over_a_full_ledger_runs_nothing(problem: Problem, evaluate: Evaluator,
                                                make_ledger: MakeLedger) -> None:
    def never(arch: Arch) -> Mapping[str, float]:
        raise AssertionError(arch)

    ledger = make_ledger(problem)
    assert run(problem, evaluate, ledger) == run(problem, never, ledger)


class Halving:
    """Every fourth trial of a batch in full, the others in part; refuses to forget a batch."""

    def __init__(self) -> None:
        self.recalled: list[list[int]] = []

    def cost(self, n: int) -> float:
        return -(-n // 4) + 0.2 * (n - -(-n // 4))

    def recall(self, outcomes: Sequence[Outcome]) -> None:
        self.recalled.append([outcome.trial.id for outcome in outcomes])

    def run(self, evaluate: Evaluator, trials: Sequence[Trial]) -> Iterator[Outcome]:
        done = set(self.recalled[-1])
        first = min([*done, *(trial.id for trial in trials)])
        for outcome in SerialExecutor().run(evaluate, trials):
            yield outcome if (outcome.trial.id - first) % 4 == 0 else replace(
                outcome, stage="partial", cost=0.2)

    def close(self) -> None:
        pass


def halved(problem: Problem, evaluate: Any, ledger: Ledger, executor: Halving,
           **options: Any) -> list[Outcome]:
    return drive(RandomSearch(problem), executor, evaluate, ledger,
                 **{"budget": 6, "batch_size": 8, **options})


@pytest.mark.parametrize("budget", [1, 2, 6, 7])
def test_budget_counts_full_validations_and_is_never_exceeded(
        problem: Problem, evaluate: Evaluator, make_ledger: MakeLedger, budget: int) -> None:
    outcomes = halved(problem, evaluate, make_ledger(problem), Halving(), budget=budget)
    spent = sum(outcome.cost for outcome in outcomes)
    assert budget - 1 < spent < budget + 1e-6  # nothing is left that a batch of one would fit in
    assert len(outcomes) > budget or budget == 1


def test_trials_of_which_nothing_fits_end_the_search(
        problem: Problem, evaluate: Evaluator, make_ledger: MakeLedger) -> None:
    class Dear(Halving):
        def cost(self, n: int) -> float:
            return 3.0 * n

    assert halved(problem, evaluate, make_ledger(problem), Dear(), budget=2) == []


@pytest.mark.parametrize("at", [0, 3, 8, 12])
def test_halving_resumed_in_mid_batch_knows_what_is_there(
        problem: Problem, evaluate: Evaluator, make_ledger: MakeLedger, tmp_path: Path,
        at: int) -> None:
    whole = make_ledger(problem)
    expected = halved(problem, evaluate, whole, Halving())
    calls = iter(range(100))

    def interrupted(arch: Arch) -> Mapping[str, float]:
        if next(calls) == at:
            raise KeyboardInterrupt
        return evaluate(arch)

    path = tmp_path / "study.journal"
    with pytest.raises(KeyboardInterrupt):
        halved(problem, interrupted, make_ledger(problem, path), Halving())
    executor = Halving()
    ledger = make_ledger(problem, path)
    assert halved(problem, evaluate, ledger, executor) == expected
    assert ledger_equal(ledger, whole)
    # Once for each batch, with what was there of it.
    assert [number for there in executor.recalled for number in there] == list(range(at))
    assert executor.recalled[0] == list(range(min(at, 8)))


def stop_at(count: int) -> Callable[[Sequence[Outcome]], str | None]:
    def stop(outcomes: Sequence[Outcome]) -> str | None:
        assert [outcome.trial.id for outcome in outcomes] == list(range(len(outcomes)))
        return f"{count} are enough" if len(outcomes) >= count else None

    return stop


def test_reason_to_stop_ends_the_search_after_its_batch_and_again_when_resumed(
        problem: Problem, evaluate: Evaluator, make_ledger: MakeLedger, tmp_path: Path) -> None:
    def never(*_: object) -> Any:
        raise AssertionError

    path = tmp_path / "study.journal"
    outcomes = run(problem, evaluate, make_ledger(problem, path), stop=stop_at(5), budget=20)
    ledger = make_ledger(problem, path)
    assert len(outcomes) == 8
    assert ledger.stopped == Stopped("5 are enough", 8)
    assert run(problem, never, ledger, stop=never, budget=20) == outcomes
    record = read_record(path)
    assert record is not None
    assert record.stopped == ledger.stopped


def test_reason_to_stop_is_asked_for_where_the_last_process_ended(
        problem: Problem, evaluate: Evaluator, make_ledger: MakeLedger, tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    before = run(problem, evaluate, make_ledger(problem, path), budget=8)
    asked: list[int] = []

    def stop(outcomes: Sequence[Outcome]) -> str | None:
        asked.append(len(outcomes))
        return "at once"

    ledger = make_ledger(problem, path)
    assert run(problem, evaluate, ledger, stop=stop, budget=20) == before
    assert asked == [8]
    assert ledger.stopped == Stopped("at once", 8)
