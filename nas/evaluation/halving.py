"""Successive halving: many networks are validated a little, the best of them in full.

The inner loop of Hyperband (Li et al. 2018, section 2; Jamieson and Talwalkar 2016), with two rungs
and one addition: it is in use only while the lower rung is seen to rank as the upper one does.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import numpy as np

from nas.core.arch import Arch
from nas.core.errors import InputError
from nas.core.pareto import crowding_distance, sort_fronts
from nas.core.problem import Objective, minimized
from nas.core.protocols import Evaluator, Executor
from nas.core.trial import Outcome, Trial
from nas.core.types import FloatArray, IntArray
from nas.evaluation.trust import Trust, measure_trust

PARTIAL = "partial"  # the stage of an outcome of the lower rung


class PartialEvaluator(Protocol):
    """The lower rung.

    Attributes:
        images: That it looks at.
        of: That a full validation looks at.
        cost: Of one such validation, in full ones.
    """

    images: int
    of: int
    cost: float

    def __call__(self, arch: Arch) -> Mapping[str, float]: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class HalvingConfig:
    """How hard the lower rung selects, and when it may.

    Attributes:
        eta: One of so many goes on, ≥ 2; 3 as in Hyperband.
        pairs: Networks of both fidelities before which all go on.
        least: What the lower end of the rank correlation's interval must reach.
        confidence: Of that interval.

    Raises:
        InputError: A number out of range.
    """

    eta: int = 3
    pairs: int = 24
    least: float = 0.5
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if self.eta < 2 or self.pairs < 1 or not -1 <= self.least < 1 or not (
                0 < self.confidence < 1):
            raise InputError(f"halving: {self} is out of range")


class Halving:
    """The `Executor` that halves each batch, around the executor that does the work.

    All trials of a batch are validated in part. The best 1/η of them, by non-dominated front of
    what that found (costs are exact there) and then by crowding, are validated in full. The others
    end as outcomes of stage ``"partial"``. Outcomes of full validations keep what the part found,
    as metrics such as ``"error_1024"``, so that the rank correlation of both is seen in the ledger.

    Who goes on is a function of the batch and of the batches before it. All do while the
    correlation is not known to be high enough: the lower end of its interval, at equal cost as
    `measure_trust` puts it, of all networks with both. Those are the better ones of their batches
    once halving is in use, which makes the correlation lower than it is over the space: so the
    doubt goes one way, towards full validations.

    Args:
        executor: Runs both rungs; closed with this.
        partial: The lower rung.
        objectives: Of the search; one at least is not among `known`.
        known: Names of objectives that the lower rung gives exactly.
        config: See there.

    Raises:
        InputError: Every objective is known without validation.
    """

    def __init__(self, executor: Executor, partial: PartialEvaluator, *,
                 objectives: Sequence[Objective], known: Iterable[str],
                 config: HalvingConfig | None = None) -> None:
        exact = set(known)
        self._unknown = [one.name for one in objectives if one.name not in exact]
        if not self._unknown:
            raise InputError("--cascade shortens validation, but every objective is known without "
                             "it; leave it out")
        self._exact = [one.name for one in objectives if one.name in exact]
        self._executor = executor
        self._partial = partial
        self._objectives = tuple(objectives)
        self._sign = -1.0 if next(one for one in objectives if one.name == self._unknown[0]
                                  ).direction == "minimize" else 1.0
        self._config = config or HalvingConfig()
        self._told: list[Outcome] = []  # of finished batches, with both fidelities
        self._batch: list[Outcome] = []  # of the batch in hand, that an earlier process finished

    @property
    def eta(self) -> int:
        """How many trials of a batch there are to each full validation."""
        return self._config.eta

    def cost(self, n: int) -> float:
        """Returns the most that the next batch costs if it has n trials."""
        self._learn()
        full = math.ceil(n / self._config.eta) if self.open else n
        return full + (n - full) * self._partial.cost

    def recall(self, outcomes: Sequence[Outcome]) -> None:
        """Begins a batch; takes those outcomes of it that an earlier process finished."""
        self._learn()
        self._batch = list(outcomes)

    def run(self, evaluate: Evaluator, trials: Sequence[Trial]) -> Iterator[Outcome]:
        """Yields the outcome of each trial of the batch begun, as soon as it is there."""
        begun: dict[int, Outcome] = {}
        for outcome in self._executor.run(self._partial, trials):
            if outcome.ok:
                begun[outcome.trial.id] = outcome
            else:
                yield self._noted(replace(outcome, stage=PARTIAL, cost=self._partial.cost))
        going_on = self._best([*begun.values()])
        for number in sorted(begun.keys() - going_on):
            yield self._noted(replace(begun[number], stage=PARTIAL, cost=self._partial.cost))
        for outcome in self._executor.run(evaluate, [begun[n].trial for n in sorted(going_on)]):
            part = begun[outcome.trial.id].metrics
            noted = {self._name(name): part[name] for name in self._unknown if name in part}
            yield self._noted(replace(outcome, metrics={**outcome.metrics, **noted})
                              if outcome.ok else outcome)

    def close(self) -> None:
        """Closes the executor that does the work."""
        self._executor.close()

    @property
    def open(self) -> bool:
        """Whether halving is in use, from what finished batches say."""
        trust = self.trust()
        return (trust is not None and trust.pairs >= self._config.pairs
                and trust.low >= self._config.least)

    def trust(self) -> Trust | None:
        """Returns how well the lower rung ranks the networks that have both fidelities."""
        name = self._unknown[0]
        found = [outcome.metrics for outcome in self._told]
        part, full = (self._sign * np.array([metrics[key] for metrics in found])
                      for key in (self._name(name), name))
        costs = np.array([[metrics[key] for key in self._exact] for metrics in found])
        return measure_trust(part, full, costs.reshape(len(found), len(self._exact)),
                             confidence=self._config.confidence)

    def report(self) -> dict[str, Any]:
        """Returns what was found: JSON values."""
        self._learn()
        trust = self.trust()
        return {"images": self._partial.images, "of": self._partial.of,
                "cost": self._partial.cost, "eta": self._config.eta, "open": self.open,
                "confidence": self._config.confidence, "trust": asdict(trust) if trust else None}

    def _best(self, begun: Sequence[Outcome]) -> set[int]:
        # The ids that go on, of a batch of which an earlier process may have finished some.
        mine = {outcome.trial.id for outcome in begun}
        if not self.open:
            return mine
        pool = [*begun, *(self._as_begun(outcome) for outcome in self._batch if outcome.ok)]
        pool.sort(key=lambda outcome: outcome.trial.id)
        values = minimized(self._objectives, [outcome.metrics for outcome in pool])
        best = _best_first(values)[:math.ceil(len(pool) / self._config.eta)]
        return mine & {pool[index].trial.id for index in best.tolist()}

    def _as_begun(self, outcome: Outcome) -> Outcome:
        # As the lower rung saw it.
        found = {name: outcome.metrics[self._name(name)] for name in self._unknown
                 if outcome.final}
        return replace(outcome, metrics={**outcome.metrics, **found})

    def _noted(self, outcome: Outcome) -> Outcome:
        self._batch.append(outcome)
        return outcome

    def _learn(self) -> None:
        # The batch in hand is finished.
        self._told += [outcome for outcome in sorted(self._batch, key=lambda o: o.trial.id)
                       if outcome.final]
        self._batch = []

    def _name(self, objective: str) -> str:
        return f"{objective}_{self._partial.images}"


def _best_first(values: FloatArray) -> IntArray:
    # By front, then by falling crowding distance; ties go to the one asked for earlier.
    order = [front[np.argsort(-crowding_distance(values[front]), kind="stable")]
             for front in sort_fronts(values)]
    return np.concatenate(order) if order else np.empty(0, dtype=np.int64)
