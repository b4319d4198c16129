"""Standard deviations that keep their promise, from predictions of labels held out.

Legend: N labels.
"""

import numpy as np

from nas.core.errors import InputError
from nas.core.protocols import Prediction
from nas.core.types import FloatArray, IntArray

COVERAGE = 0.90
Z = 1.6448536269514722  # of a normal distribution, 90 % lies within ± Z standard deviations


def interval_scale(held_out: Prediction, y: FloatArray) -> float:
    """Returns the factor on the standard deviations by which mean ± Z·std holds 90 % of labels.

    Split conformal prediction with normalised residuals (Lei et al. 2018, §5.2): the
    ⌈0.9·(N + 1)⌉-th smallest of |y − mean| / (Z·std); of fewer than 9 labels the largest, which
    promises less.

    Raises:
        InputError: A standard deviation that is not positive.
    """
    if not (held_out.std > 0).all():
        raise InputError("a predicted standard deviation is not positive, so it cannot be scaled; "
                         "leave that surrogate out")
    ratios = np.sort(np.abs(y - held_out.mean) / (Z * held_out.std))
    place = int(np.ceil(COVERAGE * (len(y) + 1)))
    return float(ratios[min(place, len(y)) - 1])


def coverage(prediction: Prediction, y: FloatArray, scale: FloatArray | float = 1.0) -> float:
    """Returns which share of labels lies in mean ± Z·scale·std."""
    return float((np.abs(y - prediction.mean) <= Z * scale * prediction.std).mean())


def held_out_coverage(held_out: Prediction, y: FloatArray, fold: IntArray) -> float:
    """Returns the share covered where each fold's scale comes from the other folds."""
    scale = np.empty(len(y))
    for k in range(int(fold.max()) + 1):
        rest = fold != k
        scale[~rest] = interval_scale(
            Prediction(held_out.mean[rest], held_out.std[rest]), y[rest])
    return coverage(held_out, y, scale)
