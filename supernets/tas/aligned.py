"""Networks moved to widths that runtimes are fast at."""

from collections.abc import Collection, Mapping

import numpy as np

from nas.core.arch import Arch
from nas.core.errors import InputError
from nas.core.space import Gene, GeneSpace
from nas.core.types import CODE_DTYPE, IntArray
from supernets.tas.budget import Budget, NetworkCost, best_within

_KEPT = 1e3  # how much rather a width moves than anything else


def aligned(budget: Budget, arch: Arch, *, widths: Collection[str], multiple: int) -> Arch:
    """Returns the network nearest to another one whose widths are multiples, near the budget.

    The whole width counts as a multiple. Everything but the widths stays, unless the budget cannot
    be reached so. "Nearest" is what `best_within` makes of preferences that fall with the distance
    from the other network's widths, as a part of the whole ones.

    Args:
        budget: To be met.
        arch: The other network, of the budget's space.
        widths: The genes that are widths; their choices are channels, the whole width the last.
        multiple: Of channels.

    Raises:
        InputError: No network of such widths is within the budget.
    """
    space = budget.cost.space
    code, widths = space.encode([arch])[0], frozenset(widths)
    live = space.active(code[None])[0]
    may = [_multiples(gene, multiple) if gene.name in widths else list(range(len(gene.choices)))
           for gene in space.genes]
    stays = [places if gene.name in widths and lives else [int(place)]
             for gene, places, lives, place in zip(space.genes, may, live, code, strict=True)]
    for part in (_Part(budget, stays, is_decided=True), _Part(budget, may, is_decided=False)):
        if part.least <= budget.limit:
            return part.nearest(code, widths)
    raise InputError(f"no network whose widths are multiples of {multiple} costs "
                     f"{budget.limit:,.6g} {budget.cost.metric} or less; the least is "
                     f"{part.least:,.6g}")


class _Part:
    """The networks of a space that have some of its choices only.

    Args:
        budget: Of the whole space.
        may: The positions of the choices of each gene.
        is_decided: Whether it is decided which genes matter, so that none has a condition.
    """

    def __init__(self, budget: Budget, may: list[list[int]], *, is_decided: bool) -> None:
        self._budget, self._may = budget, may
        self._space = GeneSpace(f"{budget.cost.space.id}/part", tuple(
            Gene(gene.name, tuple(gene.choices[place] for place in places),
                 None if is_decided else gene.condition)
            for gene, places in zip(budget.cost.space.genes, may, strict=True)))
        cost = budget.cost
        self._cost = NetworkCost(
            metric=cost.metric, space=self._space, vocabulary=cost.vocabulary,
            predict=lambda codes: cost.predict(self._whole(codes)),
            shares=lambda code: cost.shares(self._whole(code[None])[0]))

    @property
    def least(self) -> float:
        """The cost of its smallest network."""
        return self._cost.of(self._space.extreme(largest=False))

    def nearest(self, code: IntArray, widths: Collection[str]) -> Arch:
        """Returns its network nearest to one of the whole space."""
        most = self._cost.of(self._space.extreme(largest=True))
        budget = Budget(cost=self._cost, limit=min(self._budget.limit, most),
                        slack=self._budget.slack)
        found = best_within(budget, self._near(code, widths))
        space = self._budget.cost.space
        return space.decode(self._whole(self._space.encode([found])))[0]

    def _near(self, code: IntArray, widths: Collection[str]) -> Mapping[str, list[float]]:
        near = {}
        for gene, places, own in zip(self._budget.cost.space.genes, self._may, code, strict=True):
            if gene.name in widths:
                sizes = np.array(gene.choices, dtype=np.float64)
                distance = np.abs(sizes[places] - sizes[own]) / sizes[-1]
            else:
                distance = _KEPT * np.abs(np.array(places) - float(own))
            near[gene.name] = (-distance).tolist()
        return near

    def _whole(self, codes: IntArray) -> IntArray:
        # The codes in the whole space, canonical there.
        columns = [np.array(places, dtype=CODE_DTYPE)[codes[:, column]]
                   for column, places in enumerate(self._may)]
        return self._budget.cost.space.canonical_codes(np.stack(columns, axis=1))


def _multiples(gene: Gene, multiple: int) -> list[int]:
    whole = gene.choices[-1]
    return [place for place, width in enumerate(gene.choices)
            if width == whole or int(width) % multiple == 0]
