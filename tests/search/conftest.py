"""A small search problem: conditional genes, one early exit, objectives that disagree."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.core.arch import Arch
from nas.core.problem import Objective, Problem
from nas.core.protocols import Evaluator, Screening
from nas.core.space import Condition, Gene, GeneSpace
from nas.core.types import FloatArray, IntArray
from nas.search.ledger import Ledger, open_ledger
from predictors.surrogate.ridge import Ridge

THRESHOLD = 14
OBJECTIVES = (Objective("error", "%"), Objective("speed", "1/s", "maximize"))

MakeProblem = Callable[..., Problem]
MakeLedger = Callable[..., Ledger]


@pytest.fixture(scope="session")
def space() -> GeneSpace:
    """(4 + 16 + 64) × 27 = 2,268 architectures."""
    return GeneSpace("toy/1", (
        Gene("depth", (1, 2, 3)),
        *(Gene(f"width{i}", (8, 16, 24, 32), Condition("depth", (2, 3) if i == 1 else (3,))
               if i else None) for i in range(3)),
        *(Gene(f"kernel{i}", (3, 5, 7)) for i in range(3))))


@pytest.fixture(scope="session")
def size_of(space: GeneSpace) -> Callable[[IntArray], FloatArray]:
    """Size of each network: the sum of its live genes' choices, counted from 1."""
    return lambda codes: ((codes + 1.0) * space.active(codes)).sum(axis=1)


@pytest.fixture(scope="session")
def make_problem(space: GeneSpace, size_of: Callable[[IntArray], FloatArray]) -> MakeProblem:
    """Makes a problem whose early exit is called ``"size"``.

    It gives all that a searcher may make use of: how far a candidate is beyond the bound, the
    objective that needs no evaluation, a predictor for the others.
    """
    toy = space

    def make(*, seed: int = 0, threshold: float = THRESHOLD, space: GeneSpace = toy,
             objectives: Sequence[Objective] = OBJECTIVES) -> Problem:
        def screen(codes: IntArray) -> Screening:
            passed = size_of(codes) <= threshold if np.isfinite(threshold) else np.ones(
                len(codes), dtype=np.bool_)
            return Screening(passed, {"size": int((~passed).sum())})

        bounded = space is toy and np.isfinite(threshold)
        return Problem(
            space=space, screen=screen, seed=seed, objectives=objectives,
            known={"speed": lambda codes: 1 / size_of(codes)} if space is toy else {},
            features=space.features, predictor=lambda seed: Ridge(seed=seed),
            excess=(lambda codes: size_of(codes)[:, None] - threshold) if bounded else None)

    return make


@pytest.fixture(scope="session")
def evaluate(space: GeneSpace, size_of: Callable[[IntArray], FloatArray]) -> Evaluator:
    """Larger is better and slower, with texture; kernel 7 in front always fails."""

    def measure(arch: Arch) -> Mapping[str, float]:
        choice: dict[str, Any] = arch.as_dict()
        if choice["kernel0"] == 7:
            raise RuntimeError("out of memory")
        size = float(size_of(space.encode([arch]))[0])
        texture = int(arch.digest, 16) % 97 / 97
        return {"error": 100 / size + texture, "speed": 1 / size, "size": size}

    return measure


@pytest.fixture
def make_ledger(tmp_path: Path) -> MakeLedger:
    """Opens the ledger of a problem in a file of its own, or of a given name."""
    count = iter(range(1000))

    def make(problem: Problem, storage: Path | str | None = None, **identity: Any) -> Ledger:
        return open_ledger(storage or tmp_path / f"{next(count)}.journal", space=problem.space,
                           objectives=problem.objectives,
                           identity={"seed": problem.seed, **identity})

    return make
