"""What was validated: the best of it, how much it is, and what it cost."""

import math
from collections.abc import Sequence

from nas.core.pareto import non_dominated
from nas.core.problem import Objective, minimized
from nas.core.trial import Outcome


def pareto_front(objectives: Sequence[Objective], outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Returns the outcomes that no other dominates, best first objective first.

    Failed ones and those without a full validation are left out, so the front may be empty.
    """
    good = [outcome for outcome in outcomes if outcome.final]
    values = minimized(objectives, [outcome.metrics for outcome in good])
    order = {id(outcome): tuple(row) for outcome, row in zip(good, values.tolist(), strict=True)}
    front = [outcome for outcome, keep in zip(good, non_dominated(values), strict=True) if keep]
    return sorted(front, key=lambda outcome: order[id(outcome)])


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
