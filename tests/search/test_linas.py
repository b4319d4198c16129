"""What LINAS does beyond the contract of every searcher."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from nas.core.arch import Arch
from nas.core.errors import InputError
from nas.core.pareto import hypervolume
from nas.core.problem import Problem, minimized
from nas.core.protocols import Evaluator, Prediction
from nas.core.space import Gene, GeneSpace
from nas.core.types import FloatArray, IntArray
from nas.execution.serial import SerialExecutor
from nas.pipeline.knowledge import make_predictor
from nas.search.candidates import Candidates, every_code
from nas.search.linas import Linas, default_warm_up
from nas.search.random_search import RandomSearch
from nas.search.space_filling import spread_out

MakeProblem = Callable[..., Problem]


def evaluated(searcher: object, problem: Problem, evaluate: Evaluator, budget: int) -> FloatArray:
    values = np.empty((0, 2))
    for _ in range(budget // 4):
        batch = list(SerialExecutor().run(evaluate, searcher.ask(4)))
        searcher.tell(batch)
        values = np.concatenate([values, minimized(
            problem.objectives, [outcome.metrics for outcome in batch if outcome.ok])])
    return values


def test_every_code_is_every_canonical_architecture_once(space: GeneSpace) -> None:
    codes = every_code(space)
    assert codes is not None
    assert len(np.unique(codes, axis=0)) == len(codes) == space.size
    np.testing.assert_array_equal(space.canonical_codes(codes), codes)
    assert every_code(space, limit=space.size - 1) is None


def test_evolution_on_predictions_finds_what_is_worth_most() -> None:
    large = GeneSpace("large/1", tuple(Gene(f"g{i}", tuple(range(6))) for i in range(12)))
    asked: list[bytes] = []

    def worth(codes: IntArray) -> FloatArray:
        asked.extend(map(bytes, codes))
        return codes.sum(axis=1).astype(np.float64)

    candidates = Candidates(large, lambda codes: codes[codes[:, 0] < 3])
    assert not candidates.whole
    found = candidates.promising(np.empty((0, 12), np.int16), worth, np.random.default_rng(0))
    assert found.sum(axis=1).max() >= 50  # of 57; random codes have 30 ± 6
    assert found[:, 0].max() == 2
    assert len(set(asked)) == len(asked) == len(found)


def test_first_sample_covers_what_is_known_and_keeps_apart() -> None:
    rng = np.random.default_rng(0)
    features, known = rng.random((500, 8)), rng.random((500, 1))
    rows = spread_out(features, known, 10, np.random.default_rng(1))
    ranks = known[:, 0].argsort().argsort()[rows] // 50
    assert sorted(ranks) == list(range(10))
    other = ~np.eye(10, dtype=np.bool_)
    apart, chance = (np.linalg.norm(points[:, None] - points, axis=2)[other].min()
                     for points in (features[rows], features[:10]))
    assert apart > chance
    assert len(spread_out(features[:3], known[:3], 10, rng)) == 3


def test_only_what_is_not_known_is_learnt(make_problem: MakeProblem, evaluate: Evaluator) -> None:
    learnt: list[list[FloatArray]] = []

    class Records:
        def fit(self, x: FloatArray, y: FloatArray) -> None:
            del x
            learnt[-1].append(y)

        def predict(self, x: FloatArray) -> Prediction:
            return Prediction(np.zeros(len(x)), np.ones(len(x)))

    def predictor(seed: int) -> Records:
        del seed
        learnt.append([])
        return Records()

    problem = replace(make_problem(), predictor=predictor)
    evaluated(Linas(problem, budget=32), problem, evaluate, 32)
    assert [len(fits) > 3 for fits in learnt] == [True]
    evaluated(Linas(replace(problem, known={}), budget=32), problem, evaluate, 32)
    assert len(learnt) == 3


@pytest.mark.slow
def test_finds_more_than_chance(make_problem: MakeProblem, evaluate: Evaluator) -> None:
    reference = np.array([26.0, 0.0])
    ratios = []
    for seed in range(7):
        problem = replace(make_problem(seed=seed), predictor=make_predictor)
        volumes = [hypervolume(evaluated(searcher, problem, evaluate, 40), reference)
                   for searcher in (Linas(problem, budget=40), RandomSearch(problem))]
        ratios.append(volumes[0] / volumes[1])
    assert np.median(ratios) > 1.04


def test_what_needs_no_evaluation_at_all_needs_no_predictor(
        make_problem: MakeProblem, size_of: Callable[[IntArray], FloatArray]) -> None:
    problem = make_problem()
    known = {"error": lambda codes: 1 / size_of(codes), "speed": size_of}
    problem = replace(problem, known=known, predictor=None)

    def evaluate(arch: Arch) -> dict[str, float]:
        codes = problem.space.encode([arch])
        return {name: float(of(codes)[0]) for name, of in known.items()}

    values = evaluated(Linas(problem, budget=16), problem, evaluate, 32)
    assert values[:, 0].min() == pytest.approx(1 / 14)  # the largest that the bound allows


def test_bad_options_are_one_line(make_problem: MakeProblem) -> None:
    with pytest.raises(InputError, match="at least 4, not 3"):
        Linas(make_problem(), warm_up=3)
    with pytest.raises(InputError, match="learns error, and the problem has no predictor"):
        Linas(replace(make_problem(), predictor=None))
    assert [default_warm_up(budget) for budget in (None, 8, 32, 64, 1000)] == [12, 4, 8, 12, 12]
