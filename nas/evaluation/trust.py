"""How far a score can be trusted to rank what validation would rank: correlation with interval."""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from nas.core.types import FloatArray

MIN_PAIRS = 8  # below, an interval says nothing


@dataclass(frozen=True, slots=True)
class Trust:
    """A rank correlation and its confidence interval.

    Attributes:
        pairs: Networks that have both score and truth.
        spearman: Spearman's ρ.
        at_equal_cost: The partial ρ, what costs explain taken out of both; None without costs.
        low: Lower end of the interval of `at_equal_cost`, or of `spearman` without costs.
        high: Its upper end.
    """

    pairs: int
    spearman: float
    at_equal_cost: float | None
    low: float
    high: float


def measure_trust(scores: FloatArray, truth: FloatArray, costs: FloatArray, *,
                  confidence: float) -> Trust | None:
    """Returns how well scores rank the truth, or None while there is too little to tell.

    The interval is Fisher's z with the standard error of Bonett and Wright (2000) for Spearman's
    ρ; each cost that is held constant takes one degree of freedom.

    Args:
        scores: (N,), higher is better.
        truth: (N,), higher is better.
        costs: (N, costs); what both may merely follow, such as latency.
        confidence: Of the two-sided interval, 0 … 1.
    """
    free = len(scores) - 3 - costs.shape[1]
    ranks = [stats.rankdata(column) for column in (scores, truth)]
    if len(scores) < MIN_PAIRS or free < 1 or any(np.ptp(column) == 0 for column in ranks):
        return None
    spearman = _pearson(*ranks)
    partial = None
    if costs.shape[1]:
        design = np.column_stack([np.ones(len(scores)),
                                  *(stats.rankdata(column) for column in costs.T)])
        partial = _pearson(*(column - design @ np.linalg.lstsq(design, column, rcond=None)[0]
                             for column in ranks))
    used = spearman if partial is None else partial
    error = np.sqrt((1 + used**2 / 2) / free)
    reach = float(stats.norm.ppf(0.5 + confidence / 2)) * error
    centre = np.arctanh(np.clip(used, -1 + 1e-12, 1 - 1e-12))  # ±1 has no finite transform
    return Trust(len(scores), spearman, partial, float(np.tanh(centre - reach)),
                 float(np.tanh(centre + reach)))


def _pearson(a: FloatArray, b: FloatArray) -> float:
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    # What is left of a column that the costs explain entirely is rounding, and says nothing.
    return float(a @ b) / scale if scale > 1e-9 * len(a) else 0.0
