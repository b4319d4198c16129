"""Which few networks tell most about all: choosing rows that cover a feature matrix."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from nas.core.errors import ProfileError
from nas.core.types import FloatArray, IntArray

Method = Literal["d_optimal", "farthest_point", "random"]

_RANK_TOLERANCE = 1e-6  # of the largest singular value
_MAX_EXCHANGES = 50  # sweeps over the chosen rows


def whitened(features: FloatArray) -> FloatArray:
    """Returns the features as uncorrelated coordinates of equal spread, (N, rank).

    Columns that follow from others vanish; the last coordinate is the constant 1.
    """
    centred = features - features.mean(axis=0)
    spread = centred.std(axis=0)
    varied = centred[:, spread > 0] / spread[spread > 0]
    left, singular, _ = np.linalg.svd(varied, full_matrices=False)
    kept = left[:, singular > _RANK_TOLERANCE * singular.max(initial=1.0)]
    return np.column_stack([kept * np.sqrt(len(features)), np.ones(len(features))])


def choose_rows(points: FloatArray, count: int, *, method: Method, rng: np.random.Generator,
                first: Sequence[int] = ()) -> IntArray:
    """Returns `count` distinct rows that cover the points, those of `first` at the front.

    ``d_optimal`` maximises the determinant of the chosen rows' moment matrix: greedily, then by
    exchanging a chosen row for another while that gains (Fedorov 1972). ``farthest_point`` takes
    the row farthest from all chosen ones each time. ``random`` is what both have to beat.

    Args:
        points: (N, coordinates), such as `whitened` gives.
        count: Rows to choose, at most N.
        method: One of the three.
        rng: For ``random``, and for the first row where `first` is empty.
        first: Rows that are taken in any case.

    Raises:
        ProfileError: More rows are asked for than there are, or fewer than `first` has.
    """
    if not len(first) <= count <= len(points):
        raise ProfileError(f"{count} rows cannot be chosen: {len(first)} are given and there are "
                           f"{len(points)}")
    if method == "random" or not len(first):
        others = np.setdiff1d(np.arange(len(points)), first)
        missing = count - len(first) if method == "random" else 1
        first = [*first, *rng.choice(others, size=missing, replace=False).tolist()]
    chosen = list(first)
    if method == "d_optimal":
        chosen = _d_optimal(points, chosen, count)
    elif method == "farthest_point":
        distance = np.full(len(points), np.inf)
        for row in chosen:
            distance = np.minimum(distance, _squared_distance(points, row))
        while len(chosen) < count:
            chosen.append(int(distance.argmax()))
            distance = np.minimum(distance, _squared_distance(points, chosen[-1]))
    return np.array(chosen)


def log_det(points: FloatArray) -> float:
    """Returns the logarithm of the determinant of the rows' moment matrix; −inf if singular."""
    return float(np.linalg.slogdet(points.T @ points)[1])


def _d_optimal(points: FloatArray, first: list[int], count: int) -> list[int]:
    # A small multiple of the identity keeps the first steps, of deficient rank, comparable.
    ridge = 1e-3 * np.eye(points.shape[1])
    chosen = list(first)
    while len(chosen) < count:
        chosen.append(_best(points, ridge + points[chosen].T @ points[chosen], chosen)[0])
    for _ in range(_MAX_EXCHANGES):
        moved = False
        for place in range(len(first), count):
            rest = chosen[:place] + chosen[place + 1:]
            best, gains = _best(points, ridge + points[rest].T @ points[rest], rest)
            if gains[best] > gains[chosen[place]] * (1.0 + 1e-9):
                chosen[place], moved = best, True
        if not moved:
            break
    return chosen


def _best(points: FloatArray, moment: FloatArray, taken: list[int]) -> tuple[int, FloatArray]:
    # det(M + x·xᵀ) = det(M)·(1 + xᵀ·M⁻¹·x): the row with the largest form gains most.
    gains = np.einsum("ij,ij->i", points @ np.linalg.inv(moment), points)
    open_rows = gains.copy()
    open_rows[taken] = -np.inf
    return int(open_rows.argmax()), gains


def _squared_distance(points: FloatArray, row: int) -> FloatArray:
    return np.asarray(((points - points[row]) ** 2).sum(axis=1))
