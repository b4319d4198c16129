"""How much a candidate is expected to add to a front's hypervolume.

Legend: N candidates, K objectives, all minimised; F points on the front, B boxes.
"""

import numpy as np
from scipy.special import ndtr

from nas.core.pareto import non_dominated
from nas.core.types import FloatArray

_EXACT_UP_TO = 2  # objectives; the boxes of more of them are too many
_DIRECTIONS = 64
_NODES = 8  # of the normal distribution, per objective and direction


def expected_improvement(mean: FloatArray, std: FloatArray, level: FloatArray) -> FloatArray:
    """Returns E[max(level − Y, 0)] of normal Y; all three are broadcast.

    A standard deviation of 0 means that Y is its mean (Jones et al. 1998, equation 15).
    """
    gap = level - mean
    spread = np.where(std > 0, std, 1.0)
    z = gap / spread
    density = np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi)
    return np.where(std > 0, gap * ndtr(z) + spread * density, np.maximum(gap, 0.0))


def expected_hypervolume_improvement(mean: FloatArray, std: FloatArray, front: FloatArray,
                                     reference: FloatArray, rng: np.random.Generator
                                     ) -> FloatArray:
    """Returns by how much each candidate is expected to enlarge the hypervolume, (N,).

    Objectives are taken as independent normal variables. One and two of them are exact: what is
    not dominated below the reference falls into F + 1 boxes, and within a box the improvement is a
    product of one-dimensional ones (Emmerich et al. 2011; Yang et al. 2019). More of them are
    the mean over random directions of the improvement of hypervolume scalarisations (Zhang and
    Golovin 2020, lemma 5), up to a factor that is the same for all candidates.

    Args:
        mean: Predicted objectives, (N, K).
        std: Their standard deviations, 0 where they are known, (N, K).
        front: Objectives found so far, (F, K); dominated ones change nothing.
        reference: The point up to which volume counts, (K,).
        rng: Draws the directions.
    """
    inside = front[(front < reference).all(axis=1)]
    inside = inside[non_dominated(inside)]
    if mean.shape[1] > _EXACT_UP_TO:
        return _over_directions(mean, std, inside, reference, rng)
    total = np.zeros(len(mean))
    for lower, upper in _boxes(inside, reference):
        sides = expected_improvement(mean, std, upper)
        finite = np.isfinite(lower)
        sides[:, finite] -= expected_improvement(mean[:, finite], std[:, finite], lower[finite])
        total += sides.prod(axis=1)
    return total


def _boxes(front: FloatArray, reference: FloatArray) -> list[tuple[FloatArray, FloatArray]]:
    # Between two neighbours on the front: (lower, upper) corners of what no point dominates.
    if len(reference) == 1:
        best = front.min(axis=0) if len(front) else reference
        return [(np.array([-np.inf]), best)]
    order = np.argsort(front[:, 1], kind="stable")
    edges = [-np.inf, *front[order, 1], reference[1]]
    levels = [reference[0], *front[order, 0]]
    return [(np.array([-np.inf, low]), np.array([level, high]))
            for low, high, level in zip(edges, edges[1:], levels, strict=False)]


def _over_directions(mean: FloatArray, std: FloatArray, front: FloatArray, reference: FloatArray,
                     rng: np.random.Generator) -> FloatArray:
    objectives = mean.shape[1]
    scale = np.maximum(reference - (front.min(axis=0) if len(front) else reference - 1.0), 1e-12)
    directions = np.abs(rng.standard_normal((_DIRECTIONS, objectives)))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    noise = rng.standard_normal((_DIRECTIONS, _NODES, objectives))
    total = np.zeros(len(mean))
    for direction, draws in zip(directions, noise, strict=True):
        best = _scalarised((reference - front) / scale, direction).max(initial=0.0)
        for draw in draws:
            found = _scalarised((reference - (mean + std * draw)) / scale, direction)
            total += np.maximum(found - best, 0.0)
    return total / (_DIRECTIONS * _NODES)


def _scalarised(gains: FloatArray, direction: FloatArray) -> FloatArray:
    # How far one comes along the direction inside what is dominated, to the power of K.
    length = (np.maximum(gains, 0.0) / direction).min(axis=1)
    return np.asarray(length ** gains.shape[1])
