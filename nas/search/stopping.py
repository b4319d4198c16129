"""When a search is done before its budget is: rules over the outcomes so far.

A rule takes all outcomes so far, sorted by trial id, and returns in a few words why to stop, or
None. Rules are asked after each batch; but for the clock of `time_limit` they are pure.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from nas.core.errors import InputError
from nas.core.pareto import hypervolume
from nas.core.problem import Objective, minimized
from nas.core.trial import Outcome

StopRule = Callable[[Sequence[Outcome]], str | None]

LEAST_GAIN = 1e-3  # of the hypervolume; a front of many objectives always moves a little
REFERENCE_FROM = 8  # full validations that fix the reference point
_MARGIN = 0.1


def patience(validations: int, objectives: Sequence[Objective]) -> StopRule:
    """Returns the rule that stops once the front has stopped growing.

    It does so when the last full validations raised the hypervolume of all full validations by
    no more than `LEAST_GAIN`. The reference point is fixed by what the search found first: the
    worst of each objective among the first `REFERENCE_FROM` full validations, and a tenth of
    their range beyond it. So it never moves, and what is worse than that in an objective never
    counts as a gain.

    Args:
        validations: How many without a gain are enough, ≥ 1; they come after those that fix the
            reference point.
        objectives: Whose front counts.

    Raises:
        InputError: A number below 1.
    """
    if validations < 1:
        raise InputError(f"patience must be at least 1 validation, not {validations}")

    def rule(outcomes: Sequence[Outcome]) -> str | None:
        found = [outcome.metrics for outcome in outcomes if outcome.final]
        if len(found) < REFERENCE_FROM + validations:
            return None
        values = minimized(objectives, found)
        first = values[:REFERENCE_FROM]
        reference = first.max(axis=0) + _MARGIN * np.ptp(first, axis=0)
        before = hypervolume(values[:-validations], reference)
        if hypervolume(values, reference) > (1 + LEAST_GAIN) * before:
            return None
        return (f"the last {validations} full validations raised the hypervolume by no more than "
                f"{LEAST_GAIN:.1%}")

    return rule


def time_limit(seconds: float, clock: Callable[[], float]) -> StopRule:
    """Returns the rule that stops this many seconds after it was made.

    A batch that has begun is finished first.

    Args:
        seconds: More than 0.
        clock: Gives seconds that only grow, such as `time.monotonic`.

    Raises:
        InputError: No positive number of seconds.
    """
    if not seconds > 0:
        raise InputError(f"a time limit must be more than 0 seconds, not {seconds}")
    end = clock() + seconds

    def rule(outcomes: Sequence[Outcome]) -> str | None:
        del outcomes
        return f"the time limit of {seconds:g} s is over" if clock() >= end else None

    return rule


def target(bounds: Mapping[str, float]) -> StopRule:
    """Returns the rule that stops once one fully validated network meets all bounds.

    Args:
        bounds: Metric → the largest value that will do; ≥ 1 of them. An outcome without such a
            metric does not meet it.

    Raises:
        InputError: No bounds.
    """
    if not bounds:
        raise InputError("a target needs at least one metric with its bound")

    def meets(metrics: Mapping[str, float]) -> bool:
        return all(name in metrics and metrics[name] <= bound for name, bound in bounds.items())

    def rule(outcomes: Sequence[Outcome]) -> str | None:
        for outcome in outcomes:
            if outcome.final and meets(outcome.metrics):
                named = ", ".join(f"{name} ≤ {bound:g}" for name, bound in bounds.items())
                return f"network {outcome.trial.arch.digest} meets {named}"
        return None

    return rule


def any_of(*rules: StopRule) -> StopRule:
    """Returns the rule that stops as soon as one of these does; without any it never stops."""

    def rule(outcomes: Sequence[Outcome]) -> str | None:
        return next((reason for one in rules if (reason := one(outcomes)) is not None), None)

    return rule
