from collections.abc import Callable, Mapping
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
from nas.search.ledger import Ledger
from nas.search.random_search import RandomSearch

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
