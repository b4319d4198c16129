"""How well scores rank the truth, each metric with a bootstrap interval.

Scores and truth are (N,), both higher is better. Legend: B resamples, N architectures, G groups
of equal value in ascending order.
"""

import numpy as np

from nas.core.errors import InputError
from nas.core.types import FloatArray, IntArray
from predictors.ranking.bootstrap import Interval, Statistic, bootstrapped
from predictors.ranking.top_k import recall_statistic, regret_statistic

RESAMPLES = 1000
LEVEL = 0.95

_ROWS = 1024  # of the sign matrix held at once


def spearman(scores: FloatArray, truth: FloatArray, *, rng: np.random.Generator,
             resamples: int = RESAMPLES, level: float = LEVEL) -> Interval:
    """Returns Spearman's ρ, ties at their mean rank.

    Raises:
        InputError: Fewer than 3 architectures, lengths that differ, a constant column, or a
            number that is not finite.
    """
    _check(scores, truth)
    return bootstrapped(_spearman(scores, truth), len(scores), rng=rng, resamples=resamples,
                        level=level)


def kendall(scores: FloatArray, truth: FloatArray, *, rng: np.random.Generator,
            resamples: int = RESAMPLES, level: float = LEVEL) -> Interval:
    """Returns Kendall's τ-b.

    A resample has copies, which tie in both columns; τ-b leaves such pairs out of numerator and
    denominator alike, so they do not pull the interval towards 0 as they would τ-a's.

    Raises:
        InputError: As in `spearman`.
    """
    _check(scores, truth)
    return bootstrapped(_kendall(scores, truth), len(scores), rng=rng, resamples=resamples,
                        level=level)


def top_k_recall(scores: FloatArray, truth: FloatArray, k: int, *, rng: np.random.Generator,
                 resamples: int = RESAMPLES, level: float = LEVEL) -> Interval:
    """Returns which share of the k best by score is as good as the k-th best in truth.

    Scores that tie over the k-th place share it: the value is the mean over their orders.

    Raises:
        InputError: As in `spearman`, or k outside 1 … N.
    """
    _check(scores, truth)
    _check_k(k, len(scores))
    return bootstrapped(recall_statistic(scores, truth, k), len(scores), rng=rng,
                        resamples=resamples, level=level)


def regret_at_k(scores: FloatArray, truth: FloatArray, k: int, *, rng: np.random.Generator,
                resamples: int = RESAMPLES, level: float = LEVEL) -> Interval:
    """Returns how far the best of the k best by score lies below the best of all, ≥ 0.

    In the unit of the truth. Ties in the scores as in `top_k_recall`.

    Raises:
        InputError: As in `top_k_recall`.
    """
    _check(scores, truth)
    _check_k(k, len(scores))
    return bootstrapped(regret_statistic(scores, truth, k), len(scores), rng=rng,
                        resamples=resamples, level=level)


def _check(scores: FloatArray, truth: FloatArray) -> None:
    if scores.ndim != 1 or scores.shape != truth.shape:
        raise InputError(f"scores and truth must be equally many numbers, not of shape "
                         f"{scores.shape} and {truth.shape}")
    if len(scores) < 3:
        raise InputError(f"a rank correlation needs at least 3 architectures, not {len(scores)}")
    for name, values in (("score", scores), ("truth", truth)):
        wrong = np.flatnonzero(~np.isfinite(values))
        if wrong.size:
            raise InputError(f"{name} of row {wrong[0]} is {values[wrong[0]]}; leave that "
                             "architecture out or evaluate it again")
        if np.ptp(values) == 0:
            raise InputError(f"every {name} is {values[0]:g}, which ranks nothing; leave it out or "
                             "take architectures that differ")


def _check_k(k: int, count: int) -> None:
    if not 1 <= k <= count:
        raise InputError(f"k = {k} is outside 1 … {count}, the number of architectures")


def _groups(values: FloatArray) -> tuple[IntArray, IntArray, IntArray]:
    # The order that sorts, where each group starts in it, and each row's group.
    order = np.argsort(values, kind="stable")
    _, starts, group = np.unique(values[order], return_index=True, return_inverse=True)
    of_row = np.empty(len(values), dtype=np.intp)
    of_row[order] = group
    return order, starts, of_row


def _spearman(scores: FloatArray, truth: FloatArray) -> Statistic:
    parts = [_groups(values) for values in (scores, truth)]

    def statistic(counts_BN: FloatArray) -> FloatArray:
        centred = []
        for order, starts, group in parts:
            sizes_BG = np.add.reduceat(counts_BN[:, order], starts, axis=1)
            ranks_BG = sizes_BG.cumsum(axis=1) - (sizes_BG - 1) / 2
            # Mean ranks over N draws always average to (N + 1) / 2.
            centred.append(ranks_BG[:, group] - (counts_BN.shape[1] + 1) / 2)
        a_BN, b_BN = centred
        product = (counts_BN * a_BN * b_BN).sum(axis=1)
        spread = (counts_BN * a_BN**2).sum(axis=1) * (counts_BN * b_BN**2).sum(axis=1)
        return _ratio(product, np.sqrt(spread))

    return statistic


def _kendall(scores: FloatArray, truth: FloatArray) -> Statistic:
    parts = [_groups(values) for values in (scores, truth)]
    groups = [group.astype(np.int32) for _, _, group in parts]

    def statistic(counts_BN: FloatArray) -> FloatArray:
        # Concordant less discordant pairs: ½ cᵀ·S·c, S the product of both signs of each pair.
        # Whole numbers below 2²⁴ are exact in float32.
        narrow = counts_BN.astype(np.float32)
        excess = np.zeros(len(counts_BN))
        for start in range(0, counts_BN.shape[1], _ROWS):
            rows = slice(start, start + _ROWS)
            a, b = (np.sign(group[rows, None] - group[None]).astype(np.int8) for group in groups)
            signs = (a * b).astype(np.float32)
            excess += (counts_BN[:, rows] * (narrow @ signs.T)).sum(axis=1) / 2
        untied = [_untied_pairs(counts_BN, order, starts) for order, starts, _ in parts]
        return _ratio(excess, np.sqrt(untied[0] * untied[1]))

    return statistic


def _untied_pairs(counts_BN: FloatArray, order: IntArray, starts: IntArray) -> FloatArray:
    sizes_BG = np.add.reduceat(counts_BN[:, order], starts, axis=1)
    count = counts_BN.shape[1]
    return np.asarray(count * (count - 1) / 2 - (sizes_BG * (sizes_BG - 1) / 2).sum(axis=1))


def _ratio(above: FloatArray, below: FloatArray) -> FloatArray:
    undefined = np.full(len(above), np.nan)
    np.divide(above, below, out=undefined, where=below > 0)
    return undefined
