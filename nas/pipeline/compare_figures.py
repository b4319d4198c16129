"""What a comparison of searchers comes to: hypervolume curves, medians, intervals, wins.

Legend: S seeds, B budget.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nas.core.errors import EvaluationError
from nas.core.pareto import hypervolume, non_dominated
from nas.core.problem import Objective, minimized
from nas.core.trial import Outcome
from nas.core.types import FloatArray

Found = Mapping[str, Sequence[Sequence[Outcome]]]  # searcher → of each seed, the outcomes

RESAMPLES = 10_000


@dataclass(frozen=True, slots=True)
class Curves:
    """Hypervolumes of several searchers' runs.

    Attributes:
        volumes: Searcher → (S, B) after each validation, as a share of the box between `reference`
            and `ideal`.
        reference: The worst of each objective among all networks that any run validated, minimised.
        ideal: The best.
    """

    volumes: Mapping[str, FloatArray]
    reference: FloatArray
    ideal: FloatArray


def curves(objectives: Sequence[Objective], found: Found, budget: int) -> Curves:
    """Returns the hypervolume curves; a run that ended early stays where it was.

    Raises:
        EvaluationError: Every trial failed.
    """
    good = [outcome.metrics for runs in found.values() for run in runs for outcome in run
            if outcome.final]
    if not good:
        first = next(outcome for runs in found.values() for run in runs for outcome in run)
        raise EvaluationError(f"no network could be validated; the first failed with: "
                              f"{first.error}")
    values = minimized(objectives, good)
    reference, ideal = values.max(axis=0), values.min(axis=0)
    box = float(np.prod(reference - ideal)) or 1.0  # all equal: nothing dominates anything

    def curve(run: Sequence[Outcome]) -> FloatArray:
        volumes, front = np.zeros(budget), values[:0]
        for index, outcome in enumerate(run):
            if outcome.final:
                front = np.vstack([front, minimized(objectives, [outcome.metrics])])
                front = front[non_dominated(front)]
            volumes[index:] = hypervolume(front, reference) / box if len(front) else 0.0
        return volumes

    return Curves({name: np.array([curve(run) for run in runs]) for name, runs in found.items()},
                  reference, ideal)


def compared(found: Curves) -> list[dict[str, Any]]:
    """Returns a row for each searcher, best median at the end first: JSON values.

    ``"at"`` has a row each for a quarter, a half and all of the budget: median over seeds,
    quartiles, and the 95 % bootstrap interval of the median (percentiles of `RESAMPLES` resamples
    of seeds; null for fewer than three). ``"reaches_lowest"`` is after how many validations its
    median curve is where the lowest one ends, and ``"wins"`` the seeds in which no other searcher
    ends higher.
    """
    budget = next(iter(found.volumes.values())).shape[1]
    medians = {name: np.median(volumes, axis=0) for name, volumes in found.volumes.items()}
    lowest = min(float(median[-1]) for median in medians.values())
    highest = np.max([volumes[:, -1] for volumes in found.volumes.values()], axis=0)
    rows = [{"searcher": name, "seeds": len(volumes),
             "at": [_at(volumes, count) for count in checkpoints(budget)],
             "reaches_lowest": 1 + int(np.argmax(medians[name] >= lowest)),
             "wins": int((volumes[:, -1] >= highest).sum())}
            for name, volumes in found.volumes.items()]
    return sorted(rows, key=lambda row: -row["at"][-1]["median"])


def checkpoints(budget: int) -> list[int]:
    """Returns a quarter, a half and all of a budget, rounded up; each once."""
    return sorted({-(-budget // 4), -(-budget // 2), budget})


def interval(sample: FloatArray, statistic: Callable[..., FloatArray] = np.median) -> list[float]:
    """Returns the 95 % bootstrap percentile interval of a statistic of a sample (S,)."""
    drawn = np.random.default_rng(0).choice(sample, size=(RESAMPLES, len(sample)))
    return [float(edge) for edge in np.quantile(statistic(drawn, axis=1), (0.025, 0.975))]


def _at(volumes: FloatArray, count: int) -> dict[str, Any]:
    column = volumes[:, count - 1]
    quartiles = np.quantile(column, (0.25, 0.75)).tolist()
    return {"validations": count, "median": float(np.median(column)), "quartiles": quartiles,
            "ci95": interval(column) if len(column) >= 3 else None}
