"""Which of several models to trust, from their predictions of labels held out.

Legend: N labels.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import kendalltau

from nas.core.protocols import Prediction
from nas.core.types import FloatArray

MEAN = "mean"


def combined(predictions: Sequence[Prediction]) -> Prediction:
    """Returns mean and standard deviation of the equal mixture of several predictions."""
    means = np.stack([found.mean for found in predictions])
    variances = np.stack([found.std**2 for found in predictions])
    return Prediction(means.mean(axis=0), np.sqrt(variances.mean(axis=0) + means.var(axis=0)))


def tau(predicted: FloatArray, y: FloatArray) -> float:
    """Returns Kendall's τ-b; 0 where one side is constant, for then nothing is ranked."""
    if np.ptp(predicted) == 0 or np.ptp(y) == 0:
        return 0.0
    return float(kendalltau(predicted, y).statistic)


def preferred(held_out: Mapping[str, Prediction], y: FloatArray) -> str:
    """Returns the model with the largest τ, or `MEAN` unless that model is clearly better.

    Clearly means by more than one standard error of the difference of both τ, by the jackknife
    (Arvesen 1969). With a few dozen labels τ is so uncertain that the largest belongs to a lucky
    model as often as to a good one, while a mean of all is never bad. Of equal τ the first wins.

    Args:
        held_out: Predictions of all labels by models that had not seen them, (N,); with `MEAN`
            where there is a choice.
        y: The labels.
    """
    single = [name for name in held_out if name != MEAN]
    best = max(single, key=lambda name: tau(held_out[name].mean, y))
    if MEAN not in held_out:
        return best
    return best if clearly_better(held_out[best], held_out[MEAN], y) else MEAN


def clearly_better(one: Prediction, other: Prediction, y: FloatArray, *,
                   errors: float = 1.0) -> bool:
    """Returns whether one ranks labels better by so many standard errors of the difference.

    The standard error is that of the jackknife over labels (Arvesen 1969).
    """
    gain = tau(one.mean, y) - tau(other.mean, y)
    if gain <= 0:
        return False
    kept = ~np.eye(len(y), dtype=np.bool_)
    gains = np.array([tau(one.mean[rows], y[rows]) - tau(other.mean[rows], y[rows])
                      for rows in kept])
    return bool(gain > errors * np.sqrt((len(y) - 1) * gains.var()))
