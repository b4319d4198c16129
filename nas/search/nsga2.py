"""NSGA-II with operators of its own, on codes."""

from collections.abc import Mapping, Sequence

import numpy as np

from nas.core.errors import InputError
from nas.core.ops import crossed, mutated
from nas.core.problem import Problem, minimized
from nas.core.rng import derive_rng
from nas.core.trial import Outcome, Trial
from nas.core.types import CODE_DTYPE, IntArray
from nas.search.evolution import default_population
from nas.search.intake import Intake
from nas.search.population import ranked
from nas.search.random_search import RandomStream

_CHILDREN = 256  # bred at most for one trial, before a random architecture takes its place
_CHILD_BLOCK = 64


class Nsga2:
    """The `Searcher` of NSGA-II (Deb et al. 2002), by generations.

    The first `population` trials are random. Whenever as many have been told, failed ones
    included, the best `population` of parents and children, by front and then crowding, become the
    next parents. A child has two parents, each the better of two drawn at random; uniform
    crossover, then mutation (`nas.core.ops`); it is bred again while it was asked before or leaves
    at an early exit, and after `_CHILDREN` attempts a random architecture stands in.

    `ask` works at any time and for any number: before a generation has been told, it goes on to
    breed from the last parents (from nothing: random architectures). So the trials depend on how
    outcomes and asks interleave, not on the sizes of batches in which they are told.

    Deviations from the paper: duplicates of any earlier trial are never evaluated; numbers mutate
    over the positions of their choices.

    Args:
        problem: What to search.
        budget: Number of validations planned; decides the population's default.
        population: Random trials at first, and survivors, ≥ 2.
        crossover: Probability that a child has genes of both parents.
        mutation: Probability with which each live gene of a child moves; None: 1 / live genes.

    Raises:
        InputError: An option is out of range.
    """

    def __init__(self, problem: Problem, *, budget: int | None = None,
                 population: int | None = None, crossover: float = 0.9,
                 mutation: float | None = None) -> None:
        size = default_population(budget) if population is None else population
        if size < 2:
            raise InputError(f"NSGA-II needs a population of at least 2, not {size}")
        for name, rate in (("crossover", crossover), ("mutation", mutation)):
            if rate is not None and not 0.0 <= rate <= 1.0:
                raise InputError(f"NSGA-II: {name} {rate} is outside 0 … 1")
        self._problem = problem
        self._size = size
        self._crossover = crossover
        self._mutation = mutation
        self._intake = Intake(problem)
        self._random = RandomStream(problem, self._intake)
        genes = len(problem.space.genes)
        self._parents = np.empty((0, genes), dtype=CODE_DTYPE)  # best first
        self._values = np.empty((0, len(problem.objectives)))
        self._children: list[Outcome] = []  # told since the last cut
        self._told = 0

    @property
    def counts(self) -> Mapping[str, int]:
        """See `nas.core.protocols.Searcher`; repeats are counted as ``"duplicate"``."""
        return self._intake.counts

    def ask(self, n: int) -> Sequence[Trial]:
        """Returns n new trials; fewer once neither breeding nor random draws find more.

        Raises:
            ConstraintError: Nothing passes the early exits.
        """
        return self._intake.collect(n, lambda: self._child() or self._random.next())

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Takes outcomes sorted by trial id; failed ones leave no descendants."""
        for outcome in outcomes:
            self._told += 1
            if outcome.ok:
                self._children.append(outcome)
            if self._told % self._size == 0:
                self._cut()

    def _cut(self) -> None:
        if not self._children:
            return
        codes = self._problem.space.encode([child.trial.arch for child in self._children])
        values = minimized(self._problem.objectives, [child.metrics for child in self._children])
        pool = np.concatenate([self._parents, codes])
        pool_values = np.concatenate([self._values, values])
        best = ranked(pool_values)[:self._size]
        self._parents, self._values = pool[best], pool_values[best]
        self._children = []

    def _child(self) -> Trial | None:
        if not len(self._parents):
            return None
        rng = derive_rng(self._problem.seed, "nsga2", index=self._intake.asked)

        def breed(n: int) -> IntArray:
            drawn = rng.integers(len(self._parents), size=(2, n, 2)).min(axis=2)
            mothers, fathers = self._parents[drawn]
            children = crossed(mothers, fathers, rng, rate=self._crossover)
            return mutated(self._problem.space, children, rng, rate=self._mutation)

        return self._intake.first(breed, limit=_CHILDREN, block=_CHILD_BLOCK)
