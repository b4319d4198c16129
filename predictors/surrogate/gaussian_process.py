"""Gaussian process regression."""

import warnings
from typing import Any

import numpy as np

from nas.core.protocols import Prediction
from nas.core.types import FloatArray
from predictors.surrogate.model import Standardiser, check_features, check_training

_RESTARTS = 2  # of the optimiser, besides the first start


class GaussianProcess:
    """A Gaussian process with a Matérn kernel and white noise (Rasmussen and Williams 2006, §2).

    Features and labels are standardised; amplitude, one length scale and noise maximise the
    marginal likelihood. The standard deviation is that of a new label, noise included. A fit
    takes time N³.

    Args:
        seed: Where the optimiser restarts.
        smoothness: ν of the kernel, 0.5, 1.5 or 2.5. The default is rough, because features of
            architectures are mostly steps.
    """

    least_rows = 4

    def __init__(self, *, seed: int, smoothness: float = 0.5) -> None:
        self._seed = seed
        self._smoothness = smoothness
        self._fitted: tuple[Standardiser, Standardiser, Any] | None = None

    def fit(self, x: FloatArray, y: FloatArray) -> None:
        """See `nas.core.protocols.Predictor`."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor

        check_training(x, y, least=self.least_rows,
                       why="for an amplitude, a length scale and the noise")
        inputs, target = Standardiser.of(x), Standardiser.of(y)
        model = GaussianProcessRegressor(
            self._kernel(x.shape[1]), n_restarts_optimizer=_RESTARTS,
            random_state=np.random.RandomState(np.random.MT19937(self._seed)))
        with warnings.catch_warnings():
            # A parameter at its bound is an answer: no noise, or nothing but noise.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(inputs(x), target(y))
        self._fitted = inputs, target, model

    def predict(self, x: FloatArray) -> Prediction:
        """See `nas.core.protocols.Predictor`."""
        check_features(x, self._fitted[0].mean.shape[0] if self._fitted else None)
        assert self._fitted is not None
        inputs, target, model = self._fitted
        mean, std = model.predict(inputs(x), return_std=True)
        return Prediction(np.asarray(target.mean + target.scale * mean),
                          np.asarray(target.scale * std))

    def _kernel(self, columns: int) -> Any:
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

        typical = float(np.sqrt(columns))  # distances of standardised features grow like this
        return (ConstantKernel(1.0, (1e-2, 1e3))
                * Matern(typical, (0.05 * typical, 100.0 * typical), nu=self._smoothness)
                + WhiteKernel(0.1, (1e-5, 3.0)))
