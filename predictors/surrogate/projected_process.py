"""A Gaussian process that sees features as they are, and projected on what the labels follow.

Legend: N labels, F features, M rows to predict, C components.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.linalg.lapack import dpotri
from scipy.optimize import minimize

from nas.core.protocols import Prediction
from nas.core.types import BoolArray, FloatArray
from predictors.surrogate.model import Standardiser, check_features, check_training

_COMPONENTS = 3
_JITTER = 1e-8
_LEAST_VARIANCE = 1e-10
_STEPS = 40  # of the optimiser; it is near its end after twenty

# Of the logarithms of: amplitude and length scale of the projection, of numbers, of yes and no;
# noise. What is only said with yes and no, such as a one-hot code, is expected to matter least.
_PRIOR_MEAN = np.array([0.0, 0.7, -1.0, 0.0, -2.0, 0.0, -3.0])
_PRIOR_STD = np.array([1.5, 0.7, 1.5, 1.0, 1.5, 1.0, 1.5])
_BOUNDS = [(-5.0, 4.0), (-2.0, 4.0), *2 * [(-9.0, 4.0), (-3.0, 6.0)], (-9.0, 1.0)]


@dataclass(frozen=True, slots=True)
class _Views:
    projection: FloatArray  # (F, C)
    binary: BoolArray  # (F,)

    def __call__(self, x: FloatArray) -> tuple[FloatArray, ...]:
        # One per kernel: x projected, its numbers, its yes and no; (N, columns) each.
        return x @ self.projection, x[:, ~self.binary], x[:, self.binary]


@dataclass(frozen=True, slots=True)
class _Fit:
    inputs: Standardiser
    target: Standardiser
    views: _Views
    seen: tuple[FloatArray, ...]  # the views of what was learnt from
    parameters: FloatArray
    factor: FloatArray  # lower Cholesky factor of the labels' covariance
    weights: FloatArray  # the covariance's inverse times the labels


class ProjectedProcess:
    """Gaussian process regression whose kernel is the sum of three, and white noise.

    One Matérn kernel (ν = 5/2) is on the first components of partial least squares (Wold 1975),
    as in KPLS (Bouhlel et al. 2016, section 3): with a few dozen labels and more features than
    labels, one length scale for all features drowns those that matter, and one for each cannot be
    learnt. The others (ν = 3/2) take up what the components leave: one is on the features that are
    numbers, one on those that are 0 or 1 in all that was learnt from. A one-hot code has so many of
    the latter that distances between descriptions would be lost among them.

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
        check_training(x, y, least=self.least_rows, why="for the amplitudes and the noise")
        inputs, target = Standardiser.of(x), Standardiser.of(y)
        standard, labels = inputs(x), target(y)
        views = _Views(_components(standard, labels),
                       np.asarray(np.isin(x, (0.0, 1.0)).all(axis=0)))
        seen = views(standard)
        apart = [_distances(view, view) for view in seen]
        found = minimize(_loss, _PRIOR_MEAN, args=(apart, labels), method="L-BFGS-B",
                         jac=True, bounds=_BOUNDS, options={"maxiter": _STEPS})
        covariance = _kernel(found.x, apart) + _noise(found.x) * np.eye(len(y))
        factor = np.asarray(np.linalg.cholesky(covariance))
        self._fit = _Fit(inputs, target, views, seen, found.x, factor,
                         cho_solve((factor, True), labels))

    def predict(self, x: FloatArray) -> Prediction:
        """See `nas.core.protocols.Predictor`."""
        check_features(x, len(self._fit.views.binary) if self._fit else None)
        assert self._fit is not None
        fit = self._fit
        views = fit.views(fit.inputs(x))
        shared = _kernel(fit.parameters, [_distances(view, seen)
                                          for view, seen in zip(views, fit.seen, strict=True)])
        explained = (solve_triangular(fit.factor, shared.T, lower=True) ** 2).sum(axis=0)
        prior = np.exp(fit.parameters[:-1:2]).sum()
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
    # Per column, so that length scales mean the same for any number of features; 0 without any.
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2.0 * a @ b.T
    return np.asarray(np.sqrt(np.maximum(squares, 0.0) / max(a.shape[1], 1)))


def _kernel(parameters: FloatArray, apart: Sequence[FloatArray]) -> FloatArray:
    # From the distances in each view.
    scales = np.exp(parameters)
    a = np.sqrt(5.0) / scales[1] * apart[0]
    total = scales[0] * np.exp(-a) * (1.0 + a + a**2 / 3.0)
    for place in (1, 2):
        b = np.sqrt(3.0) / scales[2 * place + 1] * apart[place]
        total += scales[2 * place] * np.exp(-b) * (1.0 + b)
    return np.asarray(total)


def _parts(parameters: FloatArray, apart: Sequence[FloatArray]
           ) -> Iterator[tuple[FloatArray, FloatArray]]:
    # Each kernel, and its derivative with respect to the logarithm of its length scale.
    scales = np.exp(parameters)
    a = np.sqrt(5.0) / scales[1] * apart[0]
    decay = scales[0] * np.exp(-a)
    yield decay * (1.0 + a + a**2 / 3.0), decay * (1.0 + a) * a**2 / 3.0
    for place in (1, 2):
        b = np.sqrt(3.0) / scales[2 * place + 1] * apart[place]
        decay = scales[2 * place] * np.exp(-b)
        yield decay * (1.0 + b), decay * b**2


def _inverse(factor: FloatArray) -> FloatArray:
    # From the lower Cholesky factor, a third of the work of solving for the identity.
    lower, _ = dpotri(factor, lower=True)
    lower = np.tril(lower)
    return np.asarray(lower + lower.T - np.diag(np.diag(lower)))


def _noise(parameters: FloatArray) -> float:
    return float(np.exp(parameters[-1])) + _JITTER


def _loss(parameters: FloatArray, apart: Sequence[FloatArray], y: FloatArray
          ) -> tuple[float, FloatArray]:
    # And its gradient (Rasmussen and Williams 2006, equation 5.9).
    parts = list(_parts(parameters, apart))
    covariance = sum(part for part, _ in parts) + _noise(parameters) * np.eye(len(y))
    # The noise keeps it positive definite: ≥ e⁻⁹ against amplitudes ≤ e⁴.
    factor = cho_factor(covariance, lower=True)
    weights = cho_solve(factor, y)
    pull = _inverse(factor[0]) - np.outer(weights, weights)
    slopes = [0.5 * np.vdot(pull, one) for part in parts for one in part]
    noise = 0.5 * np.exp(parameters[-1]) * np.trace(pull)
    away = (parameters - _PRIOR_MEAN) / _PRIOR_STD
    value = 0.5 * y @ weights + np.log(np.diag(factor[0])).sum() + 0.5 * away @ away
    return float(value), np.array([*slopes, noise]) + away / _PRIOR_STD
