"""Local search: step to better neighbours; with several objectives, from a whole front of them."""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from nas.core.errors import InputError
from nas.core.ops import neighbours
from nas.core.problem import Problem, minimized
from nas.core.rng import derive_rng
from nas.core.space import SearchSpace
from nas.core.trial import Outcome, Trial
from nas.core.types import FloatArray, IntArray
from nas.search.intake import Intake, given
from nas.search.random_search import RandomStream


class LocalSearch:
    """The `Searcher` of Pareto local search (Paquete et al. 2004).

    The first `starts` trials are random. The non-dominated among them are the archive of the
    first climb. Again and again a member whose neighbourhood has not been looked at is drawn, and
    its neighbours, in random order, become trials; one that no member dominates joins, and those
    that it dominates leave, their other neighbours unseen. Once all members have been looked at, a
    climb with an archive of its own starts from a random architecture. With one objective this is
    the local search of White et al. (2021, "Exploring the loss landscape in neural architecture
    search", section 3) that takes the first better neighbour instead of the best.

    A neighbour has one live gene at another choice; genes that come to life with it are at their
    first choice. `ask` works at any time and never waits for outcomes: where those told have no
    neighbours left, it starts the next climb, and goes back to an earlier one if that improves.

    Args:
        problem: What to search.
        budget: Number of validations planned; decides the default of `starts`.
        starts: Random trials of the first climb, ≥ 1; None: half the root of the budget, or 10.

    Raises:
        InputError: An option is out of range.
    """

    def __init__(self, problem: Problem, *, budget: int | None = None,
                 starts: int | None = None) -> None:
        if starts is None:
            starts = 10 if budget is None else max(1, min(10, round(math.sqrt(budget) / 2)))
        if starts < 1:
            raise InputError(f"local search needs at least 1 start, not {starts}")
        self._problem = problem
        self._starts = starts
        self._intake = Intake(problem)
        self._random = RandomStream(problem, self._intake)
        self._climbs: list[_Climb] = []
        self._climb_of: dict[int, _Climb] = {}

    @property
    def counts(self) -> Mapping[str, int]:
        """See `nas.core.protocols.Searcher`; repeats are counted as ``"duplicate"``."""
        return self._intake.counts

    def ask(self, n: int) -> Sequence[Trial]:
        """Returns n new trials; fewer once neither climbs nor random draws find more.

        Raises:
            ConstraintError: Nothing passes the early exits.
        """
        return self._intake.collect(n, self._next)

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Takes outcomes sorted by trial id; failed ones join no archive."""
        for outcome in outcomes:
            climb = self._climb_of.pop(outcome.trial.id)
            climb.pending -= 1
            if outcome.ok:
                climb.add(self._problem.space.encode([outcome.trial.arch])[0],
                          minimized(self._problem.objectives, [outcome.metrics])[0])
        if self._intake.asked >= self._starts:  # until then the first climb has starts to come
            self._climbs = [climb for climb in self._climbs if climb.pending or not climb.over]

    def _next(self) -> Trial | None:
        if not self._intake.asked:
            self._climbs.append(self._new_climb())
        if self._intake.asked < self._starts:
            return self._taken(self._climbs[0], self._random.next())
        for climb in self._climbs:
            while (code := climb.neighbour()) is not None:
                trial = self._intake.first(given(code[None]), limit=1)
                if trial is not None:
                    return self._taken(climb, trial)
        trial = self._random.next()
        if trial is not None:
            self._climbs.append(self._new_climb())
            self._taken(self._climbs[-1], trial)
        return trial

    def _new_climb(self) -> "_Climb":
        rng = derive_rng(self._problem.seed, "local", index=self._intake.asked)
        return _Climb(self._problem.space, len(self._problem.objectives), rng)

    def _taken(self, climb: "_Climb", trial: Trial | None) -> Trial | None:
        if trial is not None:
            self._climb_of[trial.id] = climb
            climb.pending += 1
        return trial


class _Climb:
    """An archive of non-dominated codes and the neighbours that are still to be looked at."""

    def __init__(self, space: SearchSpace, objectives: int, rng: np.random.Generator) -> None:
        self.pending = 0
        self._space = space
        self._rng = rng
        self._codes: list[IntArray] = []
        self._values = np.empty((0, objectives))
        self._untouched: list[bytes] = []  # members nobody has looked around, by code
        self._current: bytes | None = None
        self._neighbours: Iterator[IntArray] = iter(())

    @property
    def over(self) -> bool:
        """Whether no member has a neighbour left that was not looked at."""
        return self._current is None and not self._untouched

    def add(self, code: IntArray, values: FloatArray) -> None:
        """Lets an evaluated code (genes,) with values (objectives,) join unless dominated."""
        no_worse = (self._values <= values).all(axis=1)
        if (no_worse & (self._values < values).any(axis=1)).any():
            return
        kept = ~((values <= self._values).all(axis=1) & (values < self._values).any(axis=1))
        gone = {self._codes[index].tobytes() for index in np.flatnonzero(~kept)}
        self._codes = [*(self._codes[index] for index in np.flatnonzero(kept)), code]
        self._values = np.concatenate([self._values[kept], values[None]])
        self._untouched = [key for key in self._untouched if key not in gone]
        self._untouched.append(code.tobytes())
        if self._current in gone:
            self._current = None

    def neighbour(self) -> IntArray | None:
        """Returns the next canonical code (genes,) to look at, or None if there is none now."""
        while not self.over:
            if self._current is None:
                drawn = int(self._rng.integers(len(self._untouched)))
                self._current = self._untouched.pop(drawn)
                code = next(c for c in self._codes if c.tobytes() == self._current)
                found = neighbours(self._space, code)
                self._neighbours = iter(self._rng.permutation(found))
            code_or_none = next(self._neighbours, None)
            if code_or_none is not None:
                return code_or_none
            self._current = None
        return None
