"""A surrogate for searches: fitted often, chosen anew seldom.

Legend: N labels, F features, M rows to predict.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from nas.core.errors import InputError
from nas.core.protocols import Prediction
from nas.core.types import FloatArray, IntArray
from predictors.surrogate.auto import held_out
from predictors.surrogate.choice import MEAN, combined, preferred
from predictors.surrogate.ensemble import assign_folds
from predictors.surrogate.gaussian_process import GaussianProcess
from predictors.surrogate.model import Surrogate, SurrogateFactory, check_training
from predictors.surrogate.trees import boosting

# Smooth, because searches give it logarithms, and features that count as well as steps.
QUICK: Mapping[str, SurrogateFactory] = {
    "gaussian_process": partial(GaussianProcess, smoothness=2.5, trend=True),
    "boosting": boosting}

_FOLDS = 5
_GROWTH = 1.5


class RechosenSurrogate:
    """Chooses a model, or the mean of all, by cross-validated rank, and keeps to it for a while.

    The choice (`predictors.surrogate.choice.preferred`, Kendall's τ over five folds) costs five
    fits of each model, so it is made anew only once there are half as many labels more than at
    the last one; a fit between two choices fits what was chosen. A model that needs more labels
    than a fold leaves is not tried. So what is predicted depends on
    the fits before: equal series of fits give equal predictions.

    Args:
        seed: Of folds and models.
        candidates: Name → factory.

    Attributes:
        chosen: The name in use, ``"mean"`` for the mean of all; empty before the first fit.

    Raises:
        InputError: No candidates, or one that is called ``"mean"``.
    """

    def __init__(self, *, seed: int, candidates: Mapping[str, SurrogateFactory] = QUICK) -> None:
        if not candidates or MEAN in candidates:
            raise InputError(f"a choice needs at least one candidate, and none called {MEAN!r}")
        self._seed = seed
        self._candidates = candidates
        self._chosen_at = 0
        self._models: list[Surrogate] = []
        self.chosen = ""

    @property
    def least_rows(self) -> int:
        """What the least demanding candidate needs, and a fold more."""
        return 1 + min(self._made(name).least_rows for name in self._candidates)

    def fit(self, x: FloatArray, y: FloatArray) -> None:
        """See `nas.core.protocols.Predictor`."""
        check_training(x, y, least=self.least_rows, why="to hold a fifth out and learn from the "
                       "rest")
        fold = assign_folds(len(y), _FOLDS, np.random.default_rng(self._seed))
        fewest = len(y) - int(np.bincount(fold).max())
        able = [name for name in self._candidates if self._made(name).least_rows <= fewest]
        if len(y) >= _GROWTH * self._chosen_at:
            self.chosen = self._choice(able, x, y, fold)
            self._chosen_at = len(y)
        self._models = [self._made(name) for name in (able if self.chosen == MEAN
                                                      else [self.chosen])]
        for model in self._models:
            model.fit(x, y)

    def predict(self, x: FloatArray) -> Prediction:
        """See `nas.core.protocols.Predictor`."""
        if not self._models:
            raise InputError("nothing has been learnt yet; call fit before predict")
        return combined([model.predict(x) for model in self._models])

    def _choice(self, able: Sequence[str], x: FloatArray, y: FloatArray, fold: IntArray) -> str:
        if len(able) == 1:
            return able[0]
        found = {name: held_out(partial(self._made, name), x, y, fold) for name in able}
        return preferred({**found, MEAN: combined(list(found.values()))}, y)

    def _made(self, name: str) -> Surrogate:
        return self._candidates[name](seed=self._seed)
