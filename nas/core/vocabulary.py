"""From codes to blocks: each slot of a network reads a few genes and holds one block or none."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from nas.core.arch import Value
from nas.core.blocks import Block
from nas.core.space import GeneSpace
from nas.core.types import IntArray


@dataclass(frozen=True, slots=True)
class Slot:
    """A place in the network.

    Attributes:
        genes: Names of the genes that decide what stands here.
        make: Their values → the block, or None where the network has none here.
    """

    genes: tuple[str, ...]
    make: Callable[..., Block | None]


class Vocabulary:
    """Every distinct block of a space, in fixed order, and the vectorised map from codes to them.

    Args:
        space: The space whose codes are mapped.
        slots: In the order in which the network runs them.
    """

    blocks: tuple[Block, ...]

    def __init__(self, space: GeneSpace, slots: Sequence[Slot]) -> None:
        ids: dict[str, int] = {}
        blocks: list[Block] = []
        self._tables: list[tuple[list[tuple[int, int]], IntArray]] = []
        for slot in slots:
            columns = [space.positions[name] for name in slot.genes]
            choices = [space.genes[column].choices for column in columns]
            table = np.empty(max(1, int(np.prod([len(c) for c in choices]))), dtype=np.int32)
            for flat, values in enumerate(itertools.product(*choices)):
                table[flat] = _intern(slot.make(*values), ids, blocks)
            self._tables.append((_weights(columns, choices), table))
        self.blocks = tuple(blocks)

    def block_ids(self, codes: IntArray) -> IntArray:
        """Returns the block of each slot, (N, slots) int32, −1 where a slot is empty.

        Genes that are not live may hold anything: only what the network has is read.
        """
        ids = np.empty((len(self._tables), len(codes)), dtype=np.int32)
        columns = np.ascontiguousarray(codes.T).astype(np.int32, copy=False)
        for row, (weights, table) in zip(ids, self._tables, strict=True):
            flat = np.zeros(len(codes), dtype=np.int32)
            for column, weight in weights:
                flat += columns[column] * np.int32(weight)
            np.take(table, flat, out=row)
        return ids.T


def _intern(block: Block | None, ids: dict[str, int], blocks: list[Block]) -> int:
    if block is None:
        return -1
    if block.key not in ids:
        ids[block.key] = len(blocks)
        blocks.append(block)
    return ids[block.key]


def _weights(columns: Sequence[int], choices: Sequence[tuple[Value, ...]]) -> list[tuple[int, int]]:
    # Mixed-radix weights in the order of itertools.product: the last gene moves fastest.
    weights, weight = [], 1
    for column, values in zip(reversed(columns), reversed(choices), strict=True):
        weights.append((column, weight))
        weight *= len(values)
    return weights
