"""Which of many forecast architectures to validate next, one after the other.

Legend: N candidates, K objectives, all minimised; R points found.
"""

import numpy as np

from nas.core.pareto import non_dominated
from nas.core.types import BoolArray, FloatArray, IntArray
from nas.search.forecast import Forecast
from nas.search.improvement import expected_hypervolume_improvement

_SHORTLIST = 128  # of each reference, among which a batch is picked
_BEYOND = 0.05  # of the front's range, at both of its ends


def near_reference(found: FloatArray, most: FloatArray) -> FloatArray:
    """Returns the point just beyond the worst objectives of the front of what was found, (K,).

    But nowhere beyond `most` (K,): a front may end in networks that are fast and of no use.
    """
    front = found[non_dominated(found)]
    worst = front.max(axis=0)
    span = worst - front.min(axis=0)
    beyond = worst + _BEYOND * np.where(span > 0, span, np.abs(worst) + 1e-12)
    return np.asarray(np.minimum(beyond, most))


def upper_fence(values: FloatArray) -> FloatArray:
    """Returns the largest value of each column (R, K) that is no outlier, (K,).

    That is at most the upper quartile and three times the range between the quartiles, beyond
    which a value is far out (Tukey 1977, section 2D).
    """
    low, high = np.quantile(values, (0.25, 0.75), axis=0)
    return np.asarray(np.minimum(values.max(axis=0), high + 3.0 * (high - low)))


class Picker:
    """Picks by expected hypervolume improvement; what is picked counts as found.

    Args:
        forecast: Of the candidates.
        found: Objectives found so far and expected of what is being validated, (R, K).
        references: Points up to which volume counts; each pick is for one of them.
        allowed: Which candidates may be picked, (N,).
        rng: See `expected_hypervolume_improvement`.
    """

    def __init__(self, forecast: Forecast, found: FloatArray, references: list[FloatArray], *,
                 allowed: BoolArray, rng: np.random.Generator) -> None:
        self._forecast = forecast
        self._found = found
        self._references = references
        self._seed = int(rng.integers(2**31))
        rows = np.flatnonzero(allowed)
        worth = [self._worth(rows, reference) for reference in references]
        self._lists = [rows[np.argsort(-one, kind="stable")[:_SHORTLIST]] for one in worth]

    def best(self, reference: int) -> int | None:
        """Returns the row of the candidate that is worth most up to a reference, if any is left."""
        rows = self._lists[reference]
        if not len(rows):
            return None
        return int(rows[self._worth(rows, self._references[reference]).argmax()])

    def drop(self, row: int) -> None:
        """Leaves a candidate out from now on."""
        self._lists = [rows[rows != row] for rows in self._lists]

    def take(self, row: int) -> None:
        """Counts a candidate as found, with the objectives that are expected of it."""
        self.drop(row)
        self._found = np.concatenate([self._found, self._forecast.mean[row:row + 1]])

    def _worth(self, rows: IntArray, reference: FloatArray) -> FloatArray:
        # The same random directions each time, so that worths can be compared.
        return expected_hypervolume_improvement(
            self._forecast.mean[rows], self._forecast.std[rows], self._found, reference,
            np.random.default_rng(self._seed))
