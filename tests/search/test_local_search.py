"""Local search: neighbourhoods, climbs and restarts."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from space_strategies import SEEDS, spaces

from nas.core.arch import Arch
from nas.core.errors import InputError
from nas.core.problem import Objective, Problem
from nas.core.protocols import Screening
from nas.core.space import Gene, GeneSpace
from nas.core.trial import Outcome
from nas.execution.serial import SerialExecutor
from nas.search.local_search import LocalSearch, neighbours

PLANE = GeneSpace("plane/1", (Gene("x", tuple(range(9))), Gene("y", tuple(range(9)))))


def everything_passes(codes: np.ndarray) -> Screening:
    return Screening(np.ones(len(codes), np.bool_), {})


def plane(*objectives: str, seed: int = 0) -> Problem:
    return Problem(space=PLANE, screen=everything_passes, seed=seed,
                   objectives=[Objective(name, "") for name in objectives])


def run(searcher: LocalSearch, evaluate: Callable[[Arch], Mapping[str, float]], budget: int,
        batch_size: int = 1) -> list[Outcome]:
    outcomes: list[Outcome] = []
    while len(outcomes) < budget:
        batch = list(SerialExecutor().run(evaluate, searcher.ask(batch_size)))
        searcher.tell(batch)
        outcomes += batch
    return outcomes


def moves(a: Arch, b: Arch) -> int:
    return sum(x != y for x, y in zip(a.choices, b.choices, strict=True))


@given(space=spaces(), seed=SEEDS)
@settings(deadline=None)
def test_neighbours_are_all_canonical_codes_one_live_gene_away(space: GeneSpace,
                                                               seed: int) -> None:
    code = space.sample_codes(1, np.random.default_rng(seed))[0]
    found = neighbours(space, code)
    live = space.active(code[None])[0]
    assert len(found) == int((space.cardinalities[live] - 1).sum())
    assert (space.canonical_codes(found) == found).all()
    assert len({row.tobytes() for row in found} | {code.tobytes()}) == len(found) + 1
    # Where no gene hangs on the one that moved, nothing else did.
    parents = {gene.condition.parent for gene in space.genes if gene.condition}
    for row in found:
        moved = np.flatnonzero((row != code) & live)
        assert len(moved) == 1 or {space.genes[i].name for i in moved} & parents


def test_one_objective_climbs_to_the_next_optimum_and_starts_anew() -> None:
    def slope(arch: Arch) -> Mapping[str, float]:
        values = arch.as_dict()
        return {"error": float(abs(values["x"] - 4) + abs(values["y"] - 2))}

    outcomes = run(LocalSearch(plane("error"), starts=1), slope, 60)
    best, climbed = outcomes[0], 0
    for outcome in outcomes[1:]:
        if best.metrics["error"] == 0:
            break
        assert moves(best.trial.arch, outcome.trial.arch) == 1
        climbed += 1
        best = min(best, outcome, key=lambda o: o.metrics["error"])
    assert best.metrics["error"] == 0
    # 16 neighbours each, and at most one better x and y to find before both are right.
    assert climbed <= 4 * 16
    later = [moves(best.trial.arch, outcome.trial.arch) for outcome in outcomes[climbed + 17:]]
    assert 2 in later


def test_several_objectives_spread_over_the_whole_front() -> None:
    def apart(arch: Arch) -> Mapping[str, float]:
        x, y = arch.as_dict()["x"], arch.as_dict()["y"]
        return {"left": float(x + 3 * y), "right": float(8 - x + 3 * y)}  # the front is y = 0

    found = []
    for seed in range(5):
        outcomes = run(LocalSearch(plane("left", "right", seed=seed), budget=45), apart, 45)
        front = {o.trial.arch.as_dict()["x"] for o in outcomes
                 if o.trial.arch.as_dict()["y"] == 0}
        found.append(len(front))
    assert min(found) == 9


def test_batches_lose_no_improvement() -> None:
    def slope(arch: Arch) -> Mapping[str, float]:
        return {"error": float(sum(arch.as_dict().values()))}

    outcomes = run(LocalSearch(plane("error"), starts=1), slope, 60, batch_size=20)
    assert min(outcome.metrics["error"] for outcome in outcomes) == 0


@pytest.mark.parametrize("starts", [0, -1])
def test_no_start_is_an_error(starts: int) -> None:
    with pytest.raises(InputError, match="at least 1 start"):
        LocalSearch(plane("error"), starts=starts)
