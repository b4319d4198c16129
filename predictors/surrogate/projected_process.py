"""A Gaussian process that sees features as they are, and projected on what the labels follow.

Legend: N labels, F features, M rows to predict, C components.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve, solve_triangular
from scipy.optimize import minimize

from nas.core.protocols import Prediction
from nas.core.types import FloatArray
from predictors.surrogate.model import Standardiser, check_features, check_training

_COMPONENTS = 3
_JITTER = 1e-8
_LEAST_VARIANCE = 1e-10
_STEPS = 40  # of the optimiser; it is near its end after twenty

# Of the logarithms of: amplitude and length scale of the projected part, of the other part, noise.
_PRIOR_MEAN = np.array([0.0, 0.7, -1.0, 0.0, -3.0])
_PRIOR_STD = np.array([1.5, 0.7, 1.5, 1.0, 1.5])
_BOUNDS = [(-5.0, 4.0), (-2.0, 4.0), (-9.0, 4.0), (-3.0, 4.0), (-9.0, 1.0)]


@dataclass(frozen=True, slots=True)
class _Fit:
    inputs: Standardiser
    target: Standardiser
    projection: FloatArray  # (F, C)
    x: FloatArray  # standardised
    z: FloatArray  # projected
    parameters: FloatArray
    factor: FloatArray  # lower Cholesky factor of the labels' covariance
    weights: FloatArray  # the covariance's inverse times the labels


class ProjectedProcess:
    """Gaussian process regression whose kernel is the sum of two, and white noise.

    One Matérn kernel (ν = 5/2) is on the first components of partial least squares (Wold 1975),
    as in KPLS (Bouhlel et al. 2016, section 3): with a few dozen labels and more features than
    labels, one length scale for all features drowns those that matter, and one for each cannot be
    learnt. The other (ν = 3/2) is on all features and takes up what the components leave.

    Features and labels are standardised. Amplitudes, length scales and noise maximise the
    posterior under weak log-normal priors; the marginal likelihood alone has no maximum inside
    with a dozen labels. A fit takes time N³.

    Args:
        seed: As every surrogate takes it; nothing here is random.
        noise: Whether the standard deviation is that of a new label, or that of the function
            behind the labels: a search has nothing to gain from luck.
    """

    least_rows = 4

    def __init__(self, *, seed: int, noise: bool = True) -> None:
        del seed
        self._noise = noise
        self._fit: _Fit | None = None

    def fit(self, x: FloatArray, y: FloatArray) -> None:
        """See `nas.core.protocols.Predictor`."""
        check_training(x, y, least=self.least_rows, why="for two amplitudes and the noise")
        inputs, target = Standardiser.of(x), Standardiser.of(y)
        standard, labels = inputs(x), target(y)
        projection = _components(standard, labels)
        z = standard @ projection
        near, far = _distances(z, z), _distances(standard, standard)
        found = minimize(_loss, _PRIOR_MEAN, args=(near, far, labels), method="L-BFGS-B",
                         bounds=_BOUNDS, options={"maxiter": _STEPS})
        covariance = _kernel(found.x, near, far) + _noise(found.x) * np.eye(len(y))
        factor = np.asarray(np.linalg.cholesky(covariance))
        self._fit = _Fit(inputs, target, projection, standard, z, found.x, factor,
                         cho_solve((factor, True), labels))

    def predict(self, x: FloatArray) -> Prediction:
        """See `nas.core.protocols.Predictor`."""
        check_features(x, self._fit.x.shape[1] if self._fit else None)
        assert self._fit is not None
        fit = self._fit
        standard = fit.inputs(x)
        shared = _kernel(fit.parameters, _distances(standard @ fit.projection, fit.z),
                         _distances(standard, fit.x))
        explained = (solve_triangular(fit.factor, shared.T, lower=True) ** 2).sum(axis=0)
        prior = np.exp(fit.parameters[0]) + np.exp(fit.parameters[2])
        variance = np.maximum(prior - explained, _LEAST_VARIANCE)
        if self._noise:
            variance += _noise(fit.parameters)
        return Prediction(np.asarray(fit.target.mean + fit.target.scale * (shared @ fit.weights)),
                          np.asarray(fit.target.scale * np.sqrt(variance)))


def _components(x: FloatArray, y: FloatArray) -> FloatArray:
    # NIPALS for one label: rotations (F, C) that take x to components of unit variance.
    rest, left = x.copy(), y - y.mean()
    weights, loadings = [], []
    for _ in range(min(_COMPONENTS, len(y) - 1)):
        weight = rest.T @ left
        size = np.linalg.norm(weight)
        score = rest @ weight / size if size > 0 else np.zeros(len(y))
        power = score @ score
        if power < _LEAST_VARIANCE:
            break
        loading = rest.T @ score / power
        left = left - score * (left @ score) / power
        rest = rest - np.outer(score, loading)
        weights.append(weight / size)
        loadings.append(loading)
    if not weights:  # no feature follows the labels: all of them stay in the other part
        return np.zeros((x.shape[1], 1))
    w, p = np.array(weights).T, np.array(loadings).T
    rotation = w @ np.linalg.inv(p.T @ w)
    spread = (x @ rotation).std(axis=0)
    return np.asarray(rotation / np.where(spread > 0, spread, 1.0))


def _distances(a: FloatArray, b: FloatArray) -> FloatArray:
    # Per column, so that length scales mean the same for any number of features.
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2.0 * a @ b.T
    return np.asarray(np.sqrt(np.maximum(squares, 0.0) / a.shape[1]))


def _kernel(parameters: FloatArray, near: FloatArray, far: FloatArray) -> FloatArray:
    first, scale, second, other_scale, _ = np.exp(parameters)
    a, b = np.sqrt(5.0) * near / scale, np.sqrt(3.0) * far / other_scale
    return np.asarray(first * (1.0 + a + a**2 / 3.0) * np.exp(-a)
                      + second * (1.0 + b) * np.exp(-b))


def _noise(parameters: FloatArray) -> float:
    return float(np.exp(parameters[4])) + _JITTER


def _loss(parameters: FloatArray, near: FloatArray, far: FloatArray, y: FloatArray) -> float:
    covariance = _kernel(parameters, near, far) + _noise(parameters) * np.eye(len(y))
    # The noise keeps it positive definite: ≥ e⁻⁹ against amplitudes ≤ e⁴.
    factor = np.linalg.cholesky(covariance)
    white = solve_triangular(factor, y, lower=True)
    prior = (((parameters - _PRIOR_MEAN) / _PRIOR_STD) ** 2).sum()
    return float(0.5 * white @ white + np.log(np.diag(factor)).sum() + 0.5 * prior)
