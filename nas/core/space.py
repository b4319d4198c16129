"""Search spaces over genes with choices, some active only under one value of another gene."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from nas.core.arch import Arch, Value
from nas.core.errors import ArchError, InputError, SpaceError
from nas.core.types import CODE_DTYPE, BoolArray, FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Condition:
    """A gene is live only where gene `parent` is itself live and has one of `values`."""

    parent: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Gene:
    """One choice of a space.

    Attributes:
        name: Such as ``"stage2.block0.kernel"``.
        choices: ≥1 distinct values of one type, in ascending order of size where they have one.
        condition: When the gene matters; None means always. A gene that does not matter holds
            ``choices[0]`` in canonical form.
    """

    name: str
    choices: tuple[Value, ...]
    condition: Condition | None = None


class SearchSpace(Protocol):
    """What a searcher needs of a space. `codes` are (N, genes) indices into each gene's choices."""

    @property
    def id(self) -> str: ...
    @property
    def genes(self) -> Sequence[Gene]: ...
    @property
    def size(self) -> int: ...
    def sample(self, rng: np.random.Generator) -> Arch: ...
    def mutate(self, arch: Arch, rng: np.random.Generator, rate: float) -> Arch: ...
    def crossover(self, a: Arch, b: Arch, rng: np.random.Generator) -> Arch: ...
    def canonical(self, arch: Arch) -> Arch: ...
    def encode(self, archs: Sequence[Arch]) -> IntArray: ...
    def decode(self, codes: IntArray) -> list[Arch]: ...
    def sample_codes(self, n: int, rng: np.random.Generator) -> IntArray: ...
    def canonical_codes(self, codes: IntArray) -> IntArray: ...
    def active(self, codes: IntArray) -> BoolArray: ...
    def features(self, codes: IntArray) -> FloatArray: ...
    def extreme(self, *, largest: bool) -> Arch: ...


@dataclass(frozen=True)
class GeneSpace:
    """A `SearchSpace` given by its genes; parents precede their children.

    Raises:
        SpaceError: Names repeat, a gene has no or mixed or repeated choices, or a condition names
            a later or unknown gene, or values that its parent does not have.
    """

    id: str
    genes: tuple[Gene, ...]

    def __post_init__(self) -> None:
        _check_genes(self.genes)

    @cached_property
    def size(self) -> int:
        """The exact number of canonical architectures."""
        return _count(self.genes)

    @cached_property
    def cardinalities(self) -> IntArray:
        """The number of choices of each gene, (genes,)."""
        return np.array([len(gene.choices) for gene in self.genes], dtype=CODE_DTYPE)

    @cached_property
    def positions(self) -> dict[str, int]:
        """The column of each gene in a code."""
        return {gene.name: column for column, gene in enumerate(self.genes)}

    @cached_property
    def _conditions(self) -> tuple[tuple[int, int, BoolArray], ...]:
        # (column, parent's column, allowed[parent choice]) in gene order, parents first.
        rows = []
        for column, gene in enumerate(self.genes):
            if gene.condition is not None:
                parent = self.positions[gene.condition.parent]
                values = gene.condition.values
                allowed = np.array([value in values for value in self.genes[parent].choices])
                rows.append((column, parent, allowed))
        return tuple(rows)

    @cached_property
    def _code_of(self) -> tuple[dict[tuple[type, Value], int], ...]:
        return tuple(
            {(type(value), value): index for index, value in enumerate(gene.choices)}
            for gene in self.genes
        )

    def encode(self, archs: Sequence[Arch]) -> IntArray:
        """Returns the codes (N, genes) of architectures of this space.

        Raises:
            ArchError: An architecture of another space, or with a gene or value not of this one.
        """
        codes = np.empty((len(archs), len(self.genes)), dtype=CODE_DTYPE)
        for row, arch in enumerate(archs):
            if arch.space_id != self.id:
                raise ArchError(f"architecture is of space {arch.space_id!r}, not {self.id!r}")
            if tuple(name for name, _ in arch.choices) != tuple(self.positions):
                raise ArchError(f"the genes of architecture {arch.digest} are not those of "
                                f"{self.id}, in its order")
            for column, (name, value) in enumerate(arch.choices):
                try:
                    codes[row, column] = self._code_of[column][type(value), value]
                except KeyError:
                    raise ArchError(f"gene {name!r} takes one of "
                                    f"{list(self.genes[column].choices)}, not {value!r}") from None
        return codes

    def decode(self, codes: IntArray) -> list[Arch]:
        """Returns the architectures of codes (N, genes); the inverse of `encode`.

        Raises:
            ArchError: The shape is wrong or an index is outside its gene's choices.
        """
        if codes.ndim != 2 or codes.shape[1] != len(self.genes):
            raise ArchError(f"codes of {self.id} have shape (N, {len(self.genes)}), "
                            f"not {codes.shape}")
        if codes.size and (codes.min() < 0 or (codes >= self.cardinalities).any()):
            raise ArchError(f"a code of {self.id} is outside its gene's choices")
        return [
            Arch(self.id, tuple((gene.name, gene.choices[code])
                                for gene, code in zip(self.genes, row, strict=True)))
            for row in codes.tolist()
        ]

    def active(self, codes: IntArray) -> BoolArray:
        """Returns which genes matter in each code, (N, genes)."""
        live = np.ones(codes.shape, dtype=np.bool_)
        for column, parent, allowed in self._conditions:
            live[:, column] = live[:, parent] & allowed[codes[:, parent]]
        return live

    def canonical_codes(self, codes: IntArray) -> IntArray:
        """Returns the codes with every gene that does not matter reset to its first choice."""
        return np.where(self.active(codes), codes, 0).astype(CODE_DTYPE)

    def sample_codes(self, n: int, rng: np.random.Generator) -> IntArray:
        """Returns n canonical codes (n, genes); each gene is drawn uniformly from its choices."""
        draws = rng.random((n, len(self.genes)), dtype=np.float32) * self.cardinalities
        # A float32 draw just below 1 may round up to the cardinality itself.
        codes = np.minimum(draws.astype(CODE_DTYPE), self.cardinalities - 1)
        return self.canonical_codes(codes)

    def canonical(self, arch: Arch) -> Arch:
        """Returns the one architecture that stands for the same network."""
        return self.decode(self.canonical_codes(self.encode([arch])))[0]

    def sample(self, rng: np.random.Generator) -> Arch:
        """Returns one architecture drawn as in `sample_codes`."""
        return self.decode(self.sample_codes(1, rng))[0]

    def mutate(self, arch: Arch, rng: np.random.Generator, rate: float) -> Arch:
        """Returns a different architecture: each live gene moves with probability `rate`.

        At least one gene moves, always to another value. The architecture itself comes back only
        if no live gene has a second choice.

        Raises:
            InputError: A rate outside 0 … 1.
        """
        if not 0.0 <= rate <= 1.0:
            raise InputError(f"mutation rate {rate} is outside 0 … 1")
        codes = self.encode([arch])[0]
        movable = np.flatnonzero(self.active(codes[None])[0] & (self.cardinalities > 1))
        if movable.size == 0:
            return arch
        moved = movable[rng.random(movable.size) < rate]
        if moved.size == 0:
            moved = rng.choice(movable, size=1)
        steps = rng.integers(1, self.cardinalities[moved])
        codes[moved] = (codes[moved] + steps) % self.cardinalities[moved]
        return self.decode(self.canonical_codes(codes[None]))[0]

    def crossover(self, a: Arch, b: Arch, rng: np.random.Generator) -> Arch:
        """Returns a child that takes each gene from either parent with equal probability."""
        code_a, code_b = self.encode([a, b])
        child = np.where(rng.random(len(self.genes)) < 0.5, code_a, code_b)
        return self.decode(self.canonical_codes(child[None]))[0]

    def features(self, codes: IntArray) -> FloatArray:
        """Returns the canonical one-hot code, and what numbers it stands for, (N, F).

        Genes with three or more numeric choices give a column each, as a share of their largest
        magnitude: a one-hot code does not tell that 5 lies between 3 and 7. Dead genes are zero.
        """
        live = self.active(codes)
        columns = [
            ((codes[:, column] == choice) & live[:, column])
            for column, gene in enumerate(self.genes)
            for choice in range(len(gene.choices))
        ]
        numbers = [
            _shares(gene)[codes[:, column]] * live[:, column]
            for column, gene in enumerate(self.genes) if _ordered(gene)
        ]
        return np.stack([*columns, *numbers], axis=1).astype(np.float64)

    def extreme(self, *, largest: bool) -> Arch:
        """Returns the architecture with every gene at its last (largest) or first choice."""
        codes = (self.cardinalities - 1) if largest else np.zeros(len(self.genes), CODE_DTYPE)
        return self.decode(self.canonical_codes(codes[None]))[0]


def _ordered(gene: Gene) -> bool:
    # Of two choices the one-hot code says all.
    return len(gene.choices) > 2 and not isinstance(gene.choices[0], str)


def _shares(gene: Gene) -> FloatArray:
    values = np.array(gene.choices, dtype=np.float64)
    return np.asarray(values / np.abs(values).max())


def _check_genes(genes: Sequence[Gene]) -> None:
    seen: dict[str, Gene] = {}
    for gene in genes:
        if gene.name in seen:
            raise SpaceError(f"gene {gene.name!r} is declared twice")
        if not gene.choices:
            raise SpaceError(f"gene {gene.name!r} has no choices")
        if len({type(value) for value in gene.choices}) > 1 or isinstance(gene.choices[0], bool):
            raise SpaceError(f"gene {gene.name!r}: choices must all be int, float or str")
        if any(isinstance(value, float) and not math.isfinite(value) for value in gene.choices):
            raise SpaceError(f"gene {gene.name!r} has a choice that is not finite")
        if len(set(gene.choices)) < len(gene.choices):
            raise SpaceError(f"gene {gene.name!r} repeats a choice")
        if len(gene.choices) > np.iinfo(CODE_DTYPE).max:
            raise SpaceError(f"gene {gene.name!r} has {len(gene.choices)} choices; codes hold at "
                             f"most {np.iinfo(CODE_DTYPE).max}")
        _check_condition(gene, seen)
        seen[gene.name] = gene


def _check_condition(gene: Gene, seen: Mapping[str, Gene]) -> None:
    if gene.condition is None:
        return
    parent = seen.get(gene.condition.parent)
    if parent is None:
        raise SpaceError(f"gene {gene.name!r}: its parent {gene.condition.parent!r} must be "
                         "declared before it")
    known = {(type(value), value) for value in parent.choices}
    if not gene.condition.values or not {(type(v), v) for v in gene.condition.values} <= known:
        raise SpaceError(f"gene {gene.name!r}: {parent.name!r} never has one of "
                         f"{gene.condition.values}")


def _count(genes: Sequence[Gene]) -> int:
    # Children follow their parents: backwards, the ways below each value are known when needed.
    ways = {gene.name: [1] * len(gene.choices) for gene in genes}
    choices = {gene.name: gene.choices for gene in genes}
    size = 1
    for gene in reversed(genes):
        total = sum(ways[gene.name])
        if gene.condition is None:
            size *= total
            continue
        parent = gene.condition.parent
        for index, value in enumerate(choices[parent]):
            if value in gene.condition.values:
                ways[parent][index] *= total
    return size
