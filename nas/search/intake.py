"""From candidates to trials: drops what was asked before, screens the rest, counts every exit."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from nas.core.errors import ConstraintError
from nas.core.problem import Problem
from nas.core.trial import Trial
from nas.core.types import CODE_DTYPE, BoolArray, IntArray

Draw = Callable[[int], IntArray]  # n → n canonical codes (n, genes)

RANDOM_DRAWS = 100_000  # per trial; a rarer architecture is not found by chance

_BLOCK = 4096


class Intake:
    """The gate that every searcher's candidates go through.

    Candidates are looked at one by one, in the order drawn, until one becomes a trial, so the
    counts add up: sampled = exits at each stage (``"duplicate"`` first) + trials.

    Args:
        problem: Its screen and then its gate decide; its space says what is equal.
    """

    def __init__(self, problem: Problem) -> None:
        self._space = problem.space
        self._screen = problem.screen
        self._gate = problem.gate
        self._seen: set[bytes] = set()
        self._counts: Counter[str] = Counter(sampled=0, duplicate=0)
        if self._gate is not None:
            self._counts.update(dict.fromkeys(self._gate.names, 0))

    @property
    def asked(self) -> int:
        """The number of trials so far, which is the next one's id."""
        return len(self._seen)

    @property
    def counts(self) -> Mapping[str, int]:
        """``"sampled"`` candidates, and how many of them left at which stage."""
        return dict(self._counts)

    @property
    def exhausted(self) -> bool:
        """Whether every architecture of the space has been asked for."""
        return self.asked >= self._space.size

    def first(self, draw: Draw, *, limit: int, block: int = _BLOCK) -> Trial | None:
        """Returns the first new candidate that passes, as a trial, or None after `limit` draws.

        Args:
            draw: Gives candidates; called for blocks of 1, 2, 4, … up to `block`.
            limit: Largest number of candidates looked at.
            block: Largest number drawn at once.
        """
        size = 1
        while limit > 0 and not self.exhausted:
            codes = np.ascontiguousarray(draw(min(size, limit)), dtype=CODE_DTYPE)
            found = self._first_of(codes)
            if found is not None:
                trial = Trial(self.asked, self._space.decode(codes[found:found + 1])[0])
                self._seen.add(codes[found].tobytes())
                return trial
            limit -= len(codes)
            size = min(2 * size, block)
        return None

    def collect(self, n: int, source: Callable[[], Trial | None], *,
                trials: Sequence[Trial] = ()) -> list[Trial]:
        """Returns trials and as many more as make n; fewer once the source gives None.

        Args:
            n: Wanted.
            source: Gives the next trial, out of this intake.
            trials: Those that there are already.

        Raises:
            ConstraintError: Some were wanted, and no candidate ever passed.
        """
        found = list(trials)
        while len(found) < n and (trial := source()) is not None:
            found.append(trial)
        if n and not self.asked:
            raise self.nothing_found()
        return found

    def passing(self, codes: IntArray) -> IntArray:
        """Returns those of many codes (N, genes) that the screen lets pass, to choose from.

        The others are counted, as sampled and at their exit; these are once `first` sees them.
        """
        screening = self._screen(codes)
        self._counts.update(screening.exits)
        self._counts["sampled"] += len(codes) - int(np.count_nonzero(screening.passed))
        return codes[screening.passed]

    def unseen(self, codes: IntArray) -> BoolArray:
        """Returns which codes (N, genes) have not been asked for, (N,)."""
        rows = np.ascontiguousarray(codes, dtype=CODE_DTYPE)
        return np.array([row.tobytes() not in self._seen for row in rows], dtype=np.bool_)

    def nothing_found(self) -> ConstraintError:
        """Returns the error for a search in which no candidate ever passed."""
        exits = {name: count for name, count in self._counts.items()
                 if count and name not in ("sampled", "duplicate")}
        named = ", ".join(f"{name} {count}" for name, count in sorted(
            exits.items(), key=lambda item: -item[1]))
        return ConstraintError(
            f"no architecture of {self._space.id} passed the early exits in "
            f"{self._counts['sampled']} random draws; exits: {named}; loosen these constraints")

    def _first_of(self, codes: IntArray) -> int | None:
        new = np.flatnonzero(self.unseen(codes))
        screening = self._screen(codes[new])
        found = self._first_worthy(codes, new[screening.passed])
        if found is None:
            self._count(len(codes), len(new), screening.exits)
            return None
        # Those drawn behind the one that is taken were never looked at.
        used = new[new <= found]
        exits = screening.exits if len(used) == len(new) else self._screen(codes[used]).exits
        self._count(found + 1, len(used), exits)
        return found

    def _first_worthy(self, codes: IntArray, passing: IntArray) -> int | None:
        # The gate is costly: nobody behind the first that it lets pass is shown to it.
        for index in passing.tolist():
            if self._gate is None:
                return int(index)
            left = self._gate(self._space.decode(codes[index:index + 1])[0])
            if left is None:
                return int(index)
            self._counts[left] += 1
        return None

    def _count(self, sampled: int, fresh: int, exits: Mapping[str, int]) -> None:
        self._counts.update(exits)
        self._counts["sampled"] += sampled
        self._counts["duplicate"] += sampled - fresh


def given(codes: IntArray) -> Draw:
    """Returns a draw that gives these canonical codes (n, genes), as many as are wanted."""
    return lambda n: codes[:n]
