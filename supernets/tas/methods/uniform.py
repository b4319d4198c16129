"""The same part of every width; the depth stays."""

from collections.abc import Mapping

import numpy as np

from nas.core.arch import Arch
from nas.core.space import Gene
from nas.core.types import FloatArray, IntArray
from supernets.tas.budget import topped_up
from supernets.tas.subject import Subject

_GOLDEN = 0.6180339887498949
_HALVINGS = 30


def uniform(subject: Subject) -> Arch:
    """Returns the architecture whose widths are all the same part of the whole ones.

    Choices of widths are coarse. So of the layers between two choices some take the larger one,
    spread evenly over the network, as many as the budget has room for; what is left goes to single
    layers (`topped_up`).

    Raises:
        InputError: The narrowest network of full depth is above the budget.
    """
    space = subject.budget.cost.space
    whole = space.encode([space.extreme(largest=True)])[0]
    subject.budget.require_reached(least_cost(subject, whole), "at full depth")
    return space.decode(evenly_narrowed(subject, whole)[None])[0]


def evenly_narrowed(subject: Subject, code: IntArray) -> IntArray:
    """Returns a network within the budget, whose widths are all the same part of the whole ones.

    Args:
        subject: What is pruned.
        code: (genes,); of it everything but the widths is kept. At its narrowest it must be within
            the budget.
    """
    budget = subject.budget
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        met = float(budget.cost.predict(_narrowed(subject, code, middle)[None])[0]) <= budget.limit
        low, high = (middle, high) if met else (low, middle)
    space = budget.cost.space
    return topped_up(budget, nearest_to(subject, {
        name: low * choices[-1] for name, choices in subject.supernet.elastic.choices.items()
        if name in space.positions}), _narrowed(subject, code, low))


def nearest_to(subject: Subject, widths: Mapping[str, float]) -> dict[str, list[float]]:
    """Returns preferences for choices that are near to some widths, by gene."""
    choices = subject.supernet.elastic.choices
    return {name: [-abs(choice - width) / choices[name][-1] for choice in choices[name]]
            for name, width in widths.items()}


def least_cost(subject: Subject, code: IntArray) -> float:
    """Returns the cost of the network with a code's depths and the least widths."""
    return float(least_costs(subject, code[None])[0])


def least_costs(subject: Subject, codes: IntArray) -> FloatArray:
    """Returns the costs of networks (N, genes) at their depths and the least widths, (N,)."""
    space = subject.budget.cost.space
    narrow = codes.copy()
    narrow[:, [space.positions[name] for name in subject.supernet.elastic.choices]] = 0
    return subject.budget.cost.predict(space.canonical_codes(narrow))


def _narrowed(subject: Subject, code: IntArray, part: float) -> IntArray:
    space = subject.budget.cost.space
    widths = [gene for gene in space.genes if gene.name in subject.supernet.elastic.choices]
    found = code.copy()
    for place, gene in enumerate(widths):
        found[space.positions[gene.name]] = _position(gene, part, place)
    return np.asarray(space.canonical_codes(found[None])[0])


def _position(gene: Gene, part: float, place: int) -> int:
    choices = np.array(gene.choices, dtype=np.float64)
    wanted = part * choices[-1]
    above = int(np.searchsorted(choices, wanted))
    if above == 0:
        return 0
    share = (wanted - choices[above - 1]) / (choices[above] - choices[above - 1])
    # Multiples of the golden ratio are spread evenly however many layers there are.
    return above if share > (place + 1) * _GOLDEN % 1.0 else above - 1
