"""Genetic operators beyond a space's own mutation and crossover."""

from collections import defaultdict

import numpy as np

from nas.core.arch import Arch, Value
from nas.core.space import SearchSpace
from nas.core.types import FloatArray, IntArray


def invert(space: SearchSpace, arch: Arch, rng: np.random.Generator) -> Arch:
    """Returns the architecture with one segment of like genes reversed, canonical.

    Like genes are live ones with the same list of choices, such as the kernels of all blocks;
    the values of a random segment of two or more of them, in gene order, swap ends. So every
    value stays valid and none is lost. The architecture itself comes back if no two live genes
    are alike; an equal one may, if the segment is a palindrome.

    EEEA-Net (Termritthikun et al. 2021) applies it with probability 0.1. Its published code
    overwrites one end with the other instead of swapping; this does not.
    """
    codes = space.encode([arch])
    groups: dict[tuple[type, tuple[Value, ...]], list[int]] = defaultdict(list)
    for column in np.flatnonzero(space.active(codes)[0]).tolist():
        choices = space.genes[column].choices
        if len(choices) > 1:
            groups[type(choices[0]), choices].append(column)
    alike = [columns for columns in groups.values() if len(columns) > 1]
    if not alike:
        return arch
    columns = alike[int(rng.integers(len(alike)))]
    first, last = sorted(rng.choice(len(columns), size=2, replace=False).tolist())
    segment = columns[first:last + 1]
    codes[0, segment] = codes[0, segment[::-1]]
    return space.decode(space.canonical_codes(codes))[0]


def crossed(a: IntArray, b: IntArray, rng: np.random.Generator, *, rate: float) -> IntArray:
    """Returns children (N, genes) of parents a and b, (N, genes) each; not canonical.

    With probability `rate` a child takes each gene from either parent with equal probability
    (uniform crossover), else it is a copy of a.
    """
    from_b = (rng.random(a.shape) < 0.5) & (rng.random(len(a)) < rate)[:, None]
    return np.where(from_b, b, a)


def mutated(space: SearchSpace, codes: IntArray, rng: np.random.Generator, *,
            rate: float | None = None, eta: float = 3.0) -> IntArray:
    """Returns canonical codes (N, genes) whose live genes moved with probability `rate` each.

    A gene of texts moves to any other choice. One of numbers, whose choices ascend, moves by the
    polynomial mutation of Deb and Agrawal (1999) with index `eta`, for integers as in NSGA-Net
    (Lu et al. 2019): near choices are likelier, and it moves by at least one.

    Args:
        space: Of the codes.
        codes: Canonical or not, (N, genes).
        rng: Of all draws.
        rate: None: 1 / live genes that have a second choice.
        eta: ≥ 0; the larger, the nearer.
    """
    sizes = np.array([len(gene.choices) for gene in space.genes])
    ordered = np.array([not isinstance(gene.choices[0], str) for gene in space.genes])
    movable = space.active(codes) & (sizes > 1)
    alone = 1.0 / np.maximum(movable.sum(axis=1), 1)[:, None]
    moved = movable & (rng.random(codes.shape) < (alone if rate is None else rate))
    draws = rng.random(codes.shape)
    anywhere = (codes + 1 + (draws * (sizes - 1)).astype(np.int64)) % sizes
    near = _polynomial(codes, sizes, draws, eta)
    return space.canonical_codes(np.where(moved, np.where(ordered, near, anywhere), codes))


def neighbours(space: SearchSpace, code: IntArray) -> IntArray:
    """Returns the canonical codes (N, genes) that differ from one (genes,) in one live gene."""
    live = space.active(code[None])[0]
    rows = []
    for column in np.flatnonzero(live).tolist():
        for choice in range(len(space.genes[column].choices)):
            if choice != code[column]:
                row = code.copy()
                row[column] = choice
                rows.append(row)
    found = np.array(rows, dtype=code.dtype).reshape(-1, len(code))
    return space.canonical_codes(found)


def _polynomial(codes: IntArray, sizes: IntArray, draws: FloatArray, eta: float) -> IntArray:
    # Choice i of k is the interval [i, i + 1) / k, and its middle moves within 0 … 1.
    x = (codes + 0.5) / sizes
    down = draws < 0.5
    room = np.where(down, x, 1 - x)
    twice = np.where(down, 2 * draws, 2 * (1 - draws))
    step = 1 - (twice + (1 - twice) * (1 - room) ** (eta + 1)) ** (1 / (eta + 1))
    moved = np.clip(np.floor((x + np.where(down, -step, step)) * sizes), 0, sizes - 1)
    # Where that stays: one choice in the same direction, or the other one at the edge.
    direction = np.where(down & (codes > 0) | (codes == sizes - 1), -1, 1)
    return np.where(moved == codes, codes + direction, moved).astype(np.int64)
