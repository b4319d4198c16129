"""Scores learnt from the validations already paid for."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from nas.core.arch import Arch
from nas.core.protocols import Predictor
from nas.core.trial import Outcome
from nas.core.types import FloatArray


class SurrogateScores:
    """The scorer of an early exit: a predictor of the truth, fitted anew after each batch.

    Args:
        make_predictor: Gives a fresh predictor for each fit.
        features: Architectures → (N, F).
        truth: Outcome → value to predict; higher is better.
        minimum: Outcomes before which it knows too little.
    """

    name = "surrogate"

    def __init__(self, make_predictor: Callable[[], Predictor], *,
                 features: Callable[[Sequence[Arch]], FloatArray],
                 truth: Callable[[Outcome], float], minimum: int = 12) -> None:
        self._make = make_predictor
        self._features = features
        self._truth = truth
        self._minimum = minimum
        self._archs: list[Arch] = []
        self._values: list[float] = []
        self._predictor: Predictor | None = None
        self._found: dict[str, float] = {}  # by digest, of the fit in hand

    def __call__(self, archs: Sequence[Arch]) -> FloatArray | None:
        """Returns the predicted values (N,), or None before there are enough outcomes."""
        if self._predictor is None:
            return None
        new = [arch for arch in archs if arch.digest not in self._found]
        if new:
            means = self._predictor.predict(self._features(new)).mean
            self._found.update(zip((arch.digest for arch in new), means.tolist(), strict=True))
        return np.array([self._found[arch.digest] for arch in archs])

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Fits everything told so far."""
        for outcome in outcomes:
            if outcome.ok:
                self._archs.append(outcome.trial.arch)
                self._values.append(self._truth(outcome))
        if len(self._archs) >= self._minimum and np.ptp(self._values) > 0:
            self._found = {}
            self._predictor = self._make()
            self._predictor.fit(self._features(self._archs), np.array(self._values))

    def record(self) -> Mapping[str, float]:
        """Returns nothing: a fit is cheaper to repeat than to store."""
        return {}

    def recall(self, scores: Mapping[str, float]) -> None:
        """Has nothing to take."""
        del scores
