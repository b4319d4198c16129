"""The same part of every width; the depth stays."""

import numpy as np

from nas.core.arch import Arch
from nas.core.space import Gene
from nas.core.types import IntArray
from supernets.tas.subject import Subject

_GOLDEN = 0.6180339887498949
_HALVINGS = 30


def uniform(subject: Subject) -> Arch:
    """Returns the architecture whose widths are all the same part of the whole ones.

    Choices of widths are coarse. So of the layers between two choices some take the larger one,
    spread evenly over the network, as many as the budget has room for.

    Raises:
        InputError: The narrowest network of full depth is above the budget.
    """
    budget, space = subject.budget, subject.budget.cost.space
    widths = [gene for gene in space.genes if gene.name in subject.supernet.elastic.choices]

    def at(part: float) -> IntArray:
        code = space.encode([space.extreme(largest=True)])
        for place, gene in enumerate(widths):
            code[0, space.positions[gene.name]] = _position(gene, part, place)
        return code

    def cost(part: float) -> float:
        return float(budget.cost.predict(at(part))[0])

    low, high = 0.0, 1.0
    budget.require_reached(cost(low), "at full depth")
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if cost(middle) <= budget.limit else (low, middle)
    return space.decode(at(low))[0]


def _position(gene: Gene, part: float, place: int) -> int:
    choices = np.array(gene.choices, dtype=np.float64)
    wanted = part * choices[-1]
    above = int(np.searchsorted(choices, wanted))
    if above == 0:
        return 0
    share = (wanted - choices[above - 1]) / (choices[above] - choices[above - 1])
    # Multiples of the golden ratio are spread evenly however many layers there are.
    return above if share > (place + 1) * _GOLDEN % 1.0 else above - 1
