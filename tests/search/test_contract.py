"""What every searcher promises; a new one takes part through its registry line."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nas.core.arch import Arch
from nas.core.errors import ConstraintError, InputError, LedgerError
from nas.core.problem import Objective, Problem
from nas.core.protocols import Evaluator, Searcher
from nas.core.registry import Entry
from nas.core.space import Gene, GeneSpace
from nas.core.trial import Outcome, Trial
from nas.core.types import FloatArray, IntArray
from nas.execution.serial import SerialExecutor
from nas.search.driver import drive
from nas.search.factory import make_searcher as make_searcher_of
from nas.search.ledger import ledger_equal
from nas.search.registry import SEARCHERS

BUDGET = 24
# Half a second for each trial that a Gaussian process proposes: test_optuna.py has some of them.
QUICK = {"optuna-gp": {"n_startup_trials": BUDGET}}
OBJECTIVES = (Objective("error", "%"), Objective("speed", "1/s", "maximize"),
              Objective("size", ""))

MakeSearcher = Callable[[Problem], Searcher]
MakeProblem = Callable[..., Problem]


@pytest.fixture(params=SEARCHERS.builtin, ids=lambda entry: entry.name)
def entry(request: pytest.FixtureRequest) -> Entry:
    return request.param


@pytest.fixture
def make_searcher(entry: Entry) -> MakeSearcher:
    return lambda problem: make_searcher_of(entry.name, problem, budget=BUDGET,
                                            options=QUICK.get(entry.name, {}))


@pytest.fixture
def make_problem(make_problem: MakeProblem, entry: Entry) -> MakeProblem:
    """Makes problems with as many objectives as the searcher takes."""
    taken = OBJECTIVES if entry.info["multi_objective"] else OBJECTIVES[:1]
    return partial(make_problem, objectives=taken)


def run(searcher: Searcher, evaluate: Evaluator, *, batch_size: int,
        budget: int = BUDGET) -> list[Outcome]:
    """The loop without a ledger."""
    outcomes: list[Outcome] = []
    while len(outcomes) < budget:
        trials = searcher.ask(min(batch_size, budget - len(outcomes)))
        if not trials:
            break
        batch = list(SerialExecutor().run(evaluate, trials))
        searcher.tell(batch)
        outcomes += batch
    return outcomes


@pytest.mark.parametrize("count", [1, 2, 3])
def test_as_many_objectives_as_it_declares_and_a_clear_error_for_more(
        entry: Entry, make_searcher: MakeSearcher, make_problem: MakeProblem,
        evaluate: Evaluator, count: int) -> None:
    problem = make_problem(objectives=OBJECTIVES[:count])
    if count == 1 or entry.info["multi_objective"]:
        outcomes = run(make_searcher(problem), evaluate, batch_size=6)
        assert len({outcome.trial.arch.digest for outcome in outcomes}) == BUDGET
        return
    with pytest.raises(InputError, match=rf"{entry.name}.* one objective, not {count} \(error, "
                                         r".*\); these take several: evolution, "):
        make_searcher(problem)
    with pytest.raises(InputError, match="these take several"):
        entry.resolve()(problem, budget=BUDGET)


@pytest.mark.parametrize("batch_size", [1, 3, 8, 100])
def test_any_batch_size_gives_new_canonical_trials_numbered_in_order(
        make_searcher: MakeSearcher, make_problem: MakeProblem, evaluate: Evaluator,
        space: GeneSpace, batch_size: int) -> None:
    outcomes = run(make_searcher(make_problem()), evaluate, batch_size=batch_size)
    assert [outcome.trial.id for outcome in outcomes] == list(range(BUDGET))
    assert len({outcome.trial.arch.digest for outcome in outcomes}) == BUDGET
    for outcome in outcomes:
        assert space.canonical(outcome.trial.arch) == outcome.trial.arch


@pytest.mark.parametrize("seed", range(2))
def test_every_trial_passes_the_screen_the_first_ones_too(
        make_searcher: MakeSearcher, make_problem: MakeProblem, evaluate: Evaluator,
        size_of: Callable[[IntArray], FloatArray], space: GeneSpace, seed: int) -> None:
    searcher = make_searcher(make_problem(seed=seed, threshold=9))
    outcomes = run(searcher, evaluate, batch_size=5)
    sizes = size_of(space.encode([outcome.trial.arch for outcome in outcomes]))
    assert len(sizes) == BUDGET
    assert sizes.max() <= 9


def test_counts_add_up(make_searcher: MakeSearcher, make_problem: MakeProblem,
                       evaluate: Evaluator) -> None:
    searcher = make_searcher(make_problem(threshold=9))
    run(searcher, evaluate, batch_size=5)
    counts = dict(searcher.counts)
    assert counts.pop("sampled") == sum(counts.values()) + BUDGET
    assert counts["size"] > 0


def test_several_asks_before_a_tell_work(make_searcher: MakeSearcher, make_problem: MakeProblem,
                                         evaluate: Evaluator) -> None:
    searcher = make_searcher(make_problem())
    waiting: list[Trial] = []
    digests = []
    for n in (2, 0, 7, 1, 6):
        waiting += searcher.ask(n)
        half, waiting = waiting[:len(waiting) // 2], waiting[len(waiting) // 2:]
        searcher.tell(list(SerialExecutor().run(evaluate, half)))
        digests += [trial.arch.digest for trial in half]
    digests += [trial.arch.digest for trial in waiting]
    assert len(set(digests)) == len(digests) == 16


def test_only_failures_do_not_stop_it(make_searcher: MakeSearcher,
                                      make_problem: MakeProblem) -> None:
    def fails(arch: Arch) -> dict[str, float]:
        raise RuntimeError(arch.digest)

    outcomes = run(make_searcher(make_problem()), fails, batch_size=4)
    assert len({outcome.trial.arch.digest for outcome in outcomes}) == BUDGET


@pytest.mark.parametrize("batch_size", [1, 7])
def test_same_seed_same_history_and_another_seed_another(
        make_searcher: MakeSearcher, make_problem: MakeProblem, evaluate: Evaluator,
        batch_size: int) -> None:
    def history(seed: int) -> tuple[list[Outcome], dict[str, int]]:
        searcher = make_searcher(make_problem(seed=seed))
        outcomes = run(searcher, evaluate, batch_size=batch_size)
        return outcomes, dict(searcher.counts)

    assert history(1) == history(1)
    assert history(1) != history(2)


def test_exhausted_space_gives_each_architecture_once_and_then_none(
        make_searcher: MakeSearcher, make_problem: MakeProblem) -> None:
    tiny = GeneSpace("tiny/1", (Gene("a", (1, 2, 3)), Gene("b", ("x", "y", "z", "w"))))
    searcher = make_searcher(make_problem(space=tiny, threshold=np.inf))
    outcomes = run(searcher, lambda arch: {"error": arch.as_dict()["a"], "speed": 1.0,
                                           "size": len(arch.as_dict()["b"])},
                   batch_size=5, budget=100)
    assert len({outcome.trial.arch.digest for outcome in outcomes}) == len(outcomes) == tiny.size
    assert searcher.ask(3) == []


def test_space_exhausted_under_its_constraint_ends_without_error(
        make_searcher: MakeSearcher, make_problem: MakeProblem, evaluate: Evaluator) -> None:
    # Size 5 is the smallest, and size 6 lets one of the four live genes grow, or the depth with
    # another width: 1 + 4.
    outcomes = run(make_searcher(make_problem(threshold=6)), evaluate, batch_size=4)
    assert len({outcome.trial.arch.digest for outcome in outcomes}) == len(outcomes) == 5


def test_impossible_constraint_is_named(make_searcher: MakeSearcher,
                                        make_problem: MakeProblem) -> None:
    with pytest.raises(ConstraintError, match=r"no architecture of toy/1 .* size \d+; loosen"):
        make_searcher(make_problem(threshold=4)).ask(3)


class Shuffled:
    """An executor that finishes in another order."""

    def run(self, evaluate: Evaluator, trials: Sequence[Trial]) -> Iterator[Outcome]:
        outcomes = list(SerialExecutor().run(evaluate, trials))
        return iter([*outcomes[1::2], *outcomes[::2]])


def test_finishing_order_changes_nothing(make_searcher: MakeSearcher, make_problem: MakeProblem,
                                         evaluate: Evaluator, make_ledger: Callable) -> None:
    problem = make_problem()
    ledgers = [make_ledger(problem), make_ledger(problem)]
    for executor, ledger in zip((SerialExecutor(), Shuffled()), ledgers, strict=True):
        drive(make_searcher(problem), executor, evaluate, ledger, budget=BUDGET, batch_size=5)
    assert ledger_equal(*ledgers)
    assert ledgers[0].batches() == ledgers[1].batches()


@pytest.mark.parametrize("at", [0, 9, 23])
def test_resumed_after_an_interrupt_equals_uninterrupted(
        make_searcher: MakeSearcher, make_problem: MakeProblem, evaluate: Evaluator,
        make_ledger: Callable, tmp_path: Path, at: int) -> None:
    problem = make_problem()
    whole = make_ledger(problem)
    expected = drive(make_searcher(problem), SerialExecutor(), evaluate, whole, budget=BUDGET,
                     batch_size=6)
    calls = iter(range(BUDGET))

    def interrupted(arch: Arch) -> object:
        if next(calls) == at:
            raise KeyboardInterrupt
        return evaluate(arch)

    path = tmp_path / "resumed.journal"
    with pytest.raises(KeyboardInterrupt):
        drive(make_searcher(problem), SerialExecutor(), interrupted, make_ledger(problem, path),
              budget=BUDGET, batch_size=6)
    assert len(make_ledger(problem, path).outcomes()) == at

    evaluated = []

    def counted(arch: Arch) -> object:
        evaluated.append(arch)
        return evaluate(arch)

    resumed = make_ledger(problem, path)
    seen: list[Outcome] = []
    found = drive(make_searcher(problem), SerialExecutor(), counted, resumed, budget=BUDGET,
                  batch_size=6, on_outcome=seen.append)
    assert found == seen == expected
    assert len(evaluated) == BUDGET - at
    assert ledger_equal(whole, resumed)
    assert whole.batches() == resumed.batches()


@given(share=st.floats(0, 1))
@settings(max_examples=6, deadline=None, suppress_health_check=[
    HealthCheck.function_scoped_fixture])
def test_resumed_from_a_journal_cut_anywhere_equals_uninterrupted(
        make_searcher: MakeSearcher, make_problem: MakeProblem, evaluate: Evaluator,
        make_ledger: Callable, tmp_path: Path, share: float) -> None:
    problem = make_problem()
    whole_path, cut_path = tmp_path / "whole.journal", tmp_path / "cut.journal"

    def finish(path: Path) -> object:
        ledger = make_ledger(problem, path)
        drive(make_searcher(problem), SerialExecutor(), evaluate, ledger, budget=10, batch_size=4)
        return ledger

    whole = finish(whole_path)
    journal = whole_path.read_bytes()
    cut_path.write_bytes(journal[:round(share * len(journal))])
    assert ledger_equal(whole, finish(cut_path))
    # What was written after the cut can be read again.
    assert ledger_equal(whole, make_ledger(problem, cut_path))


def test_changed_search_is_refused(make_searcher: MakeSearcher, make_problem: MakeProblem,
                                   evaluate: Evaluator, make_ledger: Callable,
                                   tmp_path: Path) -> None:
    problem = make_problem()
    path = tmp_path / "study.journal"
    drive(make_searcher(problem), SerialExecutor(), evaluate, make_ledger(problem, path),
          budget=12, batch_size=6)
    # Same identity, but the early exit has moved under it: other exits, then other trials.
    moved = make_problem(threshold=8)
    with pytest.raises(LedgerError, match="have changed since"):
        drive(make_searcher(moved), SerialExecutor(), evaluate, make_ledger(problem, path),
              budget=12, batch_size=6)
