"""Ensembles whose members each leave out a fold, so that they know their own error.

Legend: N labels, M rows to predict, K members.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas.core.protocols import Prediction
from nas.core.types import FloatArray, IntArray

MEMBERS = 5
LEAST_ROWS = 5  # one for each member to leave out


def assign_folds(count: int, folds: int, rng: np.random.Generator) -> IntArray:
    """Returns the fold of each of `count` rows, (N,); sizes differ by at most one."""
    return rng.permutation(np.arange(count) % folds)


@dataclass(frozen=True, slots=True)
class FoldNoise:
    """The mean squared error of members on the labels that each had left out.

    One label more counts among them, predicted no better than by the mean of all: so the variance
    is never 0, however well the few labels there are happen to fit.
    """

    variance: float

    @classmethod
    def of(cls, members_KN: Sequence[FloatArray] | FloatArray, y: FloatArray, fold: IntArray
           ) -> "FoldNoise":
        """Takes the members' predictions of all labels, (K, N); member k left out fold k."""
        left_out = np.asarray(members_KN)[fold, np.arange(len(y))]
        return cls(float((((left_out - y) ** 2).sum() + y.var()) / (len(y) + 1)))

    def prediction(self, members_KM: Sequence[FloatArray] | FloatArray) -> Prediction:
        """Returns the members' mean; the variance is theirs and that of what none of them knew."""
        members = np.asarray(members_KM, dtype=np.float64)
        return Prediction(members.mean(axis=0), np.sqrt(members.var(axis=0) + self.variance))
