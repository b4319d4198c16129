"""Pareto fronts of points whose every objective is minimised.

Values are (N, objectives) throughout, N ≥ 0 and finite. One point dominates another if it is no
worse in every objective and better in one; equal points do not dominate each other.
"""

import math
from bisect import bisect_right

import numpy as np

from nas.core.errors import EvaluationError, InputError
from nas.core.types import BoolArray, FloatArray, IntArray


def non_dominated(values: FloatArray) -> BoolArray:
    """Returns which points no other point dominates, (N,).

    Raises:
        EvaluationError: A value is not finite.
    """
    values = _checked(values)
    mask = np.zeros(len(values), dtype=np.bool_)
    # In lexicographic order the first point left is dominated by none that is left.
    rest = np.lexsort(values.T[::-1])
    while rest.size:
        best = values[rest[0]]
        equal = (values[rest] == best).all(axis=1)
        mask[rest[equal]] = True
        rest = rest[(values[rest] < best).any(axis=1)]
    return mask


def sort_fronts(values: FloatArray) -> list[IntArray]:
    """Returns the indices of each front, best first; front k+1 is the front once 1 … k are gone.

    Within a front indices ascend. Up to three objectives take O(N log² N) (the efficient sort
    with binary search of Zhang et al., 2015, on staircases), more of them O(N²).

    Raises:
        EvaluationError: A value is not finite.
    """
    values = _checked(values)
    ranks = _sorted_ranks(values) if values.shape[1] <= 3 else _peeled_ranks(values)
    order = np.argsort(ranks, kind="stable")
    cuts = np.flatnonzero(np.diff(ranks[order])) + 1
    return np.split(order, cuts) if len(values) else []


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

    A point that is not better than the reference in every objective dominates nothing of it. The
    recursion on slices is meant for fronts of hundreds of points in up to about five objectives.

    Raises:
        EvaluationError: A value is not finite.
        InputError: The reference has another number of objectives or is not finite.
    """
    values = _checked(values)
    reference = np.asarray(reference, dtype=np.float64)
    if reference.shape != (values.shape[1],) or not np.isfinite(reference).all():
        raise InputError(f"the reference point must be {values.shape[1]} finite numbers, "
                         f"not {reference.tolist()}")
    inside = values[(values < reference).all(axis=1)]
    return _volume(inside, reference) if len(inside) else 0.0


def _checked(values: FloatArray) -> FloatArray:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] == 0:
        raise InputError(f"objective values have shape (N, objectives), not {values.shape}")
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
        raise EvaluationError(f"objective values of point {row} are not finite: "
                              f"{values[row].tolist()}")
    return values


def _peeled_ranks(values: FloatArray) -> IntArray:
    ranks = np.empty(len(values), dtype=np.int64)
    rest, rank = np.arange(len(values)), 0
    while rest.size:
        best = non_dominated(values[rest])
        ranks[rest[best]] = rank
        rest, rank = rest[~best], rank + 1
    return ranks


def _sorted_ranks(values: FloatArray) -> IntArray:
    # In lexicographic order an earlier, different point dominates a later one exactly if it is no
    # worse in the objectives after the first. A point that a front dominates is dominated by all
    # fronts before it, so the first front with room for it is found by bisection.
    order = np.argsort(values[:, 0])
    ordered = values[order]
    if (ordered[1:, 0] == ordered[:-1, 0]).any():  # the quick sort has decided nothing there
        order = np.lexsort(values.T[::-1])
        ordered = values[order]
    new = np.ones(len(values), dtype=np.bool_)
    new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    columns = [column.tolist() for column in ordered[new].T[1:]]
    found = (list(range(int(new.sum()))) if not columns else _pile_ranks(*columns)
             if len(columns) == 1 else _staircase_ranks(*columns))
    out = np.empty(len(values), dtype=np.int64)
    out[order] = np.array(found, dtype=np.int64)[np.cumsum(new) - 1]
    return out


def _pile_ranks(ys: list[float]) -> list[int]:
    # Of each front only the least y matters, and it rises from front to front.
    ranks: list[int] = []
    least: list[float] = []
    for y in ys:
        rank = bisect_right(least, y)
        least[rank:rank + 1] = [y]
        ranks.append(rank)
    return ranks


def _staircase_ranks(ys: list[float], zs: list[float]) -> list[int]:
    # Of each front only the staircase matters: steps (y, z) with y ascending and z descending.
    # Infinite steps at both ends spare all questions about the ends. Written for speed.
    ranks: list[int] = []
    stairs: list[tuple[list[float], list[float]]] = []
    for y, z in zip(ys, zs, strict=True):
        low, high, at = 0, len(stairs), -1
        while low < high:
            middle = (low + high) >> 1
            steps, heights = stairs[middle]
            step = bisect_right(steps, y)
            if heights[step - 1] <= z:
                low = middle + 1
            else:
                high, at = middle, step
        ranks.append(low)
        if at < 0:
            stairs.append(([-math.inf, y, math.inf], [math.inf, z, -math.inf]))
            continue
        steps, heights = stairs[low]
        if heights[at] >= z or steps[at - 1] == y:
            _replace_steps(steps, heights, at, y, z)
        else:
            steps.insert(at, y)
            heights.insert(at, z)
    return ranks


def _replace_steps(steps: list[float], heights: list[float], at: int, y: float, z: float) -> None:
    # The new step takes the place of one as far and of higher ones behind it.
    first = at - 1 if steps[at - 1] == y else at
    last = at
    while heights[last] >= z:
        last += 1
    steps[first:last] = [y]
    heights[first:last] = [z]


def _volume(values: FloatArray, reference: FloatArray) -> float:
    if values.shape[1] == 1:
        return float(reference[0] - values.min())
    values = values[np.argsort(values[:, -1], kind="stable")]
    depths = np.diff(np.append(values[:, -1], reference[-1]))
    if values.shape[1] == 2:
        widths = reference[0] - np.minimum.accumulate(values[:, 0])
        return float(depths @ widths)
    # Between two consecutive values of the last objective the cross-section stays the same.
    total = 0.0
    for count, depth in enumerate(depths.tolist(), start=1):
        if depth > 0:
            section = values[:count, :-1]
            total += depth * _volume(section[non_dominated(section)], reference[:-1])
    return total
