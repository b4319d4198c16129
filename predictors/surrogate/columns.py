"""Scores of any unit and sign of skew as columns that a model can learn from.

Legend: N rows, P columns, M rows of reference.
"""

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from scipy.special import ndtri

from nas.core.errors import InputError
from nas.core.types import FloatArray

Scale = Literal["rank", "robust"]

_MAD_TO_STD = 1.4826  # of a normal distribution


@dataclass(frozen=True, slots=True)
class RankColumns:
    """Each column as the normal score of its rank among a reference's (van der Waerden).

    Rank r of M, ties shared, becomes Φ⁻¹(r / (M + 1)). Only order matters, so a monotone map of a
    column changes nothing.

    Attributes:
        ordered: The reference, each column sorted, (M, P).
    """

    ordered: FloatArray

    @classmethod
    def of(cls, reference: FloatArray) -> Self:
        """Takes the reference (M, P).

        Raises:
            InputError: A number that is not finite, or no row.
        """
        return cls(np.sort(_checked(reference), axis=0))

    def __call__(self, values: FloatArray) -> FloatArray:
        """Returns the normal scores of values (N, P)."""
        shares = self.shares(values)
        return np.asarray(ndtri(shares))

    def shares(self, values: FloatArray) -> FloatArray:
        """Returns r / (M + 1) of each value, (N, P), between 0 and 1.

        A value outside the reference ranks half a place beyond its end.
        """
        columns = []
        for ordered, column in zip(self.ordered.T, _checked(values).T, strict=True):
            below = np.searchsorted(ordered, column, side="left")
            upto = np.searchsorted(ordered, column, side="right")
            columns.append(((below + upto + 1) / 2) / (len(ordered) + 1))
        return np.stack(columns, axis=1)


@dataclass(frozen=True, slots=True)
class RobustColumns:
    """Each column less the median of a reference, in units of its spread.

    The spread is 1.4826 times the median absolute deviation, and the standard deviation where
    more than half of the reference is one value.

    Attributes:
        centre: (P,).
        spread: (P,), positive.
    """

    centre: FloatArray
    spread: FloatArray

    @classmethod
    def of(cls, reference: FloatArray) -> Self:
        """Takes the reference (M, P).

        Raises:
            InputError: A number that is not finite, no row, or a constant column.
        """
        _checked(reference)
        constant = np.flatnonzero(np.ptp(reference, axis=0) == 0)
        if constant.size:
            raise InputError(f"score column {constant[0]} is constant, so it has no spread; "
                             "leave it out")
        centre = np.median(reference, axis=0)
        spread = _MAD_TO_STD * np.median(np.abs(reference - centre), axis=0)
        return cls(centre, np.where(spread > 0, spread, reference.std(axis=0)))

    def __call__(self, values: FloatArray) -> FloatArray:
        """Returns the standardised values (N, P)."""
        return np.asarray((_checked(values) - self.centre) / self.spread)


def columns_of(reference: FloatArray, scale: Scale) -> RankColumns | RobustColumns:
    """Returns the columns' scale by its name."""
    return RankColumns.of(reference) if scale == "rank" else RobustColumns.of(reference)


def _checked(values: FloatArray) -> FloatArray:
    if values.ndim != 2 or not len(values):
        raise InputError(f"scores have shape (N, P) with N ≥ 1, not {values.shape}")
    wrong = np.argwhere(~np.isfinite(values))
    if len(wrong):
        row, column = wrong[0]
        raise InputError(f"score column {column} of row {row} is {values[row, column]}; leave that "
                         "architecture out or score it again")
    return values
