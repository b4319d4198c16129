"""Ensembles of decision trees: boosted, and extremely randomised."""

from typing import Any, Protocol

import numpy as np

from nas.core.protocols import Prediction
from nas.core.types import FloatArray
from predictors.surrogate.ensemble import LEAST_ROWS, MEMBERS, FoldNoise, assign_folds
from predictors.surrogate.model import check_features, check_training


class _MakeMember(Protocol):
    def __call__(self, random_state: int) -> Any: ...


class Trees:
    """Five ensembles of trees, each of which leaves out a fifth of the labels.

    The prediction is their mean. The variance is what they differ by plus their mean squared
    error on the labels left out.

    Args:
        make: Random state → an unfitted regressor in the manner of scikit-learn.
        seed: Of the folds and of the members.
        least_rows: Labels below which the members could not split once.
    """

    def __init__(self, make: _MakeMember, *, seed: int, least_rows: int = LEAST_ROWS) -> None:
        self.least_rows = least_rows
        self._make = make
        self._seed = seed
        self._columns: int | None = None
        self._members: list[Any] = []
        self._noise = FoldNoise(0.0)

    def fit(self, x: FloatArray, y: FloatArray) -> None:
        """See `nas.core.protocols.Predictor`."""
        check_training(x, y, least=self.least_rows,
                       why="for five members that each leave some out and split the rest")
        rng = np.random.default_rng(self._seed)
        fold = assign_folds(len(y), MEMBERS, rng)
        states = rng.integers(2**32, size=MEMBERS).tolist()
        self._members = [self._make(state).fit(x[fold != k], y[fold != k])
                         for k, state in enumerate(states)]
        self._columns = x.shape[1]
        self._noise = FoldNoise.of([member.predict(x) for member in self._members], y, fold)

    def predict(self, x: FloatArray) -> Prediction:
        """See `nas.core.protocols.Predictor`."""
        check_features(x, self._columns)
        return self._noise.prediction([member.predict(x) for member in self._members])


def boosting(*, seed: int) -> Trees:
    """Returns stochastic gradient boosting (Friedman 2002) of trees of depth 3."""
    def make(random_state: int) -> Any:
        from sklearn.ensemble import GradientBoostingRegressor  # a second to import

        return GradientBoostingRegressor(
            n_estimators=100, learning_rate=0.1, max_depth=3, min_samples_leaf=3, subsample=0.7,
            max_features=0.3, random_state=random_state)

    # Of 12 labels a member sees 9 and a tree 6: two leaves of three.
    return Trees(make, seed=seed, least_rows=12)


def forest(*, seed: int) -> Trees:
    """Returns extremely randomised trees (Geurts et al. 2006), 40 a member."""
    def make(random_state: int) -> Any:
        from sklearn.ensemble import ExtraTreesRegressor

        return ExtraTreesRegressor(n_estimators=40, max_features=0.5, random_state=random_state)

    return Trees(make, seed=seed)
