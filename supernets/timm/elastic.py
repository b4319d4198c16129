"""The space of a timm model's subnets, and what one of its architectures means for the model."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from nas.core.arch import Arch, Value
from nas.core.errors import SpaceError
from nas.core.space import Condition, Gene, GeneSpace
from nas.core.vocabulary import Picked
from supernets.timm.blocks import SMALLEST_KERNEL, BlockFacts, Kernel
from supernets.timm.families import ModelFacts, StageFacts
from supernets.timm.layout import Dim

RESOLUTION = "resolution"  # the gene of the side of images
MULTIPLE = 8  # of channels: runtimes work on whole vectors of them


@dataclass(frozen=True, kw_only=True, slots=True)
class Ratios:
    """Which parts of the model's own sizes are choices; each holds 1.

    Attributes:
        inner: Of widths within a block: expansion, MLP, attention heads.
        width: Of widths between blocks.
        depth: The least share of a stage's blocks that stays; one block does in any case.
        depth_step: Depths are so many blocks apart, from the least; the whole stage is one, too.
        multiple: Of what widths are, but for those of fewer channels.
        nearest: Whether parts are rounded to the nearest multiple, or down.
        kernels: Whether kernels are elastic.
    """

    inner: tuple[float, ...] = (0.5, 0.625, 0.75, 0.875, 1.0)
    width: tuple[float, ...] = (0.75, 0.875, 1.0)
    depth: float = 0.5
    depth_step: int = 1
    multiple: int = MULTIPLE
    nearest: bool = True
    kernels: bool = True

    def __post_init__(self) -> None:
        if min(self.depth_step, self.multiple) < 1:
            raise SpaceError(f"depths {self.depth_step} blocks apart and multiples of "
                             f"{self.multiple} channels: both must be at least 1")
        for name, values in (("inner", self.inner), ("width", self.width),
                             ("depth", (self.depth, 1.0))):
            if 1.0 not in values or not all(0.0 < value <= 1.0 for value in values):
                raise SpaceError(f"{name} ratios {tuple(values)} must lie in 0 … 1 and hold 1")


@dataclass(frozen=True, slots=True)
class Subnet:
    """What an architecture keeps.

    Attributes:
        units: Of each width, by its name.
        dropped: Paths of the blocks that are left out.
        kernels: Path of a convolution → the side of its kernel, where it is not the full one.
        side: Of the images that it works on, if that is not the side of those it is given.
    """

    units: Mapping[str, int]
    dropped: frozenset[str]
    kernels: Mapping[str, int]
    side: int | None = None


@dataclass(frozen=True)
class Elastic:
    """A model's space and the map from its architectures to subnets.

    Attributes:
        id: Of the space.
        facts: What is elastic in the model.
        ratios: Which sizes are choices.
        drop_order: Stage → its droppable positions, the first one to go in front; the last
            blocks go first where it is not given.
        sides: Of the images that subnets work on, ascending; the last is that of the images they
            are given. Empty: all work on what they are given.
    """

    id: str
    facts: ModelFacts
    ratios: Ratios = field(default_factory=Ratios)
    drop_order: Mapping[str, Sequence[int]] = field(default_factory=dict)
    sides: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.sides != tuple(sorted(set(self.sides))) or min(self.sides, default=1) < 1:
            raise SpaceError(f"resolutions {self.sides} must be positive, ascending and distinct")
        if self.sides and self.facts.family == "vit":
            raise SpaceError("a vision transformer has one resolution: its positions are learnt")

    @cached_property
    def space(self) -> GeneSpace:
        """Resolution, widths between blocks, then by stage its depth and what each block has."""
        within = self._inner_dims | self._untied_dims
        genes = [Gene(RESOLUTION, self.sides)] if len(self.sides) > 1 else []
        genes += [Gene(dim.name, self.choices[dim.name]) for dim in self._dims
                 if dim.name not in within]
        for stage in self.facts.stages:
            genes += self._stage_genes(stage)
        return GeneSpace(self.id, tuple(genes))

    @cached_property
    def choices(self) -> Mapping[str, tuple[int, ...]]:
        """The values of each width's gene, ascending."""
        inner = self._inner_dims
        return {dim.name: _choices(dim, self.ratios, self.ratios.inner if dim.name in inner
                                   else self.ratios.width) for dim in self._dims}

    def subnet(self, arch: Arch) -> Subnet:
        """Returns what an architecture of the space keeps.

        Raises:
            ArchError: An architecture of another space.
        """
        self.space.encode([arch])
        return self.of_values(arch.as_dict())

    def of_values(self, values: Mapping[str, Value]) -> Subnet:
        """Returns the subnet of some genes' values; the others are those of the whole model."""
        units = {dim.name: int(values[dim.name]) // dim.step if dim.name in values else dim.units
                 for dim in self.facts.layout.dims.values()}
        dropped: set[str] = set()
        for stage in self.facts.stages:
            depth = values.get(depth_gene(stage), len(stage.blocks))
            gone = len(stage.blocks) - int(depth)
            dropped |= {stage.blocks[place].path for place in self.order(stage)[:gone]}
        kernels = {kernel.path: int(values[gene]) for gene, kernel in self.kernels.items()
                   if values.get(gene, kernel.side) != kernel.side
                   and not any(kernel.path.startswith(f"{path}.") for path in dropped)}
        source = self.facts.source
        for stage in self.facts.stages:
            if stage.out is not None:
                kept = [block for block in stage.blocks if block.path not in dropped]
                _pass_on(stage.out, source, kept, values, units)
                source = stage.out
        side = int(values[RESOLUTION]) if RESOLUTION in values else None
        return Subnet(units, frozenset(dropped), kernels,
                      None if side in (None, *self.sides[-1:]) else side)

    def order(self, stage: StageFacts) -> Sequence[int]:
        """Returns a stage's droppable positions, the first one to go in front."""
        return self.drop_order.get(stage.name, stage.droppable[::-1])

    @cached_property
    def picked(self) -> Mapping[str, Picked]:
        """The widths that untied blocks read and their stages pass on, as the genes say them.

        Raises:
            SpaceError: Such a width is elastic for some depths only.
        """
        found: dict[str, Picked] = {}
        source = self.facts.source
        for stage in self.facts.stages:
            if stage.out is not None:
                found |= self._picked_in(stage, source)
                source = stage.out
        return found

    @cached_property
    def kernels(self) -> Mapping[str, Kernel]:
        """Gene → its convolution."""
        return {gene: kernel for stage in self.facts.stages for place in range(len(stage.blocks))
                for gene, kernel in block_kernels(stage, place).items() if self.ratios.kernels}

    def _picked_in(self, stage: StageFacts, source: str) -> dict[str, Picked]:
        gene, count = depth_gene(stage), len(stage.blocks)
        depths = [int(depth) for depth in self.space.genes[self.space.positions[gene]].choices
                  ] if gene in self.space.positions else [count]
        kept = [sorted(set(range(count)) - set(self.order(stage)[:count - depth]))
                for depth in depths]

        def given(places: Sequence[int], end: int) -> str:
            # The width behind the last of these blocks in front of a place.
            before = [place for place in places if place < end]
            return str(stage.blocks[before[-1]].target) if before else source

        found = {str(stage.out): [given(places, count) for places in kept]}
        for place, block in enumerate(stage.blocks):
            if block.source is not None:
                # Where the block itself is gone nobody reads this.
                found[block.source] = [given(places if place in places else kept[-1], place)
                                       for places in kept]
        dims = self.facts.layout.dims
        for name, among in found.items():
            if len({dims[width].fixed for width in (name, *among)}) > 1:
                raise SpaceError(f"{self.id}: {name} is one of {', '.join(sorted(set(among)))}, of "
                                 "which some are excluded; exclude all of them or none, or let "
                                 "blocks go from the end")
        return {name: Picked(gene, tuple(among)) if len(set(among)) > 1
                else Picked(None, (among[0],))
                for name, among in found.items() if not dims[name].fixed}

    @cached_property
    def _dims(self) -> list[Dim]:
        passed_on = {stage.out for stage in self.facts.stages} | {
            block.source for stage in self.facts.stages for block in stage.blocks}
        return [dim for dim in self.facts.layout.dims.values()
                if not dim.fixed and dim.name not in passed_on]

    @cached_property
    def _inner_dims(self) -> frozenset[str]:
        between = {block.target for stage in self.facts.stages for block in stage.blocks}
        return frozenset(dim.name for dim in self._dims
                         if dim.name not in between and not dim.name.startswith("stem"))

    @cached_property
    def _untied_dims(self) -> frozenset[str]:
        return frozenset(str(block.target) for stage in self.facts.stages if stage.out is not None
                         for block in stage.blocks)

    def _stage_genes(self, stage: StageFacts) -> list[Gene]:
        genes, count = [], len(stage.blocks)
        least = max(count - len(stage.droppable), math.ceil(self.ratios.depth * count), 1)
        depths = (*range(least, count, self.ratios.depth_step), count)
        if len(depths) > 1:
            genes.append(Gene(depth_gene(stage), depths))
        gone = {place: rank for rank, place in enumerate(self.order(stage))}
        for position in range(count):
            live = None
            if len(depths) > 1 and position in gone:
                # It is there while fewer blocks are dropped than precede it in the order.
                there = tuple(depth for depth in depths if count - depth <= gone[position])
                live = None if there == depths else Condition(depth_gene(stage), there)
            prefix = block_prefix(stage, position)
            genes += [Gene(dim.name, self.choices[dim.name], live) for dim in self._dims
                      if dim.name in self._inner_dims | self._untied_dims
                      and dim.name.startswith(f"{prefix}.")]
            genes += [Gene(gene, tuple(range(SMALLEST_KERNEL, kernel.side + 1, 2)), live)
                      for gene, kernel in block_kernels(stage, position).items()
                      if self.ratios.kernels]
        return genes


def depth_gene(stage: StageFacts) -> str:
    """Returns the name of the gene of a stage's depth."""
    return f"{stage.name}.depth" if stage.name else "depth"


def block_prefix(stage: StageFacts, position: int) -> str:
    """Returns what the names of a block's own genes begin with."""
    return f"{stage.name}.block{position}" if stage.name else f"block{position}"


def block_kernels(stage: StageFacts, position: int) -> dict[str, Kernel]:
    """Returns gene → each convolution of a block whose kernel is elastic."""
    prefix = block_prefix(stage, position)
    return {f"{prefix}.{suffix}": kernel
            for suffix, kernel in stage.blocks[position].kernels.items()}


def _pass_on(out: str, source: str, kept: Sequence[BlockFacts], values: Mapping[str, Value],
             units: dict[str, int]) -> None:
    # Sets what untied blocks read and their stage gives to the widths in front, in place. Where
    # only some genes have values, what a stage gives may be one of them.
    if out in values:
        units[str(kept[-1].target)] = units[out]
    width = units[source]
    for block in kept:
        if block.source is not None and block.source not in values:
            units[block.source] = width
        width = units[str(block.target)]
    units[out] = width


def _choices(dim: Dim, ratios: Ratios, parts: Sequence[float]) -> tuple[int, ...]:
    full = dim.units * dim.step
    multiple = math.lcm(ratios.multiple, dim.step) if dim.channels else dim.step
    if multiple >= full:
        multiple = dim.step
    half = 0.5 if ratios.nearest else 1e-9  # 0.7 · 10 is 6.999…
    rounded = {max(multiple, math.floor(part * full / multiple + half) * multiple)
               for part in parts}
    return tuple(sorted({value for value in rounded if value < full} | {full}))
