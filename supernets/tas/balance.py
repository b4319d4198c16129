"""The loss that leads the likeliest network of a controller to the budget."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from nas.core.arch import Arch
from nas.core.types import IntArray
from supernets.tas.budget import Budget
from supernets.tas.controller import Controller
from supernets.tas.expected_cost import ExpectedCost, cost_loss


@dataclass
class CostLoss:
    """The two-sided loss of cost (arXiv 1905.09717, equation 7), without going round in circles.

    A gene whose step to its second likeliest choice would lead over the whole band, such as the
    depth of a costly stage, gets no gradient of cost while other genes can lead towards it: else it
    is stepped forth at one side and back at the other, and the cost is never within the band.

    Attributes:
        budget: To be met.
        tolerance: Half the band.
    """

    budget: Budget
    tolerance: float
    _expected: tuple[Arch, ExpectedCost] | None = field(default=None, init=False, repr=False)

    def __call__(self, controller: Controller) -> Tensor:
        """Returns the loss, with its graph to the logits; 0 within the band."""
        likeliest, cost = controller.most_likely(), self.budget.cost
        found, probabilities = cost.of(likeliest), controller.probabilities()
        if self._is_near(found):
            return next(iter(probabilities.values())).new_zeros(())
        if self._expected is None or self._expected[0] != likeliest:
            self._expected = likeliest, cost.expected(likeliest)
        held = self._held(found, probabilities)
        return cost_loss(
            self._expected[1]({name: values.detach() if name in held else values
                               for name, values in probabilities.items()}),
            found=found, target=self.budget.limit, tolerance=self.tolerance)

    def _is_near(self, found: float) -> bool:
        return abs(found / self.budget.limit - 1.0) <= self.tolerance

    def _held(self, found: float, probabilities: Mapping[str, Tensor]) -> set[str]:
        limit, low, high = self.budget.limit, 1.0 - self.tolerance, 1.0 + self.tolerance
        names = [name for name, values in probabilities.items() if len(values) > 1]
        costs = self.budget.cost.predict(self._stepped(names, probabilities))
        above = found > limit
        towards = costs < found if above else costs > found
        over = costs < low * limit if above else costs > high * limit
        if not (towards & ~over).any():
            return set()
        return {name for name, jumps in zip(names, over, strict=True) if jumps}

    def _stepped(self, names: list[str], probabilities: Mapping[str, Tensor]) -> IntArray:
        # The likeliest network, with one gene after the other at its second likeliest choice.
        space = self.budget.cost.space
        ranked = {name: values.detach().cpu().argsort(descending=True, stable=True)
                  for name, values in probabilities.items()}
        code = np.array([int(ranked[gene.name][0]) for gene in space.genes])
        rows = np.tile(code, (len(names), 1))
        for row, name in zip(rows, names, strict=True):
            row[space.positions[name]] = int(ranked[name][1])
        return space.canonical_codes(rows)
