"""NSGA-II against pymoo's: the same survivors, and no worse a front for as many evaluations."""

from collections.abc import Callable

import numpy as np
import pytest
from pymoo.algorithms.moo.nsga2 import NSGA2, RankAndCrowding
from pymoo.core.population import Population
from pymoo.core.problem import Problem as PymooProblem
from pymoo.operators.crossover.sbx import SBX
from pymoo.operators.mutation.pm import PM
from pymoo.operators.repair.rounding import RoundingRepair
from pymoo.operators.sampling.rnd import IntegerRandomSampling
from pymoo.optimize import minimize
from pymoo.problems import get_problem

from nas.core.errors import InputError
from nas.core.pareto import crowding_distance, hypervolume, sort_fronts
from nas.core.problem import Objective, Problem
from nas.core.protocols import Screening
from nas.core.space import Gene, GeneSpace
from nas.core.trial import Outcome
from nas.core.types import FloatArray
from nas.search.nsga2 import Nsga2
from nas.search.population import ranked

POPULATION, EVALUATIONS, SEEDS, LEVELS = 20, 400, range(6), 17

Measure = Callable[[FloatArray], FloatArray]  # codes (N, genes) → objectives


@pytest.mark.parametrize("objectives", [2, 3])
@pytest.mark.parametrize("seed", range(10))
def test_survivors_are_those_of_pymoo(objectives: int, seed: int) -> None:
    values = np.random.default_rng(seed).random((60, objectives))
    problem = PymooProblem(n_var=1, n_obj=objectives)
    population = Population.new("X", np.arange(60.0)[:, None], "F", values)
    kept = RankAndCrowding().do(problem, population, n_survive=25)
    expected = {int(x): (rank, crowding) for x, rank, crowding in zip(
        kept.get("X")[:, 0], kept.get("rank"), kept.get("crowding"), strict=True)}
    found: dict[int, tuple[int, float]] = {}
    for rank, front in enumerate(sort_fronts(values)):
        # pymoo takes the mean over objectives, the paper and this the sum.
        for index, crowding in zip(front, crowding_distance(values[front]), strict=True):
            found[int(index)] = (rank, float(crowding) / objectives)
    ours = {int(index): found[int(index)] for index in ranked(values)[:25]}
    np.testing.assert_allclose(sorted(ours.values()), sorted(expected.values()))
    # Both ends of an objective are worth the same: pymoo draws which of them stay.
    inner = {index for index in ours if np.isfinite(found[index][1])}
    assert inner == {index for index, (_, crowding) in expected.items() if np.isfinite(crowding)}


def measured(name: str) -> tuple[int, int, Measure]:
    """Returns variables and objectives of a problem of pymoo's, and the problem on codes."""
    problem = get_problem(name, n_var=10) if name == "zdt1" else get_problem(
        name, n_var=8, n_obj=3)
    return problem.n_var, problem.n_obj, lambda codes: problem.evaluate(
        np.asarray(codes, float) / (LEVELS - 1))


def volume_of_pymoo(name: str, seed: int, *, eta: float) -> float:
    variables, objectives, measure = measured(name)
    found: list[FloatArray] = []

    class Grid(PymooProblem):
        def __init__(self) -> None:
            super().__init__(n_var=variables, n_obj=objectives, xl=0, xu=LEVELS - 1, vtype=int)

        def _evaluate(self, x: FloatArray, out: dict, *args: object, **options: object) -> None:
            del args, options
            out["F"] = measure(x)
            found.append(out["F"])

    operators = {"eta": eta, "vtype": float, "repair": RoundingRepair()}
    minimize(Grid(), NSGA2(pop_size=POPULATION, sampling=IntegerRandomSampling(),
                           crossover=SBX(prob=0.9, **operators), mutation=PM(**operators)),
             ("n_eval", EVALUATIONS), seed=seed)
    return volume(name, np.concatenate(found))


def volume_of_ours(name: str, seed: int) -> float:
    variables, objectives, measure = measured(name)
    space = GeneSpace("grid/1", tuple(Gene(f"x{i}", tuple(range(LEVELS)))
                                      for i in range(variables)))
    names = [f"f{i}" for i in range(objectives)]
    searcher = Nsga2(Problem(
        space=space, seed=seed, objectives=[Objective(name, "") for name in names],
        screen=lambda codes: Screening(np.ones(len(codes), np.bool_), {})), population=POPULATION)
    found: list[FloatArray] = []
    while len(found) * POPULATION < EVALUATIONS:
        trials = searcher.ask(POPULATION)
        values = measure(space.encode([trial.arch for trial in trials]))
        found.append(values)
        searcher.tell([Outcome(trial, dict(zip(names, row.tolist(), strict=True)))
                       for trial, row in zip(trials, values, strict=True)])
    return volume(name, np.concatenate(found))


def volume(name: str, values: FloatArray) -> float:
    assert len(values) == EVALUATIONS
    return hypervolume(values, np.array([1.1, 6.0]) if name == "zdt1" else np.full(3, 2.0))


@pytest.mark.parametrize("eta", [3.0, 15.0])  # of the docs for integers; the default for reals
@pytest.mark.parametrize("name", ["zdt1", "dtlz2"])
def test_front_is_not_worse_than_that_of_pymoo(name: str, eta: float) -> None:
    ours = np.array([volume_of_ours(name, seed) for seed in SEEDS])
    theirs = np.array([volume_of_pymoo(name, seed, eta=eta) for seed in SEEDS])
    error = np.sqrt((ours.var(ddof=1) + theirs.var(ddof=1)) / len(ours))
    assert ours.mean() > theirs.mean() - 2 * error


def test_generation_is_cut_once_it_is_told_whatever_the_batches() -> None:
    space = GeneSpace("grid/1", tuple(Gene(f"x{i}", tuple(range(5))) for i in range(4)))

    def history(sizes: list[int]) -> list[str]:
        searcher = Nsga2(Problem(
            space=space, seed=0, objectives=[Objective("error", "")],
            screen=lambda codes: Screening(np.ones(len(codes), np.bool_), {})), population=6)
        digests = []
        for size in sizes:
            trials = searcher.ask(size)
            digests += [trial.arch.digest for trial in trials]
            searcher.tell([Outcome(trial, {"error": int(trial.arch.digest, 16) % 97})
                           for trial in trials])
        return digests

    # Batches that end where generations do; one that goes past it breeds from older parents.
    assert history([6] * 4) == history([1] * 24) == history([2, 4] * 4)
    assert history([6] * 4)[:6] == history([12, 12])[:6]
    assert history([6] * 4) != history([12, 12])


@pytest.mark.parametrize(("options", "message"), [
    ({"population": 1}, "population of at least 2, not 1"),
    ({"crossover": 1.1}, "crossover 1.1 is outside"),
    ({"mutation": -0.1}, "mutation -0.1 is outside")])
def test_option_out_of_range_is_an_error(make_problem: Callable[..., Problem], options: dict,
                                         message: str) -> None:
    with pytest.raises(InputError, match=message):
        Nsga2(make_problem(), **options)
