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
from predictors.surrogate.choice import clearly_better
from predictors.surrogate.ensemble import assign_folds
from predictors.surrogate.model import Surrogate, SurrogateFactory, check_training
from predictors.surrogate.projected_process import ProjectedProcess
from predictors.surrogate.trees import boosting
from predictors.surrogate.warped import Warped

QUICK: Mapping[str, SurrogateFactory] = {
    "projected_process": partial(ProjectedProcess, noise=False), "boosting": boosting}

_FOLDS = 5
_GROWTH = 2.0
_ERRORS = 2.0


class RechosenSurrogate:
    """Keeps to its first model unless another clearly ranks better; asks again only now and then.

    Clearly: by two standard errors (`predictors.surrogate.choice.clearly_better`) of Kendall's τ
    over five folds. That costs five fits of each model, so it is asked anew only once there are
    twice as many labels as the last time; a fit in between fits what was chosen. A model that
    needs more labels than a fold leaves is not tried. So what is predicted depends on the fits
    before: equal series of fits give equal predictions. All models learn from labels on a scale on
    which they are nearly normal (`predictors.surrogate.warped`): so they are sure where labels
    crowd, at the end that counts.

    Args:
        seed: Of folds and models.
        candidates: Name → factory.

    Attributes:
        chosen: The name in use; empty before the first fit.

    Raises:
        InputError: No candidates.
    """

    def __init__(self, *, seed: int, candidates: Mapping[str, SurrogateFactory] = QUICK) -> None:
        if not candidates:
            raise InputError("a choice needs at least one candidate")
        self._seed = seed
        self._candidates = candidates
        self._chosen_at = 0
        self._model: Surrogate | None = None
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
        self._model = self._made(self.chosen)
        self._model.fit(x, y)

    def predict(self, x: FloatArray) -> Prediction:
        """See `nas.core.protocols.Predictor`."""
        if self._model is None:
            raise InputError("nothing has been learnt yet; call fit before predict")
        return self._model.predict(x)

    def _choice(self, able: Sequence[str], x: FloatArray, y: FloatArray, fold: IntArray) -> str:
        found = {name: held_out(partial(self._made, name), x, y, fold) for name in able}
        chosen = able[0]
        for name in able[1:]:
            if clearly_better(found[name], found[chosen], y, errors=_ERRORS):
                chosen = name
        return chosen

    def _made(self, name: str) -> Surrogate:
        return Warped(self._candidates[name](seed=self._seed))
