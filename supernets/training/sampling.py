"""Which architectures one training step runs: pure functions of the space, the rng and the step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import numpy as np

from nas.core.arch import Arch
from nas.core.errors import InputError
from nas.core.space import GeneSpace
from nas.core.types import FloatArray, IntArray


class SamplingRule(Protocol):
    """A step's architectures, at least one. Checkpoints record the repr of a rule."""

    @property
    def teaches(self) -> bool:
        """Whether the others learn from the first architecture; else all learn alike."""

    def __call__(self, space: GeneSpace, rng: np.random.Generator, step: int,
                 /) -> Sequence[Arch]: ...


@dataclass(frozen=True, slots=True)
class Sandwich:
    """The largest, the smallest and some random ones (Yu & Huang, arXiv 1903.05134, section 3.2).

    Attributes:
        n_random: How many lie between.
    """

    n_random: int = 2
    teaches: ClassVar[bool] = True

    def __call__(self, space: GeneSpace, rng: np.random.Generator, _step: int = 0,
                 /) -> list[Arch]:
        """Returns n_random + 2 architectures, the largest first."""
        return sandwiched(space, space.sample_codes(self.n_random, rng))


@dataclass(frozen=True, slots=True)
class Uniform:
    """Random ones, each of which learns from the labels.

    Attributes:
        count: How many, ≥1.
    """

    count: int = 4
    teaches: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_count(self.count)

    def __call__(self, space: GeneSpace, rng: np.random.Generator, _step: int = 0,
                 /) -> list[Arch]:
        """Returns `count` architectures."""
        return space.decode(space.sample_codes(self.count, rng))


@dataclass(frozen=True, slots=True)
class SinglePath:
    """One random architecture (Guo et al., arXiv 1904.00420, section 3.2), without a teacher."""

    teaches: ClassVar[bool] = False

    def __call__(self, space: GeneSpace, rng: np.random.Generator, _step: int = 0,
                 /) -> list[Arch]:
        """Returns one architecture."""
        return space.decode(space.sample_codes(1, rng))


@dataclass(frozen=True, slots=True)
class Largest:
    """The largest architecture alone, which others are to inherit from."""

    teaches: ClassVar[bool] = False

    def __call__(self, space: GeneSpace, _rng: np.random.Generator, _step: int = 0,
                 /) -> list[Arch]:
        """Returns one architecture."""
        return [space.extreme(largest=True)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Attentive:
    """A sandwich between whose ends lie the best, or the worst, of several random ones.

    Wang et al., AttentiveNAS, arXiv 2011.09011, section 3. It deviates in that no target of FLOPs
    is drawn first: the random ones that are compared are of any size.

    Attributes:
        score: Codes (N, genes) → (N,), higher is better.
        best: Which end is kept: the best (best-up) or the worst (worst-up).
        among: Random ones of which one is kept.
        count: How many are kept.
    """

    score: Callable[[IntArray], FloatArray] = field(repr=False)
    best: bool
    among: int = 3
    count: int = 2
    teaches: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_count(self.among)
        _check_count(self.count)

    def __call__(self, space: GeneSpace, rng: np.random.Generator, _step: int = 0,
                 /) -> list[Arch]:
        """Returns count + 2 architectures, the largest first."""
        codes = space.sample_codes(self.count * self.among, rng)
        scores = self.score(codes).reshape(self.count, self.among)
        kept = scores.argmax(axis=1) if self.best else scores.argmin(axis=1)
        return sandwiched(space, codes[np.arange(self.count) * self.among + kept])


@dataclass(frozen=True, kw_only=True, slots=True)
class ParetoWeighted:
    """A sandwich between whose ends lie mutants of the front that a search has found so far.

    Attributes:
        front: Step → the front's codes (N, genes). A resumed training is the uninterrupted one
            if this is a function of the step. As long as N is 0, architectures are random.
        count: How many mutants.
        rate: Probability with which a gene of a member moves; one always does.
    """

    front: Callable[[int], IntArray] = field(repr=False)
    count: int = 2
    rate: float = 0.1
    teaches: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_count(self.count)
        if not 0 <= self.rate <= 1:
            raise InputError(f"mutation rate {self.rate} is outside 0 … 1")

    def __call__(self, space: GeneSpace, rng: np.random.Generator, step: int, /) -> list[Arch]:
        """Returns count + 2 architectures, the largest first."""
        front = self.front(step)
        if len(front) == 0:
            return sandwiched(space, space.sample_codes(self.count, rng))
        members = space.decode(front[rng.integers(len(front), size=self.count)])
        mutants = [space.mutate(member, rng, self.rate) for member in members]
        return sandwiched(space, space.encode(mutants))


def sandwiched(space: GeneSpace, codes: IntArray) -> list[Arch]:
    """Returns the largest, the smallest and those of the codes."""
    return [space.extreme(largest=True), space.extreme(largest=False), *space.decode(codes)]


def _check_count(count: int) -> None:
    if count < 1:
        raise InputError(f"a sampling rule draws 1 architecture or more, not {count}")
