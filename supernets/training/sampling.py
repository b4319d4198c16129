"""Which architectures one training step runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from nas.core.arch import Arch
from nas.core.space import GeneSpace


class SamplingRule(Protocol):
    """A step's architectures; the first is the teacher of the others.

    Checkpoints record the name of a function and the repr of any other object.
    """

    def __call__(self, space: GeneSpace, rng: np.random.Generator) -> Sequence[Arch]: ...


@dataclass(frozen=True, slots=True)
class Sandwich:
    """The largest, the smallest and some random ones (Yu & Huang, arXiv 1903.05134, section 3.2).

    Attributes:
        n_random: How many lie between.
    """

    n_random: int = 2

    def __call__(self, space: GeneSpace, rng: np.random.Generator) -> list[Arch]:
        """Returns n_random + 2 architectures, the largest first."""
        between = space.decode(space.sample_codes(self.n_random, rng))
        return [space.extreme(largest=True), space.extreme(largest=False), *between]
