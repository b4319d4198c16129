"""The surrogate that cross-validation prefers, with calibrated standard deviations.

Legend: N labels, F features, M rows to predict.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import kendalltau

from nas.core.errors import InputError
from nas.core.protocols import Prediction
from nas.core.types import FloatArray, IntArray
from predictors.surrogate.calibration import held_out_coverage, interval_scale
from predictors.surrogate.ensemble import assign_folds
from predictors.surrogate.model import Surrogate, SurrogateFactory, check_features, check_training
from predictors.surrogate.registry import SURROGATES
from predictors.surrogate.warped import Warped

DEFAULT = ("ridge", "gaussian_process", "boosting", "forest")

_FOLDS = 5
_LEAVE_ONE_OUT = 20  # labels below which each is a fold of its own


@dataclass(frozen=True, slots=True)
class CandidateReport:
    """What cross-validation found of one model.

    Attributes:
        tau: Kendall's τ-b of predictions of held-out labels; 0 if they are all equal.
        coverage90: Share of held-out labels in the calibrated 90 % interval, where each fold's
            calibration comes from the others.
        scale: The calibration: factor on the model's own standard deviation.
    """

    tau: float
    coverage90: float
    scale: float


class AutoSurrogate:
    """Chooses among surrogates by cross-validated Kendall τ and calibrates the winner.

    Five folds, and leaving one out of fewer than 20 labels. All models learn from labels on a
    scale on which they are nearly normal (`predictors.surrogate.warped`). A model that needs more
    labels than a fold leaves is not tried. Of equal τ the first in order wins.

    Args:
        seed: Of folds and models.
        candidates: Name → factory; the models of `DEFAULT` if None. The perceptrons are not among
            them, because they were never the best in any setting measured.

    Attributes:
        report: By name, of each model tried in the last fit.
        chosen: The name that the last fit chose; empty before.
    """

    def __init__(self, *, seed: int, candidates: Mapping[str, SurrogateFactory] | None = None
                 ) -> None:
        if candidates is not None and not candidates:
            raise InputError("an automatic surrogate needs at least one candidate")
        self._seed = seed
        self._candidates = candidates or {name: SURROGATES.get(name).resolve() for name in DEFAULT}
        self._columns: int | None = None
        self._model: Surrogate | None = None
        self.report: Mapping[str, CandidateReport] = {}
        self.chosen = ""

    @property
    def least_rows(self) -> int:
        """One more than the least demanding candidate needs."""
        return 1 + min(make(seed=self._seed).least_rows for make in self._candidates.values())

    def fit(self, x: FloatArray, y: FloatArray) -> None:
        """See `nas.core.protocols.Predictor`."""
        check_training(x, y, least=self.least_rows, why="to hold one out and learn from the rest")
        fold = _folds(len(y), self._seed)
        fewest = len(y) - int(np.bincount(fold).max())
        makers = {name: self._maker(make) for name, make in self._candidates.items()}
        fitting = {name: make for name, make in makers.items() if make().least_rows <= fewest}
        report = {name: _judged(held_out(make, x, y, fold), y, fold)
                  for name, make in fitting.items()}
        chosen = max(report, key=lambda name: report[name].tau)
        model = makers[chosen]()
        model.fit(x, y)
        self._model, self._columns, self.report, self.chosen = model, x.shape[1], report, chosen

    def predict(self, x: FloatArray) -> Prediction:
        """See `nas.core.protocols.Predictor`."""
        check_features(x, self._columns)
        assert self._model is not None
        found = self._model.predict(x)
        return Prediction(found.mean, found.std * self.report[self.chosen].scale)

    def _maker(self, make: SurrogateFactory) -> Callable[[], Surrogate]:
        return lambda: Warped(make(seed=self._seed))


def held_out(make: Callable[[], Surrogate], x: FloatArray, y: FloatArray, fold: IntArray
             ) -> Prediction:
    """Returns what models that had not seen them predict of the labels, (N,).

    Where all labels outside a fold are equal, they are the prediction, with the spread of all
    labels: there is nothing to fit.
    """
    mean, std = np.empty(len(y)), np.full(len(y), y.std())
    for k in range(int(fold.max()) + 1):
        rest = fold != k
        if np.ptp(y[rest]) == 0:
            mean[~rest] = y[rest][0]
            continue
        model = make()
        model.fit(x[rest], y[rest])
        found = model.predict(x[~rest])
        mean[~rest], std[~rest] = found.mean, found.std
    return Prediction(mean, std)


def _folds(count: int, seed: int) -> IntArray:
    folds = count if count < _LEAVE_ONE_OUT else _FOLDS
    return assign_folds(count, folds, np.random.default_rng(seed))


def _judged(found: Prediction, y: FloatArray, fold: IntArray) -> CandidateReport:
    tau = 0.0 if np.ptp(found.mean) == 0 else float(kendalltau(found.mean, y).statistic)
    return CandidateReport(tau, held_out_coverage(found, y, fold), interval_scale(found, y))
