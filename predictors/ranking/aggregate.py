"""One order from several proxies' scores, without a single label.

Scores are (N, P), higher is better, compared by rank alone: a monotone map of a column changes
nothing. A constant column says nothing and has no influence. Legend: N architectures, P proxies.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from nas.core.errors import InputError
from nas.core.types import FloatArray

_ROWS = 256  # of pairs compared at once


@dataclass(frozen=True, slots=True)
class Aggregate:
    """An aggregated score (N,), and by name the proxies that are constant and had no say."""

    scores: FloatArray
    skipped: tuple[str, ...]


def aggregate(scores: FloatArray, names: Sequence[str], method: str) -> Aggregate:
    """Aggregates by the name of a method in `METHODS` and reports who had no say.

    Raises:
        InputError: An unknown method, names that do not fit, or as the method says.
    """
    if method not in METHODS:
        raise InputError(f"unknown aggregation {method!r}; known: {', '.join(METHODS)}")
    if scores.ndim != 2 or scores.shape[1] != len(names):
        raise InputError(f"{len(names)} names do not fit scores of shape {scores.shape}")
    found = METHODS[method](scores)
    constant = np.ptp(scores, axis=0) == 0
    return Aggregate(found, tuple(name for name, same in zip(names, constant, strict=True)
                                  if same))


def borda(scores: FloatArray) -> FloatArray:
    """Returns the mean rank over the proxies, as a share between 0 and 1, (N,).

    Raises:
        InputError: Fewer than 3 architectures, a number that is not finite, or only constant
            columns.
    """
    return np.asarray(_shares(scores).mean(axis=1))


def vote(scores: FloatArray) -> FloatArray:
    """Returns how many others the majority of proxies puts it above, less those below, (N,).

    The majority vote of Abdelfattah et al. 2021 (arXiv 2101.08134) on every pair. Pairwise
    majorities can go in circles; counting wins (Copeland) makes an order of them. Takes time
    N²·P.

    Raises:
        InputError: As in `borda`.
    """
    ranks = _shares(scores)
    won = np.empty(len(ranks))
    for start in range(0, len(ranks), _ROWS):
        rows = ranks[start:start + _ROWS]
        ballots = np.zeros((len(rows), len(ranks)), dtype=np.int16)
        for column in range(ranks.shape[1]):
            ballots += np.sign(rows[:, column, None] - ranks[None, :, column]).astype(np.int16)
        won[start:start + _ROWS] = np.sign(ballots).sum(axis=1)
    return won


def consensus(scores: FloatArray) -> FloatArray:
    """Returns Σ w·log(rank / N): proxies that agree with the others count, copies do not, (N,).

    The logarithm makes one very low rank weigh more than one very high one: a network has to
    pass every test. That sum is AZ-NAS's (Lee and Ham 2024, arXiv 2403.19232). Deviation: it has
    weights here, w = max(0, a) / Σ r², where r are the proxy's Spearman correlations with every
    proxy, itself included, and a is their mean without itself. So a proxy that contradicts the
    others has no say, and several that say the same share one.

    Raises:
        InputError: As in `borda`, or no proxy agrees with the others.
    """
    shares = _shares(scores)
    weights = consensus_weights(shares)
    if not weights.any():
        raise InputError("no proxy agrees with the others, so they have no consensus; rank with "
                         "one of them, or by borda")
    return np.asarray(np.log(shares) @ weights)


def consensus_weights(scores: FloatArray) -> FloatArray:
    """Returns the weight of each proxy in `consensus`, (P,): they sum to 1, or are all 0.

    Raises:
        InputError: As in `borda`.
    """
    varied = np.ptp(scores, axis=0) > 0
    ranks = _shares(scores)[:, varied]
    weights = np.zeros(scores.shape[1])
    if ranks.shape[1] == 1:
        weights[varied] = 1.0
        return weights
    correlation = np.asarray(np.corrcoef(ranks, rowvar=False))
    agreement = (correlation.sum(axis=0) - 1.0) / (len(correlation) - 1)
    # Sums of rounded numbers: what cancels exactly leaves a rest of some 1e-16.
    found = np.where(agreement > 1e-12, agreement, 0.0) / (correlation**2).sum(axis=0)
    if found.any():
        weights[varied] = found / found.sum()
    return weights


METHODS: Mapping[str, Callable[[FloatArray], FloatArray]] = {
    "borda": borda, "vote": vote, "consensus": consensus}


def _shares(scores: FloatArray) -> FloatArray:
    # Mid-ranks as shares (r − ½) / N, so that no logarithm is of 0.
    if scores.ndim != 2 or not scores.shape[1]:
        raise InputError(f"scores have shape (N, P) with P ≥ 1, not {scores.shape}")
    if len(scores) < 3:
        raise InputError(f"ranking needs at least 3 architectures, not {len(scores)}")
    wrong = np.argwhere(~np.isfinite(scores))
    if len(wrong):
        row, column = wrong[0]
        raise InputError(f"proxy {column} of row {row} scores {scores[row, column]}; leave that "
                         "architecture out or score it again")
    if not (np.ptp(scores, axis=0) > 0).any():
        raise InputError("every proxy gives all architectures one score, which ranks nothing; "
                         "use another proxy or architectures that differ")
    return np.asarray((rankdata(scores, axis=0) - 0.5) / len(scores))
