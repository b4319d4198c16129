"""Random search: the baseline that every other searcher must beat."""

from collections.abc import Mapping, Sequence

from nas.core.problem import Problem
from nas.core.rng import derive_rng
from nas.core.trial import Outcome, Trial
from nas.search.intake import RANDOM_DRAWS, Intake


class RandomSearch:
    """A `Searcher` that draws genes uniformly among what passes the early exits.

    Each trial has a generator of its own, so the trials do not depend on the batch size.

    Args:
        problem: What to search.
        budget: As every searcher takes it; uniform draws need no plan.
    """

    def __init__(self, problem: Problem, *, budget: int | None = None) -> None:
        del budget
        self._intake = Intake(problem)
        self._random = RandomStream(problem, self._intake)

    @property
    def counts(self) -> Mapping[str, int]:
        """See `nas.core.protocols.Searcher`; repeats are counted as ``"duplicate"``."""
        return self._intake.counts

    def ask(self, n: int) -> Sequence[Trial]:
        """Returns n new trials; fewer once draws find no more.

        Raises:
            ConstraintError: Nothing passes the early exits.
        """
        return self._intake.collect(n, self._random.next)

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Learns nothing."""


class RandomStream:
    """Uniformly drawn trials out of an intake.

    Args:
        problem: Its seed is that of all draws.
        intake: Numbers and screens the trials; may be shared with other sources of candidates.
    """

    def __init__(self, problem: Problem, intake: Intake) -> None:
        self._problem = problem
        self._intake = intake
        self._dry = False

    def next(self) -> Trial | None:
        """Returns the next trial, or None for good once `RANDOM_DRAWS` draws have found none."""
        if self._dry:
            return None
        rng = derive_rng(self._problem.seed, "random", index=self._intake.asked)
        space = self._problem.space
        trial = self._intake.first(lambda n: space.sample_codes(n, rng), limit=RANDOM_DRAWS)
        self._dry = trial is None
        return trial
