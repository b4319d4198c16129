"""An early exit that learns: a candidate leaves if it scores low among those of like cost."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from nas.core.arch import Arch
from nas.core.errors import InputError
from nas.core.trial import Outcome
from nas.core.types import FloatArray
from nas.evaluation.trust import Trust, measure_trust

NEIGHBOURS = 16  # at least so many of like cost are compared, and at least a quarter of all seen

Costs = Callable[[Sequence[Arch]], FloatArray]  # N architectures → (N, costs), known exactly


class Scorer(Protocol):
    """Scores candidates; higher is better. It may learn from outcomes."""

    @property
    def name(self) -> str:
        """What the exit is counted under."""

    def __call__(self, archs: Sequence[Arch]) -> FloatArray | None:
        """Returns the scores (N,), NaN where there is none; None: it knows too little yet."""

    def tell(self, outcomes: Sequence[Outcome]) -> None: ...
    def record(self) -> Mapping[str, float]: ...
    def recall(self, scores: Mapping[str, float]) -> None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class ExitConfig:
    """When a score lets candidates leave.

    Attributes:
        share: Of the candidates of like cost seen so far, how many are too many to be better.
        warm_up: Outcomes before which nobody leaves.
        confidence: Of the interval of the rank correlation whose lower end must exceed 0.
    """

    share: float = 0.5
    warm_up: int = 16
    confidence: float = 0.9

    def __post_init__(self) -> None:
        if not 0.0 < self.share < 1.0 or not 0.0 < self.confidence < 1.0:
            raise InputError(f"an early exit's share {self.share} and confidence "
                             f"{self.confidence} must lie between 0 and 1")


class QuantileExit:
    """Lets a candidate leave whose score is under a quantile of those seen at like cost.

    Like cost, because most scores rise with a network's size: a quantile over all sizes would
    throw out the small networks, which are half of every front. The score's rank correlation with
    the truth is measured on every outcome, by the score that its network had before it was
    validated; the exit is open to nobody until the lower end of the correlation's interval
    exceeds 0, and closes again when it no longer does.

    Args:
        scorer: Gives the scores.
        truth: Outcome → the value that the score stands for; higher is better.
        costs: Of architectures, such as latency; compared as logarithms.
        config: See there.
    """

    def __init__(self, scorer: Scorer, *, truth: Callable[[Outcome], float], costs: Costs,
                 config: ExitConfig) -> None:
        self._scorer = scorer
        self._truth = truth
        self._costs_of = costs
        self._config = config
        self._seen: list[Arch] = []
        self._places: dict[str, int] = {}  # of each digest in `_seen`
        self._costs: list[FloatArray] = []  # of each in `_seen`
        self._judged: dict[str, float] = {}  # by digest: the score before validation
        self._pairs: list[tuple[float, float, FloatArray]] = []
        self._told = 0
        self._trust: Trust | None = None
        self.switches: list[tuple[int, bool]] = []  # (outcomes told by then, open or closed)

    @property
    def name(self) -> str:
        """The scorer's."""
        return self._scorer.name

    @property
    def open(self) -> bool:
        """Whether candidates leave here now."""
        return bool(self.switches) and self.switches[-1][1]

    def too_low(self, arch: Arch) -> bool:
        """Returns whether a candidate scores too low; it counts as seen from now on."""
        digest = arch.digest
        if digest not in self._places:
            self._places[digest] = len(self._seen)
            self._seen.append(arch)
            self._costs.append(self._costs_of([arch])[0])
        found = self._scorer([arch])
        if found is None or np.isnan(found[0]):
            return False
        self._judged[digest] = float(found[0])
        return self.open and self._judged[digest] < self._threshold(self._places[digest])

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Measures the correlation anew, then lets the scorer learn."""
        for outcome in outcomes:
            digest = outcome.trial.arch.digest
            if outcome.ok and digest in self._judged:
                self._pairs.append((self._judged[digest], self._truth(outcome),
                                    self._costs_of([outcome.trial.arch])[0]))
        self._told += len(outcomes)
        self._scorer.tell(outcomes)
        if self._pairs:
            scores, truth, costs = zip(*self._pairs, strict=True)
            self._trust = measure_trust(np.array(scores), np.array(truth), np.array(costs),
                                        confidence=self._config.confidence)
        opens = (self._told >= self._config.warm_up and self._trust is not None
                 and self._trust.low > 0)
        if opens != self.open:
            self.switches.append((self._told, opens))

    def report(self) -> dict[str, Any]:
        """Returns what it found: JSON values."""
        trust = asdict(self._trust) if self._trust else None
        return {"name": self.name, "open": self.open, "scored": len(self._judged), "trust": trust,
                "switches": [list(switch) for switch in self.switches]}

    def record(self) -> Mapping[str, float]:
        """Returns the scores found since the last outcomes, by digest."""
        return self._scorer.record()

    def recall(self, scores: Mapping[str, float]) -> None:
        """Takes scores that an earlier process found."""
        self._scorer.recall(scores)

    def _threshold(self, place: int) -> float:
        # Of those of like cost, itself left out; scores that are missing do not count. All are
        # asked for again: what a scorer has learnt since changes them.
        scores = self._scorer(self._seen)
        assert scores is not None
        others = np.flatnonzero(~np.isnan(scores))
        others = others[others != place]
        if len(others) < NEIGHBOURS:
            return -np.inf
        costs = np.log(np.array(self._costs))
        if costs.shape[1]:
            spread = costs[others].std(axis=0)
            away = (costs[others] - costs[place]) / np.where(spread > 0, spread, 1.0)
            nearest = np.argsort((away**2).sum(axis=1), kind="stable")
            others = others[nearest[:max(NEIGHBOURS, len(others) // 4)]]
        return float(np.quantile(scores[others], self._config.share))
