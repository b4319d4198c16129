"""What is learnt of an architecture: one vector of logits for each gene, and draws from them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nas.core.arch import Arch, Value
from nas.core.errors import EvaluationError
from nas.core.space import GeneSpace

_SPREAD = 0.01  # of the first logits
_EPSILON = 1e-7  # no choice is impossible
_TRIES = 100


@dataclass(frozen=True, slots=True)
class Draw:
    """Some of a gene's choices and their weights, which add up to 1.

    Attributes:
        positions: Among the gene's choices.
        weights: (positions,), with their graph.
    """

    positions: tuple[int, ...]
    weights: Tensor


class Controller(nn.Module):
    """The distribution of each gene of a space, α and β of the paper (section 3.1).

    Genes are independent. A draw of a width is of two of its choices, one of a depth weights all.

    Args:
        space: Of the architectures.
        depths: The genes that are depths.
        generator: Of the first logits, which are normal with deviation 0.01.
    """

    def __init__(self, space: GeneSpace, *, depths: Collection[str],
                 generator: torch.Generator) -> None:
        super().__init__()
        self._space = space
        self._depths = frozenset(depths)
        self.logits = nn.ParameterDict({
            _key(gene.name): nn.Parameter(
                _SPREAD * torch.randn(len(gene.choices), generator=generator))
            for gene in space.genes})
        self._rows = _Rows(space, self._depths)

    def probabilities(self) -> dict[str, Tensor]:
        """Returns for each gene the probability of each of its choices, with its graph."""
        return {gene.name: self.logits[_key(gene.name)].softmax(0) for gene in self._space.genes}

    def draw(self, temperature: float, generator: torch.Generator) -> dict[str, Draw]:
        """Returns a draw of each gene: Gumbel-softmax with two samples (section 3.1, equation 3).

        Args:
            temperature: τ; the smaller, the nearer is a draw to one choice.
            generator: Of the noise.

        Raises:
            EvaluationError: Logits that are not finite.
        """
        rows = self._rows
        logits_GK = rows.padded([self.logits[_key(name)] for name in rows.names])
        self._check_finite(logits_GK)
        for _ in range(_TRIES):
            uniform_GK, race_GK = rows.noise(generator)
            if bool((uniform_GK > 0).all()):
                break
        noise_GK = -(-uniform_GK.log()).log()
        noisy_GK = (logits_GK.log_softmax(1) + noise_GK.to(logits_GK.device)) / temperature
        return rows.draws(noisy_GK, race_GK)

    def most_likely(self) -> Arch:
        """Returns the architecture of the likeliest choice of each gene, canonical."""
        values: list[tuple[str, Value]] = [
            (gene.name, gene.choices[int(self.logits[_key(gene.name)].argmax())])
            for gene in self._space.genes]
        return self._space.canonical(Arch(self._space.id, tuple(values)))

    def _check_finite(self, logits_GK: Tensor) -> None:
        found = torch.isfinite(logits_GK.detach()).cpu() | ~self._rows.real_GK
        if not bool(found.all()):
            name = self._rows.names[int((~found).any(1).nonzero()[0])]
            raise EvaluationError(f"the logits of {name} are not finite; lower the learning rate "
                                  "of the architecture")


class _Rows:
    """All genes as rows of one matrix, G × K: one operation for all costs as much as for one."""

    def __init__(self, space: GeneSpace, depths: Collection[str]) -> None:
        self.names = [gene.name for gene in space.genes]
        self._sizes = [len(gene.choices) for gene in space.genes]
        self._pairs = [row for row, gene in enumerate(space.genes)
                       if gene.name not in depths and len(gene.choices) > 1]
        widest, total = max(self._sizes), sum(self._sizes)
        self.real_GK = torch.arange(widest) < torch.tensor(self._sizes)[:, None]
        self._places = torch.full_like(self.real_GK, total, dtype=torch.long)
        self._places[self.real_GK] = torch.arange(total)

    def padded(self, logits: Sequence[Tensor]) -> Tensor:
        """Returns logits as rows; what a gene lacks is impossible."""
        flat = torch.cat([*logits, logits[0].new_full((1,), -torch.inf)])
        return flat[self._places.to(flat.device)]

    def noise(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Returns uniform numbers, and exponential ones for those of which two are drawn."""
        uniform_GK = torch.full(self.real_GK.shape, 0.5)
        race_GK = torch.ones(self.real_GK.shape)
        pairs = set(self._pairs)
        for row, size in enumerate(self._sizes):
            uniform_GK[row, :size] = torch.rand(size, generator=generator)
            if row in pairs:
                race_GK[row, :size] = torch.empty(size).exponential_(generator=generator)
        return uniform_GK, race_GK

    def draws(self, noisy_GK: Tensor, race_GK: Tensor) -> dict[str, Draw]:
        """Returns the draws for noisy logits."""
        found = {name: Draw(tuple(range(size)), weights[:size]) for name, size, weights in
                 zip(self.names, self._sizes, noisy_GK.softmax(1).unbind(), strict=True)}
        if not self._pairs:
            return found
        rows = torch.tensor(self._pairs)
        # Who comes first in a race of exponential times is drawn, as `torch.multinomial` does.
        likely = noisy_GK.detach().softmax(1).cpu() + _EPSILON
        ranks = torch.where(self.real_GK, likely / race_GK, -1.0)[rows]
        pairs = ranks.topk(2, dim=1).indices
        weights_P2 = noisy_GK[rows].gather(1, pairs.to(noisy_GK.device)).softmax(1)
        for row, pair, weights in zip(self._pairs, pairs.tolist(), weights_P2.unbind(),
                                      strict=True):
            found[self.names[row]] = Draw(tuple(pair), weights)
        return found


def _key(name: str) -> str:
    return name.replace(".", "/")  # a module's names have no dots
