"""Searching behind a gate that learns: counting, and resume without scoring anything twice."""

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from nas.core.arch import Arch
from nas.core.errors import LedgerError
from nas.core.problem import Problem
from nas.core.protocols import Evaluator
from nas.core.space import GeneSpace
from nas.core.trial import Outcome
from nas.core.types import FloatArray, IntArray
from nas.evaluation.learned_exits import LearnedExits
from nas.evaluation.quantile_exit import ExitConfig, QuantileExit
from nas.execution.serial import SerialExecutor
from nas.search.driver import drive
from nas.search.ledger import Ledger, ledger_equal
from nas.search.registry import SEARCHERS

BUDGET, BATCH = 60, 7

MakeLedger = Callable[..., Ledger]


class Scorer:
    """Knows the texture that the toy problem's error has; remembers what it had to compute."""

    name = "texture"

    def __init__(self) -> None:
        self.known: dict[str, float] = {}
        self.computed: list[str] = []
        self.new: dict[str, float] = {}

    def __call__(self, archs: Sequence[Arch]) -> FloatArray:
        for arch in archs:
            if arch.digest not in self.known:
                self.computed.append(arch.digest)
                self.known[arch.digest] = -(int(arch.digest, 16) % 97 / 97)
            self.new.setdefault(arch.digest, self.known[arch.digest])
        return np.array([self.known[arch.digest] for arch in archs])

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        del outcomes
        self.new = {}

    def record(self) -> Mapping[str, float]:
        return dict(self.new)

    def recall(self, scores: Mapping[str, float]) -> None:
        self.known.update(scores)


@pytest.fixture
def make_gate(space: GeneSpace, size_of: Callable[[IntArray], FloatArray]
              ) -> Callable[[Scorer], LearnedExits]:
    def make(scorer: Scorer) -> LearnedExits:
        return LearnedExits([QuantileExit(
            scorer, truth=lambda outcome: -outcome.metrics["error"],
            costs=lambda archs: size_of(space.encode(archs))[:, None],
            config=ExitConfig(warm_up=14))], seed=0)

    return make


# Optuna's samplers, which share one adapter, are behind a gate in test_optuna.py.
NAMES = [entry.name for entry in SEARCHERS.builtin if not entry.name.startswith("optuna-")]


@pytest.fixture(params=NAMES)
def search(request: pytest.FixtureRequest, make_problem: Callable[..., Problem],
           make_gate: Callable[[Scorer], LearnedExits]) -> Callable[..., Counter[str]]:
    def run(scorer: Scorer, evaluate: Evaluator, ledger: Ledger) -> Counter[str]:
        gate = make_gate(scorer)
        problem = replace(make_problem(), gate=gate)
        searcher = SEARCHERS.get(request.param).resolve()(problem, budget=BUDGET)
        drive(searcher, SerialExecutor(), evaluate, ledger, budget=BUDGET, batch_size=BATCH,
              gate=gate)
        return Counter(searcher.counts)

    return run


def test_exits_of_the_gate_are_counted_with_the_others(
        search: Callable[..., Counter[str]], evaluate: Evaluator, make_ledger: MakeLedger,
        make_problem: Callable[..., Problem]) -> None:
    scorer = Scorer()
    counts = search(scorer, evaluate, make_ledger(make_problem()))
    assert counts["texture"] > 10
    assert counts.pop("sampled") == counts.total() + BUDGET


@pytest.mark.parametrize("died_after", [0, 3, 20, 41, 59])
def test_resume_equals_uninterrupted_and_scores_nothing_again(
        search: Callable[..., Counter[str]], evaluate: Evaluator, make_ledger: MakeLedger,
        make_problem: Callable[..., Problem], died_after: int) -> None:
    calls = itertools.count()

    def dies(arch: Arch) -> Mapping[str, float]:
        if next(calls) == died_after:
            raise KeyboardInterrupt
        return evaluate(arch)

    problem = make_problem()
    whole, cut = make_ledger(problem), make_ledger(problem)
    one, before, after = Scorer(), Scorer(), Scorer()
    expected = search(one, evaluate, whole)
    with pytest.raises(KeyboardInterrupt):
        search(before, dies, cut)
    assert search(after, evaluate, cut) == expected
    assert ledger_equal(whole, cut)
    # Of what had been scored, only the batch that was cut off is scored again.
    recorded = {digest for record in whole.batches().values()
                for digest in record["gate"]["texture"]["scores"]}
    assert set(before.computed) <= recorded == set(one.known)
    finished = died_after // BATCH * BATCH
    kept = {digest for last, record in whole.batches().items() if last < finished
            for digest in record["gate"]["texture"]["scores"]}
    assert kept.isdisjoint(after.computed)


def test_another_score_than_then_is_an_error(
        search: Callable[..., Counter[str]], evaluate: Evaluator, make_ledger: MakeLedger,
        make_problem: Callable[..., Problem]) -> None:
    class Forgets(Scorer):
        def recall(self, scores: Mapping[str, float]) -> None:
            self.known.update({digest: value / 2 for digest, value in scores.items()})

    ledger = make_ledger(make_problem())
    search(Scorer(), evaluate, ledger)
    with pytest.raises(LedgerError, match="scores or code have changed since"):
        search(Forgets(), evaluate, ledger)
