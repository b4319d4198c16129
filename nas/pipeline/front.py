"""What was validated: the best of it, how much it is, and what it cost."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from nas.core.pareto import hypervolume, non_dominated
from nas.core.problem import Objective, minimized
from nas.core.trial import Outcome
from nas.core.types import FloatArray


def pareto_front(objectives: Sequence[Objective], outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Returns the outcomes that no other dominates, best first objective first.

    Failed ones and those without a full validation are left out, so the front may be empty.
    """
    good = [outcome for outcome in outcomes if outcome.final]
    return [good[row] for row in front_rows(objectives, [outcome.metrics for outcome in good])]


def front_rows(objectives: Sequence[Objective],
               metrics: Sequence[Mapping[str, float]]) -> list[int]:
    """Returns which of some full validations no other dominates, best first objective first.

    Raises:
        EvaluationError: A metric is missing or not finite.
    """
    values = minimized(objectives, metrics)
    rows: list[int] = np.flatnonzero(non_dominated(values)).tolist()
    return sorted(rows, key=lambda row: tuple(values[row].tolist()))


def hypervolume_history(objectives: Sequence[Objective], metrics: Sequence[Mapping[str, float]],
                        *, among: Sequence[Mapping[str, float]] | None = None
                        ) -> tuple[list[float], FloatArray]:
    """Returns the hypervolume after each of some full validations, and the reference point.

    The reference is the worst value of each objective among them all. Values are shares of the
    box between the reference and the best value of each objective.

    Args:
        objectives: What is traded.
        metrics: Of each validation, ≥ 1, in the order of trial ids.
        among: Validations that the box is of, these with others; None: these alone.

    Raises:
        EvaluationError: A metric is missing or not finite.
    """
    values = minimized(objectives, metrics)
    around = values if among is None else minimized(objectives, among)
    reference, ideal = around.max(axis=0), around.min(axis=0)
    box = float(np.prod(reference - ideal))
    history, front, volume = [], values[:0], 0.0
    for row in values:
        if not (front <= row).all(axis=1).any():  # else it adds nothing
            grown = np.vstack([front, row])
            front = grown[non_dominated(grown)]
            volume = hypervolume(front, reference) / box if box else 0.0
        history.append(volume)
    return history, reference


def count_outcomes(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Returns how many trials were validated in full or in part or failed.

    ``"partial_cost"`` is what those in part cost together, in full validations.
    """
    part = [outcome for outcome in outcomes if outcome.ok and not outcome.final]
    return {"evaluated": sum(outcome.final for outcome in outcomes), "partial": len(part),
            "partial_cost": round(sum(outcome.cost for outcome in part), 4),
            "failed": sum(not outcome.ok for outcome in outcomes)}


def whole_cost(outcomes: Sequence[Outcome]) -> int:
    """Returns the whole validations that outcomes cost together; a part of one more is left out."""
    return math.floor(sum(outcome.cost for outcome in outcomes) + 1e-9)  # thirds add up to one
