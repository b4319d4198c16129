"""N2N: a policy learns from rewards which layers to remove, then how to shrink the rest."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nas.core.arch import Arch
from nas.core.costs import ClosedFormCosts
from nas.core.errors import EvaluationError, InputError
from nas.core.types import BoolArray, FloatArray, IntArray
from supernets.tas.budget import best_within
from supernets.tas.methods.n2n_log import RewardLog
from supernets.tas.methods.n2n_policy import Policy
from supernets.tas.methods.uniform import least_costs
from supernets.tas.subject import Subject

INFEASIBLE = -1.0
_DEPTH = 1e3  # how much rather a width moves than a depth, to meet the budget


@dataclass(frozen=True, kw_only=True)
class N2N:
    """Prunes by reinforcement (Ashok et al., arXiv 1709.06030, sections 3 and 4).

    A first policy draws how many blocks each stage keeps, a second one the widths of the network
    with the depths that were rewarded most. A network of accuracy A with the part 1 − C of the
    unpruned one's parameters is rewarded by C (2 − C) · A / A_unpruned, and by −1 where it cannot
    be within the budget: in the first stage, even with the least widths. The result is the network
    that was rewarded most, moved to the budget (`best_within`), so that methods are compared at
    equal cost.

    Deviations: there the policies are recurrent networks (a bi-LSTM over layers that are removed
    one by one, an LSTM for widths) trained by REINFORCE; here each gene has logits of its own,
    trained by REINFORCE with a moving mean as the baseline. They begin tilted towards small
    networks, so that about half of the draws are feasible: of tight budgets a policy without a
    tilt draws nothing feasible and learns nothing.

    What has been rewarded is kept in a file, and a search that was stopped goes on from it: all
    else is a function of the seed and of the rewards.

    Attributes:
        accuracy: What a network reaches after a short training, 0 … 1.
        unpruned_accuracy: Of the whole network, likewise.
        removals: Networks drawn in the first stage.
        shrinkages: Networks drawn in the second stage.
        learning_rate: Of the logits.
        log: File of the rewards; it is made, and read first if it exists.
        on_reward: Called after each network with its number, from 1, how many there are, and its
            reward.
    """

    accuracy: Callable[[Arch], float]
    unpruned_accuracy: float
    removals: int = 60
    shrinkages: int = 100
    learning_rate: float = 0.5
    log: Path
    on_reward: Callable[[int, int, float], None] | None = None

    def __post_init__(self) -> None:
        if min(self.removals, self.shrinkages) < 1:
            raise InputError(f"{self.removals} removals and {self.shrinkages} shrinkages: both "
                             "must be at least 1")
        _check_accuracy(self.unpruned_accuracy, "the unpruned network")
        if self.unpruned_accuracy == 0:
            raise InputError("the unpruned network's accuracy is 0; train it first")

    def __call__(self, subject: Subject) -> Arch:
        """Returns an architecture within the budget.

        Raises:
            InputError: No network that was drawn can be within the budget.
            DataError: The log is damaged or of another search.
            EvaluationError: An accuracy that is not finite.
            OSError: The log cannot be written.
        """
        space, widths = subject.budget.cost.space, subject.supernet.elastic.choices
        is_width = np.array([gene.name in widths for gene in space.genes])
        run = _Run(self, subject, RewardLog.open(self.log, self._identity(subject)))
        whole = space.encode([space.extreme(largest=True)])[0]
        shallow = run.search("removal", whole, ~is_width & (space.cardinalities > 1),
                             self.removals, lambda codes: least_costs(subject, codes))
        found = run.search("shrinkage", shallow, is_width & (space.cardinalities > 1),
                           self.shrinkages, subject.budget.cost.predict)
        weight = np.where(is_width, 1.0, _DEPTH)
        return best_within(subject.budget, {
            gene.name: (-weight[place] * np.abs(np.arange(len(gene.choices)) - found[place])
                        ).tolist() for place, gene in enumerate(space.genes)})

    def _identity(self, subject: Subject) -> dict[str, int | float | str]:
        return {"space": subject.budget.cost.space.id, "metric": subject.budget.cost.metric,
                "limit": subject.budget.limit, "seed": subject.seed, "removals": self.removals,
                "shrinkages": self.shrinkages, "learning_rate": self.learning_rate,
                "unpruned_accuracy": self.unpruned_accuracy}


@dataclass
class _Run:
    """One search: its rewards so far."""

    method: N2N
    subject: Subject
    log: RewardLog

    def __post_init__(self) -> None:
        supernet, space = self.subject.supernet, self.subject.budget.cost.space
        costs = ClosedFormCosts(supernet.vocabulary, supernet.block_ids)
        self._params: Callable[[IntArray], float] = lambda code: float(
            costs.predict("params", code[None]).value[0])
        self._whole = self._params(space.encode([space.extreme(largest=True)])[0])
        self._done = 0

    def search(self, stage: str, base: IntArray, free: BoolArray, draws: int,
               costs: Callable[[IntArray], FloatArray]) -> IntArray:
        """Returns the code that is rewarded most; genes that are not free are the base's."""
        space, limit = self.subject.budget.cost.space, self.subject.budget.limit
        if not free.any():
            return base
        policy = Policy(space, base, free, seed=self.subject.seed, purpose=f"n2n {stage}",
                        learning_rate=self.method.learning_rate)
        policy.tilt(costs, limit)
        best: tuple[float, IntArray] | None = None
        for number in range(draws):
            code = policy.draw(number)
            feasible = float(costs(code[None])[0]) <= limit
            reward = self._reward(stage, code) if feasible else INFEASIBLE
            policy.learn(code, reward)
            if feasible and (best is None or reward > best[0]):
                best = (reward, code)
            self._tell(reward)
        if best is None:
            raise InputError(f"n2n drew no network within the budget of {limit:,.6g} "
                             f"{self.subject.budget.cost.metric} in {draws} {stage} draws; ask "
                             "for more, or let it draw more")
        return best[1]

    def _reward(self, stage: str, code: IntArray) -> float:
        known = self.log.find(stage, code)
        if known is not None:
            return known
        accuracy = self.method.accuracy(self.subject.budget.cost.space.decode(code[None])[0])
        _check_accuracy(accuracy, f"a network of the {stage} stage")
        compression = 1.0 - self._params(code) / self._whole
        reward = (compression * (2.0 - compression) * accuracy / self.method.unpruned_accuracy)
        self.log.add(stage, code, reward)
        return reward

    def _tell(self, reward: float) -> None:
        self._done += 1
        if self.method.on_reward is not None:
            self.method.on_reward(self._done, self.method.removals + self.method.shrinkages, reward)


def _check_accuracy(accuracy: float, of: str) -> None:
    if not 0.0 <= accuracy <= 1.0:  # NaN is not, either
        raise EvaluationError(f"the accuracy of {of} is {accuracy}, and must lie in 0 … 1")


