"""What is learnt of an architecture: one vector of logits for each gene, and draws from them."""

from collections.abc import Collection
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
        return {gene.name: self._draw(gene.name, temperature, generator)
                for gene in self._space.genes}

    def most_likely(self) -> Arch:
        """Returns the architecture of the likeliest choice of each gene, canonical."""
        values: list[tuple[str, Value]] = [
            (gene.name, gene.choices[int(self.logits[_key(gene.name)].argmax())])
            for gene in self._space.genes]
        return self._space.canonical(Arch(self._space.id, tuple(values)))

    def _draw(self, name: str, temperature: float, generator: torch.Generator) -> Draw:
        logits = self.logits[_key(name)]
        for _ in range(_TRIES):
            uniform = torch.rand(logits.shape, generator=generator).to(logits.device)
            noise = -(-uniform.log()).log()
            noisy = (logits.log_softmax(0) + noise) / temperature
            if bool(torch.isfinite(noisy).all()):  # a uniform number may be 0
                break
        else:
            raise EvaluationError(f"the logits of {name} are not finite; lower the learning rate "
                                  "of the architecture")
        if name in self._depths or len(logits) == 1:
            return Draw(tuple(range(len(logits))), noisy.softmax(0))
        with torch.no_grad():
            likely = noisy.softmax(0).cpu() + _EPSILON
            pair = torch.multinomial(likely, 2, replacement=False, generator=generator)
        return Draw(tuple(pair.tolist()), noisy[pair.to(noisy.device)].softmax(0))


def _key(name: str) -> str:
    return name.replace(".", "/")  # a module's names have no dots
