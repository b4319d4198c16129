"""Any sampler of Optuna's as a `Searcher`.

The sampler asks on a study in memory, which mirrors what became of its candidates; the ledger is
written once a trial is finished, by the driver. How a candidate ends in the mirror:

- evaluated: COMPLETE with its objectives; failed: FAIL;
- asked for before: PRUNED, without values: no sampler counts it twice, and TPE turns to what it
  has not tried yet (told FAIL, it looks the other way and proposes the same again and again);
- left at an early exit: PRUNED, without values, for none are known. If all objectives are
  `Problem.known`, COMPLETE with those.

A sampler that moves by its own samples (CMA-ES) is told the values of one asked for before again,
and a random architecture that stands in is added beside them, not in their place.

Where the sampler knows constraints, each of these has `Problem.excess` as Optuna's constraint
values (`Trial.set_constraint`, which in Optuna 5 replaces ``constraints_func``), so that TPE
learns from what the screen keeps out; the samplers that look at COMPLETE trials only (NSGA-II and
III, GP) leave PRUNED ones aside.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence

import optuna
from optuna.samplers import BaseSampler, CmaEsSampler
from optuna.trial import TrialState

from nas.core.errors import InputError, NasError
from nas.core.problem import Problem
from nas.core.rng import derive_seed
from nas.core.trial import Outcome, Trial
from nas.core.types import IntArray
from nas.search.intake import Intake, given
from nas.search.objectives import one_objective_only
from nas.search.optuna_space import SuggestedSpace
from nas.search.quiet import quiet
from nas.search.random_search import RandomStream

_ATTEMPTS = 20


class OptunaSearcher:
    """The `Searcher` that takes its candidates from an Optuna sampler.

    A candidate that was asked for before or leaves at an early exit is answered at once, and the
    sampler asked again; after `attempts` of them a random architecture stands in, which the
    sampler is told as if it had been its own (`Study.enqueue_trial`). The trials are a function of
    the problem, the sampler and how outcomes and asks interleave.

    Args:
        problem: What to search.
        sampler: Makes the sampler, seeded; called twice, for the first one is tried out.
        name: Of the searcher, for messages.
        attempts: Candidates of the sampler for one trial, ≥ 1.

    Raises:
        InputError: The sampler refuses the objectives or the space.
    """

    def __init__(self, problem: Problem, sampler: Callable[[], BaseSampler], *, name: str,
                 attempts: int = _ATTEMPTS) -> None:
        self._problem = problem
        self._name = name
        self._attempts = attempts
        self._directions = [objective.direction for objective in problem.objectives]
        with quiet():
            own = sampler()
            self._space = SuggestedSpace(problem.space, own)
            self._try_out(sampler())
            self._mirror = optuna.create_study(sampler=own, directions=self._directions)
        self._own_samples = isinstance(own, CmaEsSampler)
        self._constrained = problem.excess is not None and takes_constraints(own)
        self._intake = Intake(problem)
        self._random = RandomStream(problem, self._intake)
        self._waiting: dict[int, optuna.Trial | None] = {}
        self._values: dict[bytes, list[float]] = {}

    @property
    def counts(self) -> Mapping[str, int]:
        """See `nas.core.protocols.Searcher`; repeats are counted as ``"duplicate"``."""
        return self._intake.counts

    def ask(self, n: int) -> Sequence[Trial]:
        """Returns n new trials; fewer once neither the sampler nor random draws find more.

        Raises:
            ConstraintError: Nothing passes the early exits.
            NasError: The sampler fails.
        """
        with quiet():
            return self._intake.collect(n, lambda: self._suggested() or self._stand_in())

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Takes outcomes sorted by trial id; failed ones are failed trials to the sampler."""
        with quiet():
            for outcome in outcomes:
                asked = self._waiting.pop(outcome.trial.id)
                values = ([float(outcome.metrics[objective.name])
                           for objective in self._problem.objectives] if outcome.ok else None)
                codes = self._problem.space.encode([outcome.trial.arch])
                if asked is not None:
                    self._finish(asked, TrialState.FAIL if values is None else TrialState.COMPLETE,
                                 values)
                elif values is not None:
                    self._mirror.add_trial(self._space.finished(codes[0].tolist(), values))
                if values is not None and self._own_samples:
                    self._values[codes.tobytes()] = values

    def _suggested(self) -> Trial | None:
        for _ in range(self._attempts):
            if self._intake.exhausted:
                return None
            asked, codes = self._sampled()
            before = self._intake.counts
            trial = self._intake.first(given(codes), limit=1)
            if trial is not None:
                self._waiting[trial.id] = asked
                return trial
            repeated = self._intake.counts["duplicate"] > before["duplicate"]
            self._reject(asked, codes, repeated=repeated)
        return None

    def _stand_in(self) -> Trial | None:
        trial = self._random.next()
        if trial is None:
            return None
        if self._own_samples:
            self._waiting[trial.id] = None
        else:
            codes = self._problem.space.encode([trial.arch])
            self._mirror.enqueue_trial(dict(self._space.params(codes[0].tolist())))
            self._waiting[trial.id], _ = self._sampled()
        return trial

    def _sampled(self) -> tuple[optuna.Trial, IntArray]:
        try:
            asked = self._mirror.ask()
            codes = self._space.suggest(asked)
        except Exception as error:  # whatever a sampler raises, a third party's too
            raise NasError(f"searcher {self._name!r} failed ({type(error).__name__}: "
                           f"{_one_line(error)}); take another one") from error
        if self._constrained and self._problem.excess is not None:
            for number, value in enumerate(self._problem.excess(codes)[0].tolist()):
                asked.set_constraint(f"bound{number}", value)
        return asked, codes

    def _reject(self, asked: optuna.Trial, codes: IntArray, *, repeated: bool) -> None:
        known, values = self._problem.known, None
        if repeated:
            values = self._values.get(codes.tobytes())
        elif self._constrained and all(o.name in known for o in self._problem.objectives):
            values = [float(known[o.name](codes)[0]) for o in self._problem.objectives]
        self._finish(asked, TrialState.PRUNED if values is None else TrialState.COMPLETE, values)

    def _finish(self, asked: optuna.Trial, state: TrialState,
                values: Sequence[float] | None) -> None:
        try:
            self._mirror.tell(asked, values, state=state)
        except Exception as error:
            raise NasError(f"searcher {self._name!r} failed ({type(error).__name__}: "
                           f"{_one_line(error)}); take another one") from error

    def _try_out(self, sampler: BaseSampler) -> None:
        # Optuna's samplers find out only as they are asked whether they can do a study.
        try:
            study = optuna.create_study(sampler=sampler, directions=self._directions)
            self._space.suggest(study.ask())
        except Exception as error:
            if len(self._directions) > 1 and "multi-objective" in str(error):
                raise one_objective_only(self._name, self._problem) from None
            raise InputError(f"searcher {self._name!r} cannot search {self._problem.space.id} "
                             f"({type(error).__name__}: {_one_line(error)})") from error


def sampler_seed(problem: Problem) -> int:
    """Returns the seed of a problem's sampler; NumPy's old generators take 32 bits."""
    return derive_seed(problem.seed, "optuna") % 2**32


def takes_constraints(sampler: BaseSampler) -> bool:
    """Returns whether a sampler makes use of constraints: its constructor says so."""
    return "constraints_func" in inspect.signature(type(sampler)).parameters


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
