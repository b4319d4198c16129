"""The surrogate that cross-validation prefers, with calibrated standard deviations.

Legend: N labels, F features, M rows to predict.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from nas.core.errors import InputError
from nas.core.protocols import Prediction
from nas.core.types import FloatArray, IntArray
from predictors.surrogate.calibration import held_out_coverage, interval_scale
from predictors.surrogate.choice import MEAN, combined, preferred, tau
from predictors.surrogate.ensemble import assign_folds
from predictors.surrogate.model import Surrogate, SurrogateFactory, check_features, check_training
from predictors.surrogate.registry import SURROGATES
from predictors.surrogate.warped import Warped

DEFAULT = ("ridge", "gaussian_process", "boosting", "forest")

_FOLDS = 5
_LEAVE_ONE_OUT = 10  # labels below which each is a fold of its own
_CHUNK = 16_384  # rows predicted at once: a Gaussian process holds M·N numbers


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
    """Chooses among surrogates and their mean by cross-validated Kendall τ, and calibrates.

    A single model is chosen where it is clearly better than the mean of all
    (`predictors.surrogate.choice.preferred`). Five folds, and leaving one out of fewer than 10
    labels. All models learn from labels on a scale on which they are nearly normal
    (`predictors.surrogate.warped`). A model that needs more labels than a fold leaves is not
    tried.

    Args:
        seed: Of folds and models.
        candidates: Name → factory; the models of `DEFAULT` if None. The perceptrons are not among
            them: they take longest to fit, and were seldom the best.

    Attributes:
        report: By name, of each model tried in the last fit, and of ``"mean"`` if several were.
        chosen: The name that the last fit chose; empty before.

    Raises:
        InputError: No candidates, or one that is called ``"mean"``.
    """

    def __init__(self, *, seed: int, candidates: Mapping[str, SurrogateFactory] | None = None
                 ) -> None:
        if candidates is not None and (not candidates or MEAN in candidates):
            raise InputError("an automatic surrogate needs at least one candidate, and none called "
                             f"{MEAN!r}")
        self._seed = seed
        self._candidates = candidates or {name: SURROGATES.get(name).resolve() for name in DEFAULT}
        self._columns: int | None = None
        self._models: list[Surrogate] = []
        self.report: Mapping[str, CandidateReport] = {}
        self.chosen = ""

    @property
    def least_rows(self) -> int:
        """One more than the least demanding candidate needs."""
        return 1 + min(self._made(name).least_rows for name in self._candidates)

    def fit(self, x: FloatArray, y: FloatArray) -> None:
        """See `nas.core.protocols.Predictor`."""
        check_training(x, y, least=self.least_rows, why="to hold one out and learn from the rest")
        fold = _folds(len(y), self._seed)
        fewest = len(y) - int(np.bincount(fold).max())
        fitting = [name for name in self._candidates if self._made(name).least_rows <= fewest]
        found = {name: held_out(partial(self._made, name), x, y, fold) for name in fitting}
        if len(fitting) > 1:
            found[MEAN] = combined(list(found.values()))
        chosen = preferred(found, y)
        models = [self._made(name) for name in (fitting if chosen == MEAN else [chosen])]
        for model in models:
            model.fit(x, y)
        self._models, self._columns, self.chosen = models, x.shape[1], chosen
        self.report = {name: CandidateReport(tau(each.mean, y), held_out_coverage(each, y, fold),
                                             interval_scale(each, y))
                       for name, each in found.items()}

    def predict(self, x: FloatArray) -> Prediction:
        """See `nas.core.protocols.Predictor`."""
        check_features(x, self._columns)
        found = [combined([model.predict(x[start:start + _CHUNK]) for model in self._models])
                 for start in range(0, len(x), _CHUNK)]
        return Prediction(
            np.concatenate([each.mean for each in found]),
            np.concatenate([each.std for each in found]) * self.report[self.chosen].scale)

    def _made(self, name: str) -> Surrogate:
        return Warped(self._candidates[name](seed=self._seed))


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
