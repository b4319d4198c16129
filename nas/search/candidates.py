"""What a search on predictions looks at: a whole space if it is small, else what evolves in it."""


from collections.abc import Callable

import numpy as np

from nas.core.ops import crossed, mutated, neighbours
from nas.core.problem import OfCodes
from nas.core.space import SearchSpace
from nas.core.types import CODE_DTYPE, IntArray

WHOLE = 1_000_000  # largest space of which every member is looked at

_RANDOM = 1024
_PARENTS = 128
_CHILDREN = 512
_GENERATIONS = 8
_RATE = 0.9  # of crossover


def every_code(space: SearchSpace, limit: int = WHOLE) -> IntArray | None:
    """Returns all canonical codes of a space, (size, genes), or None if they exceed the limit."""
    if space.size > limit:
        return None
    codes = np.zeros((1, len(space.genes)), dtype=CODE_DTYPE)
    for column, gene in enumerate(space.genes):
        # Parents precede their children: what is live here is decided by the columns before.
        live = space.active(codes)[:, column]
        grown = np.repeat(codes[live], len(gene.choices), axis=0)
        grown[:, column] = np.tile(np.arange(len(gene.choices), dtype=CODE_DTYPE), live.sum())
        codes = np.concatenate([codes[~live], grown])
    return np.unique(space.canonical_codes(codes), axis=0)


class Candidates:
    """The codes that a problem's screen lets pass, all of them or the most promising.

    Args:
        space: Where to look.
        passing: Codes → those that a screen lets pass.
    """

    def __init__(self, space: SearchSpace, passing: Callable[[IntArray], IntArray]) -> None:
        self._space = space
        self._screened = passing
        whole = every_code(space)
        self._all = None if whole is None else passing(whole)

    @property
    def whole(self) -> bool:
        """Whether all of the space is looked at."""
        return self._all is not None

    def sample(self, n: int, rng: np.random.Generator) -> IntArray:
        """Returns all, or those of n random codes and both extremes that pass, each once."""
        if self._all is not None:
            return self._all
        return self._passing(np.concatenate([self.ends(), self._space.sample_codes(n, rng)]))

    def ends(self) -> IntArray:
        """Returns the smallest and the largest of the space that pass, (≤ 2, genes)."""
        return self._passing(self._space.encode([self._space.extreme(largest=largest)
                                                 for largest in (False, True)]))

    def promising(self, known: IntArray, worth: OfCodes, rng: np.random.Generator) -> IntArray:
        """Returns all, or what an evolution towards the worthiest codes came by.

        It starts from random codes and from known ones, such as the best that were evaluated;
        each generation breeds from the worthiest so far. Nothing but `worth` is asked, and that
        once for each code.

        Args:
            known: Codes to start from, (N, genes), N ≥ 0.
            worth: (N, genes) → (N,), larger is better.
            rng: Of all draws.
        """
        if self._all is not None:
            return self._all
        pool = self._passing(np.concatenate([known, self._space.sample_codes(_RANDOM, rng)]))
        values = worth(pool)
        for _ in range(_GENERATIONS):
            if not len(pool):
                break
            best = pool[np.argsort(-values, kind="stable")[:_PARENTS]]
            a, b = best[rng.integers(len(best), size=(2, _CHILDREN))]
            children = mutated(self._space, crossed(a, b, rng, rate=_RATE), rng)
            new = _without(self._passing(children), pool)
            pool = np.concatenate([pool, new])
            values = np.concatenate([values, worth(new) if len(new) else np.empty(0)])
        return pool

    def around(self, codes: IntArray) -> IntArray:
        """Returns what differs from one of these codes (N, genes) in one gene, and passes."""
        return self._passing(np.concatenate([codes[:0], *(neighbours(self._space, code)
                                                          for code in codes)]))

    def _passing(self, codes: IntArray) -> IntArray:
        codes = np.unique(codes, axis=0)
        return self._screened(codes) if len(codes) else codes


def _without(codes: IntArray, others: IntArray) -> IntArray:
    there = set(map(bytes, np.ascontiguousarray(others)))
    keep = [bytes(row) not in there for row in np.ascontiguousarray(codes)]
    return codes[np.array(keep, dtype=np.bool_)]


