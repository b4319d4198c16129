"""LINAS: validate little, learn from all of it, search on the predictions."""

from collections.abc import Mapping, Sequence

import numpy as np

from nas.core.arch import Arch
from nas.core.errors import InputError
from nas.core.pareto import non_dominated, sort_fronts
from nas.core.problem import Problem, minimized
from nas.core.rng import derive_rng
from nas.core.trial import Outcome, Trial
from nas.core.types import CODE_DTYPE, FloatArray, IntArray
from nas.search.candidates import Candidates
from nas.search.forecast import ROWS, Forecast, Forecaster
from nas.search.improvement import expected_hypervolume_improvement
from nas.search.intake import Intake, given
from nas.search.picking import Picker, upper_fence
from nas.search.random_search import RandomStream
from nas.search.space_filling import spread_out

_POOL = 2048  # random candidates that the first sample is chosen from, in a large space
_LEAST = 8  # validations before which nothing is predicted
_BEST = 64  # validated networks that the search on predictions starts from
_BOLD = 4  # every so many trials is a neighbour of the front, with more faith in chance
_BOLDNESS = 3.0
_FRONT = 32  # most members of the front whose neighbours are looked at
_REFIT = 0.04  # growth of what is known at which it is learnt anew
_REFIT_MUCH = 0.1  # the same once more is known than is learnt from


def default_warm_up(budget: int | None) -> int:
    """Returns the first sample's size: 12, and at most a quarter of the validations."""
    return 12 if budget is None else max(4, min(12, budget // 4))


class Linas:
    """The `Searcher` of lightweight iterative NAS (Cummings et al., arXiv 2202.12954, section 3).

    A space-filling sample is validated first. From then on each batch comes of a search on
    predictions: a predictor of each unknown objective learns from everything validated so far, on
    the features that the problem gives (known objectives are used as they are); every architecture
    of a small space, or what evolves in a large one, is predicted; and those are taken one by one
    that are expected to enlarge the hypervolume most, where one that is taken, or still being
    validated, counts as found with the values that are expected of it.

    In a large space the first sample begins with the smallest and the largest network, where they
    pass: random codes crowd the middle, and the best there is of one objective is often an end.

    The volume is counted up to the worst that the first sample has of each objective, outliers left
    out; in a large space, up to the worst candidate's where an objective is known.

    Every fourth trial is a neighbour of the front, one gene away, and its uncertainty counts three
    times: predictions that are wrong and sure of it would blind the search for good.

    Deviations from the paper: expected hypervolume improvement instead of the best predicted
    ones, so that uncertainty counts, and that against what is validated instead of among the
    unseen; a space-filling start instead of a random one; known objectives are not predicted;
    while much is known, it is learnt anew only when that has grown by a twenty-fifth, and by a
    tenth once it is more than is learnt from.

    Args:
        problem: What to search; must have a predictor.
        budget: Number of validations planned; decides the first sample's default.
        warm_up: Size of the first sample, ≥ 4.

    Raises:
        InputError: An option is out of range, or the problem has no predictor.
    """

    def __init__(self, problem: Problem, *, budget: int | None = None,
                 warm_up: int | None = None) -> None:
        size = default_warm_up(budget) if warm_up is None else warm_up
        if size < 4:
            raise InputError(f"linas needs a first sample of at least 4, not {size}")
        self._problem = problem
        self._size = size
        self._intake = Intake(problem)
        self._random = RandomStream(problem, self._intake)
        self._candidates: Candidates | None = None
        self._first: IntArray = np.empty((0, len(problem.space.genes)), dtype=CODE_DTYPE)
        self._forecaster = Forecaster(problem)
        self._forecast: Forecast | None = None
        self._pending: dict[int, Arch] = {}
        self._codes = self._first
        self._values = np.empty((0, len(problem.objectives)))
        self._worst = np.full(len(problem.objectives), np.nan)  # of what is known
        self._learnt = 0  # rows at the last fit

    @property
    def counts(self) -> Mapping[str, int]:
        """See `nas.core.protocols.Searcher`; repeats are counted as ``"duplicate"``."""
        return self._intake.counts

    def ask(self, n: int) -> Sequence[Trial]:
        """Returns n new trials; fewer once neither predictions nor random draws find more.

        Raises:
            ConstraintError: Nothing passes the early exits.
        """
        trials: list[Trial] = []
        if n:
            self._begin()
            trials += self._from_first(n)
            self._pending.update((trial.id, trial.arch) for trial in trials)
            if len(trials) < n and len(self._values) >= _LEAST:
                trials += self._from_forecast(n - len(trials))
        trials = self._intake.collect(n, self._random.next, trials=trials)
        self._pending.update((trial.id, trial.arch) for trial in trials)
        return trials

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Takes outcomes sorted by trial id; nothing is learnt from failed ones."""
        for outcome in outcomes:
            self._pending.pop(outcome.trial.id, None)
        found = [outcome for outcome in outcomes if outcome.ok]
        if found:
            values = minimized(self._problem.objectives, [outcome.metrics for outcome in found])
            codes = self._problem.space.encode([outcome.trial.arch for outcome in found])
            self._values = np.concatenate([self._values, values])
            self._codes = np.concatenate([self._codes, codes])

    def _begin(self) -> None:
        if self._candidates is not None:
            return
        rng = derive_rng(self._problem.seed, "linas warm-up")
        self._candidates = Candidates(self._problem.space, self._intake.passing)
        codes = self._candidates.sample(_POOL, rng)
        describe = self._problem.features or self._problem.space.features
        rows = (spread_out(describe(codes), self._forecaster.known(codes), self._size, rng)
                if len(codes) else np.empty(0, dtype=np.int64))
        self._first = codes[rows]
        if not self._candidates.whole:
            self._first = np.concatenate([self._candidates.ends(), self._first])[:self._size]
        # Random codes of a large space crowd the middle of what is known: there the ends count.
        if len(codes) and not self._candidates.whole:
            self._worst[self._forecaster.known_places] = self._forecaster.known(codes).max(axis=0)

    def _from_first(self, n: int) -> list[Trial]:
        trials: list[Trial] = []
        while len(self._first) and len(trials) < n:
            trial = self._intake.first(given(self._first[:1]), limit=1)
            self._first = self._first[1:]
            if trial is not None:
                trials.append(trial)
        return trials

    def _from_forecast(self, n: int) -> list[Trial]:
        rng = derive_rng(self._problem.seed, "linas", index=self._intake.asked)
        pickers = self._pickers(rng)
        trials: list[Trial] = []
        while len(trials) < n:
            bold = self._intake.asked % _BOLD == 0
            pick = next((pick for one in (pickers[::-1] if bold else pickers)
                         if (pick := one.take()) is not None), None)
            if pick is None:
                break
            trial = self._intake.first(given(pick.codes), limit=1)
            if trial is not None:
                trials.append(trial)
                for one in pickers:
                    one.count(pick.mean)
        return trials

    def _pickers(self, rng: np.random.Generator) -> tuple[Picker, Picker]:
        # The sober one, and the bold one that only looks around the front.
        forecast = self._renewed(rng)
        found = self._forecaster.scaled(self._values)
        if self._pending:
            waiting = self._problem.space.encode(list(self._pending.values()))
            found = np.concatenate([found, self._forecaster.forecast(waiting).mean])
        assert self._candidates is not None
        front = self._codes[non_dominated(self._values)]
        if len(front) > _FRONT:
            front = front[np.sort(rng.choice(len(front), size=_FRONT, replace=False))]
        around = self._forecaster.remembered(self._candidates.around(front))
        bold = Forecast(around.codes, around.mean, _BOLDNESS * around.std)
        reference = self._reference()
        sober, daring = (Picker(one, found, reference, rng=rng,
                                allowed=self._intake.unseen(one.codes)) for one in (forecast, bold))
        return sober, daring

    def _renewed(self, rng: np.random.Generator) -> Forecast:
        known = len(self._values)
        growth = _REFIT if self._learnt < ROWS else _REFIT_MUCH
        if self._forecast is None or known - self._learnt > growth * self._learnt:
            assert self._candidates is not None
            self._forecaster.learn(self._codes, self._values)
            best = np.concatenate(sort_fronts(self._values))[:_BEST]
            found = self._forecaster.scaled(self._values)
            reference = self._reference()

            def worth(codes: IntArray) -> FloatArray:
                expected = self._forecaster.forecast(codes)
                return expected_hypervolume_improvement(
                    expected.mean, expected.std, found, reference, np.random.default_rng(0))

            codes = self._candidates.promising(self._codes[best], worth, rng)
            self._forecast = self._forecaster.forecast(codes)
            self._learnt = known
        return self._forecast

    def _reference(self) -> FloatArray:
        # The first sample did not look for the best yet, so it tells how bad is usual.
        usual = upper_fence(self._forecaster.scaled(self._values[:self._size]))
        worst = self._forecaster.scaled(self._worst[None])[0]
        return np.where(np.isnan(worst), usual, worst)
