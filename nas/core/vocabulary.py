"""From codes to blocks: each slot of a network reads a few genes and holds one block or none."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nas.core.blocks import Block
from nas.core.space import GeneSpace
from nas.core.types import IntArray


@dataclass(frozen=True, slots=True)
class Slot:
    """A place in the network.

    Attributes:
        genes: Names of the genes, or `Picked` values, that decide what stands here.
        make: Their values → the block, or None where the network has none here.
    """

    genes: tuple[str, ...]
    make: Callable[..., Block | None]


@dataclass(frozen=True, slots=True)
class Picked:
    """The value of one of several genes: another gene says of which.

    So the width that a stage passes on is that of the last block that its depth keeps.

    Attributes:
        by: The gene that says so; None: it is always the first one's.
        genes: For each of its choices, in order, the gene whose value it is; all of them have the
            same choices.
    """

    by: str | None
    genes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SlotTable:
    """What stands in a slot.

    Attributes:
        genes: As of the `Slot`.
        ids: Of the block by the positions of the genes' values among their choices: one axis for
            each gene; −1 where there is none.
    """

    genes: tuple[str, ...]
    ids: IntArray


class Vocabulary:
    """Every distinct block of a space, in fixed order, and the vectorised map from codes to them.

    Args:
        space: The space whose codes are mapped.
        slots: In the order in which the network runs them.
        picked: By name; slots use the names as if they were genes.

    Attributes:
        blocks: Every distinct block.
        slots: What stands where.
        picked: As given.
    """

    blocks: tuple[Block, ...]
    slots: tuple[SlotTable, ...]

    def __init__(self, space: GeneSpace, slots: Sequence[Slot],
                 picked: Mapping[str, Picked] | None = None) -> None:
        self.picked = dict(picked or {})
        self._columns = dict(space.positions)
        self._columns |= {name: len(space.genes) + place for place, name in enumerate(self.picked)}
        ids: dict[str, int] = {}
        blocks: list[Block] = []
        tables = []
        for slot in slots:
            choices = [space.genes[space.positions[self._like(name)]].choices
                       for name in slot.genes]
            made = [_intern(slot.make(*values), ids, blocks)
                    for values in itertools.product(*choices)]
            shape = tuple(len(values) for values in choices)
            tables.append(SlotTable(slot.genes, np.array(made, dtype=np.int32).reshape(shape)))
        self.blocks = tuple(blocks)
        self.slots = tuple(tables)

    def block_ids(self, codes: IntArray) -> IntArray:
        """Returns the block of each slot, (N, slots) int32, −1 where a slot is empty.

        Genes that are not live may hold anything: only what the network has is read.
        """
        ids = np.empty((len(self.slots), len(codes)), dtype=np.int32)
        columns = [*np.ascontiguousarray(codes.T).astype(np.int32, copy=False)]
        columns += [self._pick(pick, columns) for pick in self.picked.values()]
        for row, slot in zip(ids, self.slots, strict=True):
            flat = np.zeros(len(codes), dtype=np.int32)
            # Mixed-radix weights in C order: the last gene moves fastest.
            weight = slot.ids.size
            for name, count in zip(slot.genes, slot.ids.shape, strict=True):
                weight //= count
                flat += columns[self._columns[name]] * np.int32(weight)
            np.take(slot.ids.ravel(), flat, out=row)
        return ids.T

    def _like(self, name: str) -> str:
        # A gene with the choices of a gene or picked value.
        return self.picked[name].genes[0] if name in self.picked else name

    def _pick(self, pick: Picked, columns: Sequence[IntArray]) -> IntArray:
        among = [columns[self._columns[name]] for name in pick.genes]
        if pick.by is None:
            return among[0]
        return np.choose(columns[self._columns[pick.by]], among).astype(np.int32)


def _intern(block: Block | None, ids: dict[str, int], blocks: list[Block]) -> int:
    if block is None:
        return -1
    if block.key not in ids:
        ids[block.key] = len(blocks)
        blocks.append(block)
    return ids[block.key]
