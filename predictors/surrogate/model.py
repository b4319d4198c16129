"""What every surrogate promises beyond `nas.core.protocols.Predictor`, and the checks they share.

Legend: N rows, F features.
"""

from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np

from nas.core.errors import InputError
from nas.core.protocols import Predictor
from nas.core.types import FloatArray

_CONSTANT = 1e-12  # of a column's largest number: spread below it is rounding


class Surrogate(Predictor, Protocol):
    """A predictor that says how many labels it needs; its factory takes ``seed``.

    Fewer labels than features are no error: every model here has a penalty, a prior or trees that
    look at one feature at a time. Equal seeds and data give equal predictions.
    """

    @property
    def least_rows(self) -> int:
        """Labels below which `fit` raises."""


class SurrogateFactory(Protocol):
    """Makes an unfitted surrogate."""

    def __call__(self, *, seed: int) -> Surrogate: ...


@dataclass(frozen=True, slots=True)
class Standardiser:
    """Columns to mean 0 and standard deviation 1; constant ones to 0."""

    mean: FloatArray
    scale: FloatArray

    @classmethod
    def of(cls, values: FloatArray) -> Self:
        """Takes mean and spread of each column of values, (N, F) or (N,)."""
        spread = values.std(axis=0)
        varied = spread > _CONSTANT * np.abs(values).max(axis=0)
        return cls(values.mean(axis=0), np.where(varied, spread, 1.0))

    def __call__(self, values: FloatArray) -> FloatArray:
        """Returns the standardised values."""
        return np.asarray((values - self.mean) / self.scale)


def check_training(x: FloatArray, y: FloatArray, *, least: int, why: str) -> None:
    """Checks features (N, F) and labels (N,) before a fit.

    Args:
        x: Features.
        y: Labels.
        least: Fewest labels that make sense.
        why: Reason for that number, as it ends "needs at least 3 labels".

    Raises:
        InputError: Shapes that do not fit, too few labels, constant labels, or a number that is
            not finite.
    """
    if x.ndim != 2 or not x.shape[1] or y.shape != x.shape[:1]:
        raise InputError(f"features (N, F) with F ≥ 1 and labels (N,) do not have the shapes "
                         f"{x.shape} and {y.shape}")
    if len(y) < least:
        raise InputError(f"needs at least {least} labels {why}, not {len(y)}; evaluate more "
                         "architectures")
    _check_finite(x)
    wrong = np.flatnonzero(~np.isfinite(y))
    if wrong.size:
        raise InputError(f"label {wrong[0]} is {y[wrong[0]]}; evaluate that architecture again or "
                         "leave it out")
    if np.ptp(y) == 0:
        raise InputError(f"all {len(y)} labels are {y[0]:g}, so there is nothing to learn; "
                         "evaluate architectures that differ")


def check_features(x: FloatArray, columns: int | None) -> None:
    """Checks features (M, F) before a prediction.

    Args:
        x: Features.
        columns: F of the fit, or None if there was none.

    Raises:
        InputError: No fit, another number of features, no row, or a number that is not finite.
    """
    if columns is None:
        raise InputError("nothing has been learnt yet; call fit before predict")
    if x.ndim != 2 or x.shape[1] != columns or not len(x):
        raise InputError(f"learnt from {columns} features, so predict takes (M, {columns}) with "
                         f"M ≥ 1, not {x.shape}; encode both alike")
    _check_finite(x)


def _check_finite(x: FloatArray) -> None:
    wrong = np.argwhere(~np.isfinite(x))
    if len(wrong):
        row, column = wrong[0]
        raise InputError(f"feature {column} of row {row} is {x[row, column]}; leave that "
                         "architecture or that feature out")
