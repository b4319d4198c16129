"""Genetic operators beyond a space's own mutation and crossover."""

from collections import defaultdict

import numpy as np

from nas.core.arch import Arch, Value
from nas.core.space import SearchSpace


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
