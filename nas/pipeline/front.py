"""The best of what was validated."""

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
