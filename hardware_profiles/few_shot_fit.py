"""Linear latency models from a handful of whole networks, chosen by cross-validation.

A handful cannot hold networks back, so every choice (which features, how strong a penalty) is
made by leaving one network out, and the error that is stated comes from an outer loop around
that whole procedure: each network is predicted by a model that was chosen and fitted without it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student_t

from nas.core.errors import ProfileError
from nas.core.types import FloatArray

COVERAGE = 0.90  # of the interval
PENALTIES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)  # on coefficients of columns scaled to mean 1


@dataclass(frozen=True, kw_only=True, slots=True)
class FewShotFit:
    """A fitted model and its cross-validated predictions.

    Attributes:
        features: Name of the set of features that was chosen.
        penalty: The ridge penalty that was chosen.
        coefficients: One a column of that set, (F,), in ms a unit.
        predicted_ms: Of each network by models that had not seen it, (N,).
    """

    features: str
    penalty: float
    coefficients: FloatArray
    predicted_ms: FloatArray


def fit_few_shot(candidates: Mapping[str, FloatArray], latency_ms: FloatArray) -> FewShotFit:
    """Chooses among sets of features and penalties, fits, and cross-validates all of it.

    The error that counts is relative: Σ(features·k / latency − 1)² plus the penalty.

    Args:
        candidates: Name → the networks' features, (N, F).
        latency_ms: Measured, (N,).

    Raises:
        ProfileError: A latency that is no positive number, all the same latency, or a
            cross-validated prediction that is not positive.
    """
    _check(latency_ms)
    features, penalty = _choose(candidates, latency_ms)
    predicted = np.empty(len(latency_ms))
    for left_out in range(len(latency_ms)):
        rest = np.arange(len(latency_ms)) != left_out
        seen = {name: matrix[rest] for name, matrix in candidates.items()}
        name, strength = _choose(seen, latency_ms[rest])
        fit = _ridge(seen[name], latency_ms[rest], strength)
        predicted[left_out] = candidates[name][left_out] @ fit
    if predicted.min() <= 0:
        raise ProfileError("left out and predicted from the others, a network gets a latency that "
                           "is not positive; measure more networks")
    return FewShotFit(features=features, penalty=penalty, predicted_ms=predicted,
                      coefficients=_ridge(candidates[features], latency_ms, penalty))


def ratio_interval(predicted_ms: FloatArray, measured_ms: FloatArray) -> tuple[float, float]:
    """Returns the bounds of measured / predicted that hold `COVERAGE` of new networks.

    The wider, at each end, of two prediction intervals over the logarithm of the ratios:
    Student's t, which is right for normal errors, and the order statistics that hold the share of
    new networks whatever the errors look like; of fewer than 19 networks, the smallest and the
    largest ratio.
    """
    logs = np.sort(np.log(measured_ms / predicted_ms))
    count, tail = len(logs), (1.0 - COVERAGE) / 2
    half = student_t.ppf(1.0 - tail, count - 1) * logs.std(ddof=1) * np.sqrt(1.0 + 1.0 / count)
    rank = max(1, int(tail * (count + 1)))
    return (float(np.exp(min(logs.mean() - half, logs[rank - 1]))),
            float(np.exp(max(logs.mean() + half, logs[-rank]))))


def independent_columns(features: FloatArray) -> int:
    """Returns how many columns say something of their own."""
    scale = np.abs(features).max(axis=0)
    return int(np.linalg.matrix_rank(features[:, scale > 0] / scale[scale > 0], tol=1e-6))


def _check(latency_ms: FloatArray) -> None:
    wrong = np.flatnonzero(~(np.isfinite(latency_ms) & (latency_ms > 0)))
    if wrong.size:
        raise ProfileError(f"network {wrong[0]} was measured as {latency_ms[wrong[0]]} ms, which "
                           "is no latency; measure again")
    if np.ptp(latency_ms) == 0:
        raise ProfileError(f"all {len(latency_ms)} networks were measured as {latency_ms[0]:g} ms, "
                           "so there is nothing to fit; look at the clock that measured them")


def _choose(candidates: Mapping[str, FloatArray], latency_ms: FloatArray) -> tuple[str, float]:
    # Smallest mean absolute relative error of leaving one out; the first on a tie.
    errors = {(name, penalty): np.abs(_left_out_errors(matrix, latency_ms, penalty)).mean()
              for name, matrix in candidates.items() for penalty in PENALTIES}
    return min(errors, key=lambda key: errors[key])


def _ridge(features: FloatArray, latency_ms: FloatArray, penalty: float) -> FloatArray:
    scaled, scale = _scaled(features, latency_ms)
    return np.asarray(_inverse(scaled, penalty) @ scaled.sum(axis=0) / scale)


def _left_out_errors(features: FloatArray, latency_ms: FloatArray, penalty: float) -> FloatArray:
    # With hat matrix H, leaving row i out changes its residual r_i to r_i / (1 − H_ii).
    scaled, _ = _scaled(features, latency_ms)
    hat = scaled @ _inverse(scaled, penalty) @ scaled.T
    return np.asarray((1.0 - hat.sum(axis=1)) / np.maximum(1.0 - np.diag(hat), 1e-9))


def _scaled(features: FloatArray, latency_ms: FloatArray) -> tuple[FloatArray, FloatArray]:
    weighted = features / latency_ms[:, None]
    scale = np.abs(weighted).mean(axis=0)
    scale[scale == 0] = 1.0
    return weighted / scale, scale


def _inverse(scaled: FloatArray, penalty: float) -> FloatArray:
    moment = scaled.T @ scaled + penalty * len(scaled) * np.eye(scaled.shape[1])
    return np.asarray(np.linalg.inv(moment))
