"""What is expected of architectures that were not evaluated: known objectives and learnt ones.

Legend: N codes, K objectives, R rows to learn from.
"""

from dataclasses import dataclass

import numpy as np

from nas.core.errors import InputError
from nas.core.pareto import sort_fronts
from nas.core.problem import Objective, Problem
from nas.core.protocols import Predictor
from nas.core.rng import derive_seed
from nas.core.types import FloatArray, IntArray

ROWS = 400  # most rows that a predictor learns from: its time may grow with their cube
_CHUNK = 16_384  # codes described at once


@dataclass(frozen=True, slots=True)
class Forecast:
    """Expected objectives of N codes on the scale of `Forecaster.scaled`, (N, K) each.

    Attributes:
        codes: (N, genes).
        mean: Smaller is better.
        std: 0 where an objective is known.
    """

    codes: IntArray
    mean: FloatArray
    std: FloatArray


class Forecaster:
    """Learns each objective that a problem does not know.

    All objectives, known ones too, are taken on a scale that is nearly logarithmic: arsinh of
    twice their ratio to the smallest found, which is defined for every number. Errors and
    latencies of networks spread over decades, and the low end matters as much as the high one.

    Args:
        problem: Its features, known objectives and predictor are used.

    Raises:
        InputError: An objective must be learnt and the problem has no predictor.
    """

    def __init__(self, problem: Problem) -> None:
        usual = problem.features or problem.space.features
        self._features = {place: problem.features_of.get(objective.name, usual)
                          for place, objective in enumerate(problem.objectives)}
        self._objectives = problem.objectives
        self._known = problem.known
        self._predictors: dict[int, Predictor] = {}
        for place, objective in enumerate(problem.objectives):
            if objective.name in problem.known:
                continue
            if problem.predictor is None:
                raise InputError(f"this searcher learns {objective.name}, and the problem has no "
                                 "predictor; give Problem(predictor=…) or use another searcher")
            seed = derive_seed(problem.seed, f"forecast of {objective.name}")
            self._predictors[place] = problem.predictor(seed)
        self._unit = np.ones(len(problem.objectives))
        self._constant: dict[int, float] = {}
        self._remembered: dict[bytes, tuple[FloatArray, FloatArray]] = {}

    def learn(self, codes: IntArray, values: FloatArray) -> None:
        """Learns from evaluated codes (R, genes) and their minimised objectives (R, K)."""
        size = np.abs(values)
        smallest = np.min(size, axis=0, initial=np.inf, where=size > 0)
        self._unit = np.where(np.isfinite(smallest), smallest / 2.0, 1.0)
        rows = _telling(values)
        scaled = self.scaled(values)[rows]
        self._constant = {}
        self._remembered = {}
        for place, predictor in self._predictors.items():
            if np.ptp(scaled[:, place]) == 0:
                self._constant[place] = float(scaled[0, place])
            else:
                predictor.fit(self._features[place](codes[rows]), scaled[:, place])

    def scaled(self, values: FloatArray) -> FloatArray:
        """Returns minimised objectives (R, K) on the scale on which they are forecast."""
        return np.asarray(np.arcsinh(values / self._unit))

    @property
    def known_places(self) -> list[int]:
        """Which objectives are known."""
        return [place for place, objective in enumerate(self._objectives)
                if objective.name in self._known]

    def known(self, codes: IntArray) -> FloatArray:
        """Returns the minimised known objectives of codes, (N, known)."""
        columns = [sign(objective) * self._known[objective.name](codes)
                   for objective in self._objectives if objective.name in self._known]
        return np.stack(columns, axis=1) if columns else np.empty((len(codes), 0))

    def remembered(self, codes: IntArray) -> Forecast:
        """Returns what `forecast` does; what was asked here since `learn` is not computed again.

        For codes of which many are asked for again and again.
        """
        keys = [row.tobytes() for row in np.ascontiguousarray(codes)]
        missing = [place for place, key in enumerate(keys) if key not in self._remembered]
        new = self.forecast(codes[missing])
        self._remembered |= {keys[place]: (mean, std) for place, mean, std
                             in zip(missing, new.mean, new.std, strict=True)}
        mean = np.empty((len(codes), len(self._objectives)))
        std = np.empty_like(mean)
        for place, key in enumerate(keys):
            mean[place], std[place] = self._remembered[key]
        return Forecast(codes, mean, std)

    def forecast(self, codes: IntArray) -> Forecast:
        """Returns what is expected of codes; `learn` comes first."""
        mean = np.empty((len(codes), len(self._objectives)))
        std = np.zeros_like(mean)
        known = self.known_places
        mean[:, known] = np.arcsinh(self.known(codes) / self._unit[known])
        for start in range(0, len(codes), _CHUNK):
            rows = slice(start, start + _CHUNK)
            for place, predictor in self._predictors.items():
                if place in self._constant:
                    mean[rows, place] = self._constant[place]
                    continue
                found = predictor.predict(self._features[place](codes[rows]))
                mean[rows, place], std[rows, place] = found.mean, found.std
        return Forecast(codes, mean, std)


def sign(objective: Objective) -> float:
    """Returns 1 for an objective that is minimised, −1 for one that is maximised."""
    return 1.0 if objective.direction == "minimize" else -1.0


def _telling(values: FloatArray) -> IntArray:
    # Half of the rows are the best, for those matter; half are spread evenly over the others.
    if len(values) <= ROWS:
        return np.arange(len(values))
    order = np.concatenate(sort_fronts(values))
    best, others = order[:ROWS // 2], np.sort(order[ROWS // 2:])
    spread = np.linspace(0, len(others) - 1, ROWS - len(best)).round().astype(np.int64)
    return np.sort(np.concatenate([best, others[spread]]))
