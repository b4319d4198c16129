"""Linear regression whose penalty is learnt."""

from typing import Any

import numpy as np

from nas.core.protocols import Prediction
from nas.core.types import FloatArray
from predictors.surrogate.model import Standardiser, check_features, check_training


class Ridge:
    """Bayesian ridge regression (MacKay 1992; Tipping 2001) on standardised features.

    Noise and penalty maximise the marginal likelihood. The standard deviation is that of a new
    label: noise and the uncertainty of the coefficients.

    Args:
        seed: As every surrogate takes; nothing is drawn.
    """

    least_rows = 3

    def __init__(self, *, seed: int) -> None:
        del seed
        self._fitted: tuple[Standardiser, Standardiser, Any] | None = None

    def fit(self, x: FloatArray, y: FloatArray) -> None:
        """See `nas.core.protocols.Predictor`."""
        from sklearn.linear_model import BayesianRidge  # a second to import

        check_training(x, y, least=self.least_rows, why="for a level, a slope and the noise")
        inputs, target = Standardiser.of(x), Standardiser.of(y)
        self._fitted = inputs, target, BayesianRidge(fit_intercept=False).fit(inputs(x), target(y))

    def predict(self, x: FloatArray) -> Prediction:
        """See `nas.core.protocols.Predictor`."""
        check_features(x, self._fitted[0].mean.shape[0] if self._fitted else None)
        assert self._fitted is not None
        inputs, target, model = self._fitted
        mean, std = model.predict(inputs(x), return_std=True)
        return Prediction(np.asarray(target.mean + target.scale * mean),
                          np.asarray(target.scale * std))
