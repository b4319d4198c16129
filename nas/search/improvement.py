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
_CELLS = 1 << 18  # candidates times boxes at once: arrays that the processor's cache holds


def expected_improvement(mean: FloatArray, std: FloatArray, level: FloatArray) -> FloatArray:
    """Returns E[max(level − Y, 0)] of normal Y; all three are broadcast.

    A standard deviation of 0 means that Y is its mean (Jones et al. 1998, equation 15).
    """
    gap = level - mean
    if not std.any():
        return np.maximum(gap, 0.0)
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
    if not len(mean):
        return np.zeros(0)
    return np.concatenate([_over_boxes(mean[rows], std[rows], inside, reference)
                           for rows in _chunks(len(mean), len(inside) + 1)])


def _chunks(count: int, boxes: int) -> list[slice]:
    size = max(1, _CELLS // boxes)
    return [slice(start, start + size) for start in range(0, count, size)]


def _over_boxes(mean: FloatArray, std: FloatArray, front: FloatArray, reference: FloatArray
                ) -> FloatArray:
    # What no point dominates lies between two neighbours on the front, box by box.
    if len(reference) == 1:
        best = front.min(axis=0) if len(front) else reference
        return expected_improvement(mean, std, best)[:, 0]
    order = np.argsort(front[:, 1], kind="stable")
    edges = np.append(front[order, 1], reference[1])
    levels = np.insert(front[order, 0], 0, reference[0])
    wide = expected_improvement(mean[:, :1], std[:, :1], levels)
    tall = np.diff(expected_improvement(mean[:, 1:], std[:, 1:], edges), axis=1, prepend=0.0)
    return np.asarray((wide * tall).sum(axis=1))


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
