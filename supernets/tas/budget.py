"""A limit on what a network costs, and networks moved to it."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nas.core.arch import Arch
from nas.core.errors import InputError
from nas.core.space import GeneSpace
from nas.core.types import CODE_DTYPE, FloatArray, IntArray
from nas.core.vocabulary import Vocabulary
from supernets.tas.expected_cost import ExpectedCost


@dataclass(frozen=True, kw_only=True, eq=False)
class NetworkCost:
    """One cost of a space's networks.

    Attributes:
        metric: Such as ``"macs"``.
        space: Of the networks.
        vocabulary: Its blocks.
        predict: Codes (N, genes) → the cost of each, (N,).
        shares: One code (genes,) → what each block of the vocabulary adds to the cost of
            networks like that one, (blocks,). The same array where that is the same for all.
    """

    metric: str
    space: GeneSpace
    vocabulary: Vocabulary
    predict: Callable[[IntArray], FloatArray]
    shares: Callable[[IntArray], FloatArray]

    def of(self, arch: Arch) -> float:
        """Returns the cost of one network."""
        return float(self.predict(self.space.encode([arch]))[0])

    def expected(self, arch: Arch) -> ExpectedCost:
        """Returns the mean cost of distributions around a network; exact there."""
        code = self.space.encode([arch])
        table = self.shares(code[0])
        ids = self.vocabulary.block_ids(code)[0]
        offset = self.of(arch) - float(table[ids[ids >= 0]].sum())
        return ExpectedCost(self.vocabulary, table, offset=offset)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a pruned network may cost.

    Attributes:
        cost: What is counted.
        limit: Not to be exceeded.
        slack: A network is near enough from (1 − slack) · limit on.

    Raises:
        InputError: No network of the space is within the limit, or all are.
    """

    cost: NetworkCost
    limit: float
    slack: float = 0.02

    def __post_init__(self) -> None:
        least, most = (self.cost.of(self.cost.space.extreme(largest=end)) for end in (False, True))
        if self.limit < least:
            percent = math.ceil(1000.0 * least / most) / 10.0  # what is asked for must suffice
            raise InputError(f"a budget of {self.limit:,.6g} {self.cost.metric} is less than "
                             f"the smallest network of this space costs, {least:,.6g} "
                             f"({percent:.1f} % of the whole one); ask for that or more, or "
                             "exclude fewer layers")
        if self.limit > most:
            raise InputError(f"a budget of {self.limit:,.6g} {self.cost.metric} is more than "
                             f"the whole network costs, {most:,.6g}; there is nothing to prune")

    def is_met(self, cost: float) -> bool:
        """Returns whether a cost is near the limit and not above it."""
        return (1.0 - self.slack) * self.limit <= cost <= self.limit

    def require_reached(self, least: float, where: str) -> None:
        """Checks that the least cost that a method can reach is within the limit.

        Args:
            least: That cost.
            where: What is the method's own restriction, such as ``"at full depth"``.

        Raises:
            InputError: It is not.
        """
        if least > self.limit:
            raise InputError(f"{where} no network costs less than {least:,.6g} "
                             f"{self.cost.metric}, and the budget is {self.limit:,.6g}; ask for "
                             "more, or use a method that may do more")


Preferences = Mapping[str, Sequence[float]]  # gene → how much each of its choices is wanted


def best_within(budget: Budget, preferences: Preferences) -> Arch:
    """Returns a network near the budget whose choices are wanted most.

    From the choices wanted most one gene at a time is moved to the next choice down, then up, the
    one that gives least (most) preference for the cost, until the budget is met. Where a space is
    too coarse for its slack, the network is the nearest that was found below the limit.

    Args:
        budget: To be met.
        preferences: Of every gene: higher is more.

    Raises:
        InputError: The way down ends above the limit.
    """
    space = budget.cost.space
    wanted = _wanted(space, preferences)
    # Genes that are not live keep what is wanted of them: a block that comes back is as wanted.
    code: IntArray = np.array([values.argmax() for values in wanted.values()], dtype=CODE_DTYPE)
    found = topped_up(budget, preferences, _lowered(budget, wanted, code, _step_down))
    cost = float(_costs(budget, found[None])[0])
    if not budget.is_met(cost):
        # A step that led far below, such as a block less, cannot always be made up for.
        other = topped_up(budget, preferences, _lowered(budget, wanted, code, _small_step_down))
        if float(_costs(budget, other[None])[0]) > cost:
            found = other
    return space.decode(found[None])[0]


def topped_up(budget: Budget, preferences: Preferences, code: IntArray) -> IntArray:
    """Returns a network nearer to the budget than one within it, (genes,), canonical.

    One gene at a time is moved to its next choice up: the one that gives most preference for the
    cost, of those that there is room for. Where there is room for none, one gene moves up and
    another one down.

    Args:
        budget: To be met.
        preferences: Higher is more; genes that have none stay.
        code: Of the network, (genes,); genes that are not live may hold anything.
    """
    space = budget.cost.space
    wanted = _wanted(space, preferences)
    cost = float(_costs(budget, code[None])[0])
    while not budget.is_met(cost):
        moved = _step_up(budget, wanted, code, cost) or _exchanged(budget, wanted, code, cost)
        if moved is None:
            break
        code, cost = moved
    return np.asarray(space.canonical_codes(code[None])[0])


_Wanted = Mapping[int, FloatArray]  # column of a gene → how much its choices are wanted


def _wanted(space: GeneSpace, preferences: Preferences) -> _Wanted:
    return {place: np.asarray(preferences[gene.name], dtype=np.float64)
            for place, gene in enumerate(space.genes) if gene.name in preferences}


_StepDown = Callable[[Budget, _Wanted, IntArray, float], tuple[IntArray, float]]


def _lowered(budget: Budget, wanted: _Wanted, code: IntArray, step_down: _StepDown) -> IntArray:
    cost = float(_costs(budget, code[None])[0])
    while cost > budget.limit:
        code, cost = step_down(budget, wanted, code, cost)
    return code


def _step_down(budget: Budget, wanted: _Wanted, code: IntArray, cost: float
               ) -> tuple[IntArray, float]:
    near, gain, costs, useful = _steps_down(budget, wanted, code, cost)
    saved = cost - costs
    best = useful[np.argmax(gain[useful] / saved[useful])]
    # A small step that suffices is better than a large one.
    enough = useful[costs[useful] <= budget.limit]
    if len(enough):
        best = enough[np.argmax(gain[enough] - 1e-9 * saved[enough])]
    return near[best], float(costs[best])


def _small_step_down(budget: Budget, wanted: _Wanted, code: IntArray, cost: float
                     ) -> tuple[IntArray, float]:
    # To near the limit, else not yet to it, else as little below it as can be.
    near, gain, costs, useful = _steps_down(budget, wanted, code, cost)
    met = useful[[budget.is_met(each) for each in costs[useful]]]
    above = useful[costs[useful] > budget.limit]
    if len(met):
        best = met[np.argmax(gain[met])]
    elif len(above):
        best = above[np.argmax(gain[above] / (cost - costs[above]))]
    else:
        best = useful[np.argmax(costs[useful])]
    return near[best], float(costs[best])


def _steps_down(budget: Budget, wanted: _Wanted, code: IntArray, cost: float
                ) -> tuple[IntArray, FloatArray, FloatArray, IntArray]:
    # Codes, what that changes of the preference, costs, and which of them cost less.
    near, gain = _neighbours(budget.cost.space, wanted, code, -1)
    costs = _costs(budget, near)
    useful = np.flatnonzero(costs < cost)
    if not len(useful):
        raise InputError(f"no network of {budget.cost.metric} {budget.limit:,.6g} or less was "
                         "found by narrowing one layer at a time; ask for more")
    return near, gain, costs, useful


def _step_up(budget: Budget, wanted: _Wanted, code: IntArray, cost: float
             ) -> tuple[IntArray, float] | None:
    near, gain = _neighbours(budget.cost.space, wanted, code, +1)
    costs = _costs(budget, near)
    useful = np.flatnonzero((costs > cost) & (costs <= budget.limit))
    if not len(useful):
        return None
    best = useful[np.argmax(gain[useful] / (costs[useful] - cost))]
    return near[best], float(costs[best])


def _exchanged(budget: Budget, wanted: _Wanted, code: IntArray, cost: float
               ) -> tuple[IntArray, float] | None:
    # One gene up, another one down: into the budget's band, else as near to the limit as can be.
    found = [_neighbours(budget.cost.space, wanted, lower, +1) for lower in
             _neighbours(budget.cost.space, wanted, code, -1)[0]]
    near: IntArray = np.concatenate([code[:0].reshape(0, len(code)), *(rows for rows, _ in found)])
    costs = _costs(budget, near)
    useful = np.flatnonzero((costs > cost) & (costs <= budget.limit))
    if not len(useful):
        return None
    gain = np.array([sum(values[row[place]] for place, values in wanted.items())
                     for row in near[useful]])
    met = np.array([budget.is_met(each) for each in costs[useful]])
    best = useful[np.argmax(np.where(met, gain, -np.inf) if met.any() else costs[useful])]
    return near[best], float(costs[best])


def _neighbours(space: GeneSpace, wanted: _Wanted, code: IntArray, direction: int
                ) -> tuple[IntArray, FloatArray]:
    # Codes with one live gene moved, and what that changes of the preference.
    live = space.active(code[None])[0]
    rows, gains = [], []
    for place, values in wanted.items():
        moved = int(code[place]) + direction
        if live[place] and 0 <= moved < len(values):
            row = code.copy()
            row[place] = moved
            rows.append(row)
            gains.append(values[moved] - values[code[place]])
    if not rows:
        return np.empty((0, len(code)), dtype=code.dtype), np.empty(0)
    return np.stack(rows), np.array(gains)


def _costs(budget: Budget, codes: IntArray) -> FloatArray:
    return budget.cost.predict(budget.cost.space.canonical_codes(codes)) if len(codes) \
        else np.empty(0)
