"""Percentile intervals by resampling architectures, on counts instead of copies.

A resample of N architectures is how often each was drawn, so a statistic of many resamples is a
few matrix operations. Legend: B resamples, N architectures.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nas.core.errors import InputError
from nas.core.types import FloatArray

Statistic = Callable[[FloatArray], FloatArray]  # counts (B, N) → values (B,), NaN if undefined

_ELEMENTS = 2_000_000  # of counts held at once


@dataclass(frozen=True, slots=True)
class Interval:
    """A statistic of all architectures, and the bounds of its bootstrap interval."""

    value: float
    low: float
    high: float


def bootstrapped(statistic: Statistic, count: int, *, rng: np.random.Generator, resamples: int,
                 level: float) -> Interval:
    """Returns the statistic with its percentile interval (Efron and Tibshirani 1993, §13.3).

    A resample in which the statistic is undefined, because it drew one value alone, is left out;
    among more than ten architectures of different values that all but never happens.

    Args:
        statistic: Of counts (B, N).
        count: N.
        rng: Draws the resamples.
        resamples: B, at least 1.
        level: Share of resamples between the bounds, such as 0.95.

    Raises:
        InputError: Resamples or level out of range, or a statistic undefined in every resample.
    """
    if resamples < 1:
        raise InputError(f"a bootstrap needs at least 1 resample, not {resamples}")
    if not 0.0 < level < 1.0:
        raise InputError(f"interval level {level} is outside 0 … 1")
    block = max(1, _ELEMENTS // count)
    values = np.concatenate([
        statistic(_counts(count, min(block, resamples - start), rng))
        for start in range(0, resamples, block)])
    defined = values[~np.isnan(values)]
    if not defined.size:
        raise InputError(f"none of {resamples} resamples of {count} architectures has a defined "
                         "statistic; label more architectures or draw more resamples")
    tail = (1.0 - level) / 2
    low, high = np.quantile(defined, (tail, 1.0 - tail))
    return Interval(float(statistic(np.ones((1, count)))[0]), float(low), float(high))


def _counts(count: int, resamples: int, rng: np.random.Generator) -> FloatArray:
    drawn = rng.integers(count, size=(resamples, count))
    cells = drawn + count * np.arange(resamples)[:, None]
    found = np.bincount(cells.ravel(), minlength=resamples * count)
    return found.reshape(resamples, count).astype(np.float64)
