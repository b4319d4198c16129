"""The survivors of an evolutionary search: ranked, compared, cut to size."""

from collections.abc import Sequence

import numpy as np

from nas.core.arch import Arch
from nas.core.pareto import crowding_distance, sort_fronts
from nas.core.types import FloatArray, IntArray


class Population:
    """The best of all architectures added so far, at most `limit` of them.

    Better is: a better non-dominated front over all objectives, then a larger crowding distance
    within the front (NSGA-II, Deb et al. 2002). Ties go to the one added earlier.

    Args:
        limit: Largest number of survivors, ≥ 1.
        objectives: Number of objectives.
    """

    def __init__(self, limit: int, objectives: int) -> None:
        self._limit = limit
        self._archs: list[Arch] = []
        self._values = np.empty((0, objectives))
        self._place = np.empty(0, dtype=np.int64)  # of each member in the order, 0 = best

    def __len__(self) -> int:
        return len(self._archs)

    def add(self, archs: Sequence[Arch], values: FloatArray) -> None:
        """Lets architectures with values (N, objectives), all minimised, compete for a place."""
        pool = [*self._archs, *archs]
        pool_values = np.concatenate([self._values, values])
        # Kept in the order of adding, so that ties fall the same way in every cut.
        order = ranked(pool_values)[:self._limit]
        kept = np.sort(order)
        self._archs = [pool[index] for index in kept]
        self._values = pool_values[kept]
        self._place = np.empty(len(kept), dtype=np.int64)
        self._place[ranked(self._values)] = np.arange(len(kept))

    def tournament(self, rng: np.random.Generator) -> Arch:
        """Returns the better of two members drawn at random, with replacement."""
        drawn = rng.integers(len(self._archs), size=2)
        return self._archs[int(drawn[self._place[drawn].argmin()])]


def ranked(values: FloatArray) -> IntArray:
    """Returns the indices from best to worst: by front, then by falling crowding distance."""
    order = [front[np.argsort(-crowding_distance(values[front]), kind="stable")]
             for front in sort_fronts(values)]
    return np.concatenate(order) if order else np.empty(0, dtype=np.int64)
