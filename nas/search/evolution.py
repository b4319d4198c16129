"""Early-exit evolution: candidates that break a bound leave before they cost an evaluation."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from nas.core.arch import Arch
from nas.core.errors import InputError
from nas.core.ops import invert
from nas.core.problem import Problem, minimized
from nas.core.rng import derive_rng
from nas.core.trial import Outcome, Trial
from nas.core.types import IntArray
from nas.search.intake import Intake, given
from nas.search.population import Population
from nas.search.random_search import RandomStream

_CHILDREN = 256  # bred at most for one trial, before a random architecture takes its place
_CHILD_BLOCK = 16


def default_population(budget: int | None) -> int:
    """Returns the population for a number of validations: the paper's 40, less where they are few.

    Twice the root of the budget: a rule of thumb that leaves three quarters of 64 validations to
    children. No benchmark here has compared it with others yet.
    """
    return 40 if budget is None else min(40, max(4, round(2 * math.sqrt(budget))))


class EarlyExitEvolution:
    """The `Searcher` of EEEA-Net (Termritthikun et al. 2021), in steady state.

    The first `population` trials are the smallest and the largest architecture and random ones,
    as far as they pass the early exits (Early-Exit Population Initialisation). Each later trial
    is a child of the best `population` trials told so far: two tournaments of two (front, then
    crowding, over all objectives), uniform crossover, mutation, inversion; it is bred again while
    it was asked before or leaves at an early exit, and after `_CHILDREN` attempts a random
    architecture stands in. Survivors are cut by front and crowding from parents and children
    together, so the best are never lost.

    There are no generations to wait for: `ask` works at any time and for any number, and breeds
    from what has been told by then (from nothing: random architectures). The trials are a
    function of the problem, the options and how outcomes and asks interleave; so they depend on
    the batch size, not on which trial finishes first.

    Deviations from the paper's code: the two extremes start the population, because random draws
    crowd the middle of the costs; dominance over all objectives instead of two; inversion swaps
    instead of overwriting; duplicates are replaced instead of shrinking the population; and at
    least one gene of every child mutates.

    Args:
        problem: What to search.
        budget: Number of validations planned; decides the population's default.
        population: Random trials at first, and survivors, ≥ 2.
        mutation: Probability with which each live gene of a child moves.
        inversion: Probability with which a segment of a child's like genes is reversed.

    Raises:
        InputError: An option is out of range.
    """

    def __init__(self, problem: Problem, *, budget: int | None = None,
                 population: int | None = None, mutation: float = 0.1,
                 inversion: float = 0.1) -> None:
        size = default_population(budget) if population is None else population
        if size < 2:
            raise InputError(f"evolution needs a population of at least 2, not {size}")
        for name, rate in (("mutation", mutation), ("inversion", inversion)):
            if not 0.0 <= rate <= 1.0:
                raise InputError(f"evolution: {name} {rate} is outside 0 … 1")
        self._problem = problem
        self._initial = size
        self._mutation = mutation
        self._inversion = inversion
        self._intake = Intake(problem)
        self._random = RandomStream(problem, self._intake)
        self._population = Population(size, len(problem.objectives))
        self._extremes = [problem.space.extreme(largest=largest) for largest in (False, True)]

    @property
    def counts(self) -> Mapping[str, int]:
        """See `nas.core.protocols.Searcher`; repeats are counted as ``"duplicate"``."""
        return self._intake.counts

    def ask(self, n: int) -> Sequence[Trial]:
        """Returns n new trials; fewer once neither breeding nor random draws find more.

        Raises:
            ConstraintError: Nothing passes the early exits.
        """
        return self._intake.collect(n, self._next)

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Takes outcomes sorted by trial id; failed ones leave no descendants."""
        found = [outcome for outcome in outcomes if outcome.ok]
        if found:
            values = minimized(self._problem.objectives, [outcome.metrics for outcome in found])
            self._population.add([outcome.trial.arch for outcome in found], values)

    def _next(self) -> Trial | None:
        while self._extremes:
            codes = self._problem.space.encode([self._extremes.pop(0)])
            trial = self._intake.first(given(codes), limit=1)
            if trial is not None:
                return trial
        return self._child() or self._random.next()

    def _child(self) -> Trial | None:
        if self._intake.asked < self._initial or not len(self._population):
            return None
        rng = derive_rng(self._problem.seed, "evolution", index=self._intake.asked)

        def breed(n: int) -> IntArray:
            return self._problem.space.encode([self._bred(rng) for _ in range(n)])

        return self._intake.first(breed, limit=_CHILDREN, block=_CHILD_BLOCK)

    def _bred(self, rng: np.random.Generator) -> Arch:
        space = self._problem.space
        mother, father = (self._population.tournament(rng) for _ in range(2))
        child = space.mutate(space.crossover(mother, father, rng), rng, self._mutation)
        return invert(space, child, rng) if rng.random() < self._inversion else child
