"""What a network of a distribution of architectures costs on average, with gradients."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from nas.core.errors import SpaceError
from nas.core.types import FloatArray
from nas.core.vocabulary import Vocabulary


class ExpectedCost:
    """The mean of a sum over blocks, exact for independent genes.

    Each slot has a table of costs with one axis for each gene that it depends on; its mean is the
    table times the genes' probabilities. So whatever has a cost for each block can be descended:
    parameters, multiply-adds or measured latency. Dong and Yang (arXiv 1905.09717, section 3.3)
    multiply mean widths instead, which gives the same where a cost is their product.

    Args:
        vocabulary: Of the space.
        table: Cost of each of its blocks, (blocks,).
        offset: What a network costs beside its blocks.

    Raises:
        SpaceError: A slot depends on a gene twice.
    """

    def __init__(self, vocabulary: Vocabulary, table: FloatArray, *, offset: float = 0.0) -> None:
        padded = np.append(table, 0.0)  # id -1 reads the trailing zero
        self._picked = vocabulary.picked
        self._offset = offset
        # A slot that depends on nothing has one cost.
        self._slots = [(slot.genes, torch.from_numpy(np.asarray(padded[slot.ids])))
                       for slot in vocabulary.slots]
        for genes, _ in self._slots:
            read = [name for gene in genes for name in self._read(gene)]
            if len(read) != len(set(read)):
                raise SpaceError(f"a block depends twice on one of {', '.join(sorted(set(read)))}")

    def __call__(self, probabilities: Mapping[str, Tensor]) -> Tensor:
        """Returns the mean cost, a number with its graph, in double precision.

        Args:
            probabilities: Gene → (choices,).
        """
        known = {name: values.double() for name, values in probabilities.items()}
        for name, pick in self._picked.items():
            among = [known[gene] for gene in pick.genes]
            known[name] = among[0] if pick.by is None else known[pick.by] @ torch.stack(among)
        total = torch.tensor(self._offset, dtype=torch.float64)
        for genes, costs in self._slots:
            mean = costs
            for gene in reversed(genes):
                mean = mean @ known[gene].to(mean.device)
            total = total + mean
        return total

    def _read(self, gene: str) -> tuple[str, ...]:
        pick = self._picked.get(gene)
        if pick is None:
            return (gene,)
        return pick.genes if pick.by is None else (pick.by, *dict.fromkeys(pick.genes))


def cost_loss(expected: Tensor, *, found: float, target: float, tolerance: float = 0.05) -> Tensor:
    """Returns the two-sided loss of a cost (arXiv 1905.09717, equation 7).

    Above the band (1 ± tolerance) · target it is log of the expected cost, below it minus that, and
    0 within. Unlike the published code's, the band has the target in its middle, as in the paper.

    Args:
        expected: Mean cost of the distribution, with its graph.
        found: Cost of the likeliest network.
        target: What is wanted.
        tolerance: t.
    """
    if found > (1.0 + tolerance) * target:
        return expected.log()
    if found < (1.0 - tolerance) * target:
        return -expected.log()
    return expected.new_zeros(())
