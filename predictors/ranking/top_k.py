"""Statistics of the k best by score, exact where scores tie over the k-th place.

Legend: B resamples, N architectures in the order of their scores, best first.
"""

import numpy as np
from scipy.special import gammaln

from nas.core.types import BoolArray, FloatArray, IntArray
from predictors.ranking.bootstrap import Statistic


def recall_statistic(scores: FloatArray, truth: FloatArray, k: int) -> Statistic:
    """Returns the statistic of `predictors.ranking.metrics.top_k_recall`."""
    by_score, score_starts, score_group = _descending(scores)
    by_truth, truth_starts, truth_group = _descending(truth)

    def statistic(counts_BN: FloatArray) -> FloatArray:
        sizes = np.add.reduceat(counts_BN[:, by_score], score_starts, axis=1)
        slots = np.clip(k - (sizes.cumsum(axis=1) - sizes), 0, sizes)  # that each group fills
        chance = np.divide(slots, sizes, out=np.zeros_like(sizes), where=sizes > 0)
        better = np.add.reduceat(counts_BN[:, by_truth], truth_starts, axis=1)
        among_best: BoolArray = (better.cumsum(axis=1) - better) < k
        hits = counts_BN * chance[:, score_group] * among_best[:, truth_group]
        return np.asarray(hits.sum(axis=1) / k)

    return statistic


def regret_statistic(scores: FloatArray, truth: FloatArray, k: int) -> Statistic:
    """Returns the statistic of `predictors.ranking.metrics.regret_at_k`."""
    order = np.lexsort((truth, -scores))  # within a group, the worst in truth first
    values = truth[order]
    _, starts, group = _descending(scores[order])

    def statistic(counts_BN: FloatArray) -> FloatArray:
        counts = counts_BN[:, order]
        sizes = np.add.reduceat(counts, starts, axis=1)
        before = (sizes.cumsum(axis=1) - sizes)[:, group]
        size, slots = sizes[:, group], k - before
        drawn = counts > 0
        whole = drawn & (size <= slots)
        split = drawn & (slots > 0) & (size > slots)
        sure = np.where(whole, values, -np.inf).max(axis=1)
        best = np.where(drawn, values, -np.inf).max(axis=1)
        # Of the group that only partly fits, a random choice: P(all chosen ≤ this one).
        upto = counts.cumsum(axis=1) - before
        below = _all_within(upto, size, slots, split)
        earlier = _all_within(upto - counts, size, slots, split)
        chance = np.maximum(below - earlier, 0.0)  # rounding alone can make it negative
        missed = best[:, None] - np.maximum(values, sure[:, None])
        expected = np.where(split, chance * missed, 0.0).sum(axis=1)
        return np.asarray(np.where(split.any(axis=1), expected, best - sure))

    return statistic


def _descending(values: FloatArray) -> tuple[IntArray, IntArray, IntArray]:
    # The order, best first; where each group of equal value starts in it; each row's group.
    order = np.argsort(-values, kind="stable")
    _, starts, group = np.unique(-values[order], return_index=True, return_inverse=True)
    of_row = np.empty(len(values), dtype=np.intp)
    of_row[order] = group
    return order, starts, of_row


def _all_within(part: FloatArray, size: FloatArray, slots: FloatArray,
                where: BoolArray) -> FloatArray:
    # C(part, slots) / C(size, slots): every one of the chosen is among the first `part`.
    out = np.zeros_like(part)
    there = where & (part >= slots)
    p, n, m = part[there], size[there], slots[there]
    out[there] = np.exp(gammaln(p + 1) - gammaln(p - m + 1) - gammaln(n + 1) + gammaln(n - m + 1))
    return out
