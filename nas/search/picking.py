"""Which of many forecast architectures to validate next, one after the other.

Legend: N candidates, K objectives, all minimised; R points found.
"""

import numpy as np

from nas.core.types import BoolArray, FloatArray, IntArray
from nas.search.forecast import Forecast
from nas.search.improvement import expected_hypervolume_improvement

_SHORTLIST = 128  # among which a batch is picked


def upper_fence(values: FloatArray) -> FloatArray:
    """Returns the largest value of each column (R, K) that is no outlier, (K,).

    That is at most the upper quartile and one and a half times the range between the quartiles
    (Tukey 1977, section 2C).
    """
    low, high = np.quantile(values, (0.25, 0.75), axis=0)
    return np.asarray(np.minimum(values.max(axis=0), high + 1.5 * (high - low)))


class Picker:
    """Picks by expected hypervolume improvement.

    Args:
        forecast: Of the candidates.
        found: Objectives found so far and expected of what is being validated, (R, K).
        reference: Point up to which volume counts, (K,).
        allowed: Which candidates may be picked, (N,).
        rng: See `expected_hypervolume_improvement`.
    """

    def __init__(self, forecast: Forecast, found: FloatArray, reference: FloatArray, *,
                 allowed: BoolArray, rng: np.random.Generator) -> None:
        self._forecast = forecast
        self._found = found
        self._reference = reference
        self._seed = int(rng.integers(2**31))
        rows = np.flatnonzero(allowed)
        self._rows = rows[np.argsort(-self._worth(rows), kind="stable")[:_SHORTLIST]]

    def take(self) -> Forecast | None:
        """Returns the candidate that is worth most, which is left out from now on, or None."""
        if not len(self._rows):
            return None
        place = int(self._worth(self._rows).argmax())
        row = self._rows[place:place + 1]
        self._rows = np.delete(self._rows, place)
        return Forecast(self._forecast.codes[row], self._forecast.mean[row],
                        self._forecast.std[row])

    def count(self, values: FloatArray) -> None:
        """Counts values (R, K) as found."""
        self._found = np.concatenate([self._found, values])

    def _worth(self, rows: IntArray) -> FloatArray:
        # The same random directions each time, so that worths can be compared.
        return expected_hypervolume_improvement(
            self._forecast.mean[rows], self._forecast.std[rows], self._found, self._reference,
            np.random.default_rng(self._seed))
