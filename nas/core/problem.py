"""What a search is about: objectives, constraints, the early exits in front of validation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from nas.core.errors import EvaluationError
from nas.core.protocols import Gate, Predictor, Screen
from nas.core.space import SearchSpace
from nas.core.types import FloatArray, IntArray

OfCodes = Callable[[IntArray], FloatArray]  # codes (N, genes) → (N,) or (N, columns)


@dataclass(frozen=True, slots=True)
class Objective:
    """A metric to be minimised or maximised.

    Attributes:
        name: Of the metric, such as ``"error"``.
        unit: Such as ``"%"`` or ``"ms"``.
        direction: Which way is better.
    """

    name: str
    unit: str
    direction: Literal["minimize", "maximize"] = "minimize"


@dataclass(frozen=True, slots=True)
class Constraint:
    """A bound on a metric: value ≤ bound. Estimates are held to it at their upper end.

    Attributes:
        metric: Name of the metric.
        bound: Largest allowed value.
        option: How the user wrote it, such as ``"--max-latency-ms"``, for messages.
    """

    metric: str
    bound: float
    option: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """All that a searcher is given.

    Attributes:
        space: Where to look.
        objectives: ≥1.
        screen: The early exits; a trial must pass it before it is asked for.
        seed: Of all the searcher's randomness.
        gate: Costly early exits behind the screen, which learn; None: none.
        known: Objectives that need no evaluation, by name: exactly what an evaluation will give,
            (N,). Searchers that predict use these instead of predicting.
        features: What describes codes to a predictor, (N, F); the space's own if None.
        features_of: What describes codes to the predictor of one objective, by name, where that
            is not `features`.
        predictor: Seed → a fresh predictor, for searchers that learn one; None: they cannot run.
        excess: How far each bound is broken, (N, bounds), ≤ 0 where it holds; for searchers that
            learn from networks that the screen keeps out. None: nothing but the screen is known.
    """

    space: SearchSpace
    objectives: Sequence[Objective]
    screen: Screen
    seed: int
    gate: Gate | None = None
    known: Mapping[str, OfCodes] = field(default_factory=dict)
    features: OfCodes | None = None
    features_of: Mapping[str, OfCodes] = field(default_factory=dict)
    predictor: Callable[[int], Predictor] | None = None
    excess: OfCodes | None = None


def minimized(objectives: Sequence[Objective],
              metrics: Sequence[Mapping[str, float]]) -> FloatArray:
    """Returns the objective values (N, objectives), signs turned so that smaller is better.

    Raises:
        EvaluationError: A metric is missing or not finite.
    """
    values = np.empty((len(metrics), len(objectives)))
    for row, found in enumerate(metrics):
        for column, objective in enumerate(objectives):
            if objective.name not in found:
                raise EvaluationError(f"the evaluation gave no {objective.name!r}; it gave "
                                      f"{', '.join(found) or 'nothing'}")
            sign = 1.0 if objective.direction == "minimize" else -1.0
            values[row, column] = sign * found[objective.name]
    if not np.isfinite(values).all():
        raise EvaluationError("the evaluation gave an objective that is not finite")
    return values
