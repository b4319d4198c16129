"""Early exits: a candidate leaves at the first stage that rules it out, cheapest stage first.

After the Early-Exit Population Initialisation of EEEA-Net (Termritthikun et al. 2021), which
draws again until the parameter count is below a threshold; here any number of stages.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from nas.core.errors import ConstraintError, EvaluationError, InputError
from nas.core.problem import Constraint
from nas.core.protocols import CostModel, Screening
from nas.core.space import SearchSpace
from nas.core.types import CODE_DTYPE, BoolArray, FloatArray, IntArray

_BLOCK = 4096  # random codes screened at once


class Stage(Protocol):
    """One early exit; pure."""

    @property
    def name(self) -> str:
        """What its exits are counted under, such as ``"latency_ms"``."""

    def __call__(self, codes: IntArray) -> BoolArray:
        """Returns which of the codes (N, genes) go on, (N,)."""


@dataclass(frozen=True)
class CostStage:
    """Lets pass what a cost model puts at or under a bound, at the upper end of its estimate.

    Attributes:
        constraint: Metric and bound.
        cost_model: Has that metric.
    """

    constraint: Constraint
    cost_model: CostModel

    @property
    def name(self) -> str:
        """The metric."""
        return self.constraint.metric

    def __call__(self, codes: IntArray) -> BoolArray:
        """Returns which codes meet the bound, (N,).

        Raises:
            EvaluationError: The model gives NaN.
        """
        return _upper(self.cost_model, self.name, codes) <= self.constraint.bound


@dataclass(frozen=True)
class Cascade:
    """The stages one after the other: the `Screen` of a problem. Without stages all codes pass.

    Attributes:
        stages: Cheapest first; each sees what the ones before it let pass.

    Raises:
        InputError: Two stages have one name, so that their exits could not be told apart.
    """

    stages: Sequence[Stage] = ()

    def __post_init__(self) -> None:
        names = [stage.name for stage in self.stages]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"two early exits are called {name!r}; give each metric one bound")

    def __call__(self, codes: IntArray) -> Screening:
        """Returns which codes pass every stage and how many left at each."""
        alive = np.arange(len(codes))
        exits = {}
        for stage in self.stages:
            passed = stage(codes[alive]) if alive.size else np.ones(0, dtype=np.bool_)
            exits[stage.name] = int(alive.size - np.count_nonzero(passed))
            alive = alive[passed]
        mask = np.zeros(len(codes), dtype=np.bool_)
        mask[alive] = True
        return Screening(mask, exits)


def smallest_reachable(space: SearchSpace, cost_model: CostModel, metric: str,
                       rng: np.random.Generator, *, starts: int = 32) -> float:
    """Returns the smallest upper value of a metric that coordinate descent finds.

    From random codes and from the code of all first choices (the smallest, in most spaces): gene
    by gene, every start takes the choice that costs least, until a round changes nothing. Exact
    where the genes' costs add up or only grow; elsewhere a value that is reached, not proved
    smallest.

    Args:
        space: Where to look.
        cost_model: Has the metric.
        metric: To be made small.
        rng: Draws the starts.
        starts: Number of random starts.
    """
    zeros = np.zeros((1, len(space.genes)), dtype=CODE_DTYPE)
    codes = np.concatenate([space.canonical_codes(zeros), space.sample_codes(starts, rng)])
    best = _upper(cost_model, metric, codes)
    while True:
        before = best
        for column, gene in enumerate(space.genes):
            codes, best = _best_choice(space, cost_model, metric, codes, column, len(gene.choices))
        if not (best < before).any():
            return float(best.min())


def check_feasible(stages: Sequence[Stage], space: SearchSpace, rng: np.random.Generator, *,
                   draws: int = 100_000) -> None:
    """Passes if some architecture meets all constraints, as far as random draws can tell.

    Args:
        stages: The early exits.
        space: Where to look.
        rng: Draws architectures.
        draws: Largest number of them.

    Raises:
        ConstraintError: No architecture meets one of the bounds, with the smallest reachable
            value; or none of the draws meets them all.
    """
    cascade = Cascade(stages)
    drawn = 0
    while drawn < draws:
        codes = space.sample_codes(min(_BLOCK, draws - drawn), rng)
        if cascade(codes).passed.any():
            return
        drawn += len(codes)
    costs = [stage for stage in stages if isinstance(stage, CostStage)]
    reached = []
    for stage in costs:
        smallest = smallest_reachable(space, stage.cost_model, stage.name, rng)
        if smallest > stage.constraint.bound:
            raise ConstraintError(
                f"{stage.constraint.option}: no architecture of {space.id} is that small; "
                f"the smallest reachable {stage.name} is {smallest:.6g}")
        reached.append(f"{stage.name} {smallest:.6g}")
    names = " and ".join([stage.constraint.option for stage in costs]
                         or [stage.name for stage in stages])
    hint = f" (smallest reachable: {', '.join(reached)})" if reached else ""
    raise ConstraintError(f"{names}: none of {draws} random architectures of {space.id} passes"
                          f"{' all of them' if len(stages) > 1 else ''}; loosen the bounds{hint}")


def _upper(cost_model: CostModel, metric: str, codes: IntArray) -> FloatArray:
    upper = cost_model.predict(metric, codes).upper
    if np.isnan(upper).any():
        raise EvaluationError(f"the cost model gives NaN as {metric}")
    return upper


def _best_choice(space: SearchSpace, cost_model: CostModel, metric: str, codes: IntArray,
                 column: int, choices: int) -> tuple[IntArray, FloatArray]:
    # Every code with every choice of one gene: (N × choices, genes), scored in one call.
    tried = np.repeat(codes, choices, axis=0)
    tried[:, column] = np.tile(np.arange(choices, dtype=CODE_DTYPE), len(codes))
    tried = space.canonical_codes(tried)
    # A gene that is not live comes back as it was; argmin then keeps an equal code.
    scores = _upper(cost_model, metric, tried).reshape(len(codes), choices)
    picked = scores.argmin(axis=1)
    rows = np.arange(len(codes))
    return tried.reshape(len(codes), choices, -1)[rows, picked], scores[rows, picked]
