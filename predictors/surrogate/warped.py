"""Labels on a scale on which they are nearly normal."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import boxcox1p, inv_boxcox1p
from scipy.stats import yeojohnson_llf

from nas.core.protocols import Prediction
from nas.core.types import FloatArray
from predictors.surrogate.model import Standardiser, Surrogate, check_training

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(15)


@dataclass(frozen=True, slots=True)
class Warp:
    """The Yeo-Johnson map (Yeo and Johnson 2000) of standardised labels, standardised again.

    Attributes:
        power: λ, of maximum likelihood in 0 … 2: there, and only there, every real number has an
            original. 1 changes nothing, 2 is −log(1 − y) below the mean, 0 log(1 + y) above it.
        before: Standardises labels.
        after: Standardises mapped labels.
    """

    power: float
    before: Standardiser
    after: Standardiser

    @classmethod
    def of(cls, y: FloatArray) -> Self:
        """Takes the map that makes labels (N,) most nearly normal."""
        before = Standardiser.of(y)
        standard = before(y)
        found = minimize_scalar(lambda power: -yeojohnson_llf(power, standard), bounds=(0.0, 2.0),
                                method="bounded")
        power = float(found.x)
        return cls(power, before, Standardiser.of(_mapped(standard, power)))

    def __call__(self, y: FloatArray) -> FloatArray:
        """Returns the mapped labels."""
        return self.after(_mapped(self.before(y), self.power))

    def inverse(self, warped: FloatArray) -> FloatArray:
        """Returns the labels of mapped ones."""
        mapped = self.after.mean + self.after.scale * warped
        original = np.where(mapped >= 0, inv_boxcox1p(np.maximum(mapped, 0.0), self.power),
                            -inv_boxcox1p(np.maximum(-mapped, 0.0), 2.0 - self.power))
        return np.asarray(self.before.mean + self.before.scale * original)


class Warped:
    """Another surrogate on warped labels; its normal prediction is mapped back.

    Accuracies have a long tail of bad networks that would rule any squared error. Mean and
    standard deviation are those of the mapped-back normal distribution, by Gauss-Hermite
    quadrature.

    Args:
        base: The surrogate; it must not be fitted by anyone else.
    """

    def __init__(self, base: Surrogate) -> None:
        self._base = base
        self._warp: Warp | None = None

    @property
    def least_rows(self) -> int:
        """As of the surrogate itself."""
        return self._base.least_rows

    def fit(self, x: FloatArray, y: FloatArray) -> None:
        """See `nas.core.protocols.Predictor`."""
        check_training(x, y, least=self.least_rows, why="for its base model")
        warp = Warp.of(y)
        self._base.fit(x, warp(y))
        self._warp = warp

    def predict(self, x: FloatArray) -> Prediction:
        """See `nas.core.protocols.Predictor`."""
        found = self._base.predict(x)
        assert self._warp is not None
        values = self._warp.inverse(found.mean[:, None] + found.std[:, None] * _NODES)
        weights = _WEIGHTS / _WEIGHTS.sum()
        mean = values @ weights
        return Prediction(mean, np.sqrt((values - mean[:, None]) ** 2 @ weights))


def _mapped(y: FloatArray, power: float) -> FloatArray:
    return np.asarray(np.where(y >= 0, boxcox1p(np.maximum(y, 0.0), power),
                               -boxcox1p(np.maximum(-y, 0.0), 2.0 - power)))
