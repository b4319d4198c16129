"""Resume ≡ uninterrupted over random spaces, batch sizes and moments of death."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from space_strategies import SEEDS, spaces

from nas.core.arch import Arch
from nas.core.problem import Objective, Problem
from nas.core.protocols import Evaluator, Screening, Searcher
from nas.core.trial import Outcome, Trial
from nas.core.types import IntArray
from nas.execution.serial import SerialExecutor
from nas.search.driver import drive
from nas.search.ledger import Ledger, ledger_equal, open_ledger
from nas.search.registry import SEARCHERS
from predictors.surrogate.ridge import Ridge

BUDGET = 9

Factory = Callable[..., Searcher]


def quality(arch: Arch) -> Mapping[str, float]:
    """Any function of the architecture will do; one in five fails."""
    number = int(arch.digest, 16)
    if number % 5 == 0:
        raise RuntimeError("out of memory")
    return {"error": number % 101 / 3, "speed": 1.0 + number % 37}


@dataclass(frozen=True)
class Shuffled:
    """An executor that finishes a batch in another order, as parallel ones do."""

    seed: int

    def run(self, evaluate: Evaluator, trials: Sequence[Trial]) -> Iterator[Outcome]:
        order = np.random.default_rng(self.seed).permutation(len(trials))
        return SerialExecutor().run(evaluate, [trials[i] for i in order])


def dies_after(count: int) -> Evaluator:
    calls = itertools.count()

    def evaluate(arch: Arch) -> Mapping[str, float]:
        if next(calls) == count:
            raise KeyboardInterrupt
        return quality(arch)

    return evaluate


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """The early exit lets pass what has the right remainder, and the smallest network."""
    space = draw(spaces(most_genes=6))
    modulus = draw(st.integers(1, 3))

    def screen(codes: IntArray) -> Screening:
        passed = codes.sum(axis=1) % modulus == 0
        return Screening(passed, {"remainder": int((~passed).sum())})

    return Problem(space=space, screen=screen, seed=draw(SEEDS), objectives=(
        Objective("error", "%"), Objective("speed", "1/s", "maximize")),
        predictor=lambda seed: Ridge(seed=seed))


# Optuna's samplers share one adapter: here one of them stands for all.
@pytest.fixture(params=[entry.name for entry in SEARCHERS.builtin
                        if not entry.name.startswith("optuna-") or entry.name == "optuna-nsga2"])
def searcher_of(request: pytest.FixtureRequest) -> Factory:
    factory: Factory = SEARCHERS.get(request.param).resolve()
    return factory


@given(problem=problems(), batch_size=st.integers(1, 5),
       deaths=st.lists(st.integers(0, BUDGET), max_size=3), torn=st.integers(0, 400), order=SEEDS)
@settings(max_examples=15, deadline=None, suppress_health_check=[
    HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_deaths_change_nothing(
        searcher_of: Factory, tmp_path_factory: pytest.TempPathFactory, problem: Problem,
        batch_size: int, deaths: list[int], torn: int, order: int) -> None:
    """Several deaths in turn, each with a torn journal, in any order of finishing."""
    folder = tmp_path_factory.mktemp("ledgers")

    def ledger(name: str) -> Ledger:
        return open_ledger(folder / name, space=problem.space, objectives=problem.objectives,
                           identity={"seed": problem.seed})

    def search(name: str, evaluate: Evaluator, seed: int) -> list[Outcome]:
        return drive(searcher_of(problem, budget=BUDGET), Shuffled(seed), evaluate, ledger(name),
                     budget=BUDGET, batch_size=batch_size)

    expected = search("whole", quality, 0)
    for number, count in enumerate(deaths):
        try:
            search("stopped", dies_after(count), order + number)
        except KeyboardInterrupt:
            tear(folder / "stopped", torn)
    assert search("stopped", quality, order) == expected
    assert ledger_equal(ledger("whole"), ledger("stopped"))
    assert ledger("whole").batches() == ledger("stopped").batches()


def tear(journal: Path, count: int) -> None:
    journal.write_bytes(journal.read_bytes()[:-count or None])
