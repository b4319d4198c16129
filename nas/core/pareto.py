"""Pareto fronts of points whose every objective is minimised.

Values are (N, objectives) throughout, N ≥ 0 and finite. One point dominates another if it is no
worse in every objective and better in one; equal points do not dominate each other.
"""

import moocore
import numpy as np

from nas.core.errors import EvaluationError, InputError
from nas.core.types import BoolArray, FloatArray, IntArray


def non_dominated(values: FloatArray) -> BoolArray:
    """Returns which points no other point dominates, (N,).

    Raises:
        EvaluationError: A value is not finite.
    """
    return np.asarray(moocore.is_nondominated(_checked(values), keep_weakly=True))


def sort_fronts(values: FloatArray) -> list[IntArray]:
    """Returns the indices of each front, best first; front k+1 is the front once 1 … k are gone.

    Within a front indices ascend.

    Raises:
        EvaluationError: A value is not finite.
    """
    ranks = moocore.pareto_rank(_checked(values))
    order = np.argsort(ranks, kind="stable")
    cuts = np.flatnonzero(np.diff(ranks[order])) + 1
    return np.split(order, cuts) if len(order) else []


def crowding_distance(values: FloatArray) -> FloatArray:
    """Returns how far apart each point of one front stands from its neighbours, (N,).

    Per objective: the gap between both neighbours over the front's range; the points at either
    end have infinity; the sum over objectives (Deb et al., NSGA-II, 2002, section III-B). An
    objective in which all points agree says nothing and is left out.

    Raises:
        EvaluationError: A value is not finite.
    """
    values = _checked(values)
    if len(values) <= 2:
        return np.full(len(values), np.inf)
    distance = np.zeros(len(values))
    for column in values.T:
        order = np.argsort(column, kind="stable")
        ordered = column[order]
        span = ordered[-1] - ordered[0]
        if span > 0:
            distance[order[1:-1]] += (ordered[2:] - ordered[:-2]) / span
            distance[order[[0, -1]]] = np.inf
    return distance


def hypervolume(values: FloatArray, reference: FloatArray) -> float:
    """Returns the exact volume that the points dominate up to the reference point, (objectives,).

    A point that is not better than the reference in every objective dominates nothing of it.

    Raises:
        EvaluationError: A value is not finite.
        InputError: The reference has another number of objectives or is not finite.
    """
    values = _checked(values)
    reference = np.asarray(reference, dtype=np.float64)
    if reference.shape != (values.shape[1],) or not np.isfinite(reference).all():
        raise InputError(f"the reference point must be {values.shape[1]} finite numbers, "
                         f"not {reference.tolist()}")
    if values.shape[1] == 1:
        return float(max(reference[0] - values.min(initial=np.inf), 0.0))
    return float(moocore.hypervolume(values, ref=reference))


def _checked(values: FloatArray) -> FloatArray:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] == 0:
        raise InputError(f"objective values have shape (N, objectives), not {values.shape}")
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
        raise EvaluationError(f"objective values of point {row} are not finite: "
                              f"{values[row].tolist()}")
    return values
