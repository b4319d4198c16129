import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from nas.core.arch import Arch
from nas.core.errors import InputError
from nas.core.pareto import hypervolume
from nas.core.problem import Objective, Problem
from nas.core.protocols import Evaluator, Screening, Searcher
from nas.core.space import Gene, GeneSpace
from nas.core.trial import Outcome
from nas.core.types import FloatArray, IntArray
from nas.execution.serial import SerialExecutor
from nas.search.evolution import EarlyExitEvolution, default_population
from nas.search.population import Population, ranked
from nas.search.random_search import RandomSearch

MakeProblem = Callable[..., Problem]

ZDT = GeneSpace("zdt/1", tuple(Gene(f"x{i}", tuple(range(8))) for i in range(10)))


def zdt1(arch: Arch) -> Mapping[str, float]:
    """Zitzler, Deb and Thiele's first problem on a grid."""
    choices: list[Any] = [value / 7 for value in arch.as_dict().values()]  # type: ignore[operator]
    g = 1 + 9 * sum(choices[1:]) / (len(choices) - 1)
    return {"f1": choices[0], "f2": g * (1 - math.sqrt(choices[0] / g))}


def zdt_problem(seed: int) -> Problem:
    def screen(codes: IntArray) -> Screening:
        return Screening(np.ones(len(codes), dtype=np.bool_), {})

    return Problem(space=ZDT, objectives=(Objective("f1", "1"), Objective("f2", "1")),
                   screen=screen, seed=seed)


def drive_in_memory(searcher: Searcher, evaluate: Evaluator, budget: int,
                    batch_size: int) -> list[Outcome]:
    outcomes: list[Outcome] = []
    while len(outcomes) < budget:
        batch = list(SerialExecutor().run(evaluate, searcher.ask(batch_size)))
        searcher.tell(batch)
        outcomes += batch
    return outcomes


@pytest.mark.parametrize("seed", range(5))
def test_evolution_beats_random_on_zdt1(seed: int) -> None:
    volumes = []
    for searcher in (EarlyExitEvolution(zdt_problem(seed), budget=128),
                     RandomSearch(zdt_problem(seed))):
        outcomes = drive_in_memory(searcher, zdt1, 128, 8)
        values = np.array([[o.metrics["f1"], o.metrics["f2"]] for o in outcomes])
        volumes.append(hypervolume(values, np.array([1.1, 8.0])))
    assert volumes[0] > volumes[1]


@pytest.mark.parametrize("threshold", [6, 7, 9, 12])
def test_no_initial_individual_is_over_its_threshold(
        make_problem: MakeProblem, size_of: Callable[[IntArray], FloatArray], space: GeneSpace,
        threshold: int) -> None:
    for seed in range(5):
        searcher = EarlyExitEvolution(make_problem(seed=seed, threshold=threshold), population=20)
        archs = [trial.arch for trial in searcher.ask(20)]
        assert size_of(space.encode(archs)).max() <= threshold


def test_initial_acceptance_rate_is_that_of_random_draws(
        make_problem: MakeProblem, size_of: Callable[[IntArray], FloatArray],
        space: GeneSpace) -> None:
    # Enumerated: each raw draw is equally likely, whatever network it stands for.
    raw = np.stack(np.meshgrid(*(np.arange(len(gene.choices)) for gene in space.genes),
                               indexing="ij"), axis=-1).reshape(-1, len(space.genes))
    expected = (size_of(space.canonical_codes(raw)) <= 10).mean()
    sampled = accepted = 0
    for seed in range(40):
        searcher = EarlyExitEvolution(make_problem(seed=seed, threshold=10), population=20)
        searcher.ask(20)
        # A repeat of an individual passed too.
        accepted += 20 + searcher.counts["duplicate"]
        sampled += searcher.counts["sampled"]
    sigma = math.sqrt(expected * (1 - expected) / sampled)
    assert accepted / sampled == pytest.approx(expected, abs=4 * sigma)


def test_population_never_shrinks_though_children_repeat_and_leave(
        make_problem: MakeProblem, evaluate: Evaluator) -> None:
    # Under size 8 there are few architectures: most children repeat one or are too large.
    searcher = EarlyExitEvolution(make_problem(threshold=8), population=8)
    for _ in range(3):
        trials = searcher.ask(8)
        assert len(trials) == 8
        searcher.tell(list(SerialExecutor().run(evaluate, trials)))
    assert searcher.counts["duplicate"] > 0
    assert searcher.counts["size"] > 0


def test_children_descend_from_the_best() -> None:
    # Once the front is told, children share most genes with it; random ones share one in eight.
    searcher = EarlyExitEvolution(zdt_problem(0), population=8)
    drive_in_memory(searcher, zdt1, 200, 8)
    late = [zdt1(trial.arch)["f2"] for trial in searcher.ask(8)]
    early = [zdt1(trial.arch)["f2"] for trial in RandomSearch(zdt_problem(0)).ask(8)]
    assert np.median(late) < min(early)


@pytest.mark.parametrize(("options", "message"), [
    ({"population": 1}, "at least 2, not 1"), ({"mutation": 1.5}, "mutation 1.5 is outside"),
    ({"inversion": -0.1}, "inversion -0.1 is outside")])
def test_options_out_of_range_are_errors(make_problem: MakeProblem, options: Mapping[str, Any],
                                         message: str) -> None:
    with pytest.raises(InputError, match=message):
        EarlyExitEvolution(make_problem(), **options)


def test_default_population_is_the_papers_unless_the_budget_is_small() -> None:
    assert default_population(None) == default_population(1000) == 40
    assert default_population(64) == 16
    assert [default_population(n) <= n for n in (4, 8, 32)] == [True] * 3


def test_ranking_is_by_front_then_crowding() -> None:
    values = np.array([[4, 4], [0, 8], [1, 4], [3, 2], [4, 0], [5, 5]], dtype=float)
    assert ranked(values).tolist() == [1, 4, 2, 3, 0, 5]


def test_survivors_are_cut_from_old_and_new_together() -> None:
    codes = np.zeros((6, 10), dtype=np.int16)
    codes[:, 0] = np.arange(6)
    archs = ZDT.decode(codes)
    values = np.array([[4, 4], [0, 8], [1, 4], [3, 2], [4, 0], [5, 5]], dtype=float)
    population = Population(3, 2)
    population.add(archs[:3], values[:3])
    population.add(archs[3:], values[3:])
    assert len(population) == 3
    rng = np.random.default_rng(0)
    drawn = {population.tournament(rng).digest for _ in range(200)}
    assert drawn == {archs[index].digest for index in (1, 2, 4)}
