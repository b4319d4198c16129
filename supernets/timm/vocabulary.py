"""The blocks of a timm model's subnets: traced from narrowed copies of its own modules."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from torch import nn

from nas.core.arch import Value
from nas.core.blocks import Block, Shape, keyed
from nas.core.errors import SpaceError
from nas.core.vocabulary import Slot, Vocabulary
from supernets.timm.elastic import RESOLUTION, Elastic, Subnet, block_kernels, depth_gene
from supernets.timm.families import StageFacts
from supernets.timm.resolution import AtResolution
from supernets.timm.skeleton import narrowed
from supernets.tracing import trace_block, trace_segments


def build_vocabulary(meta: nn.Module, elastic: Elastic, shape: Shape) -> Vocabulary:
    """Returns every distinct block of a model's subnets and the map from codes to them.

    Slots are what stands before the blocks, each block, and what stands behind them.

    Args:
        meta: The model on the meta device, in evaluation mode.
        elastic: Its space.
        shape: (C, H, W) of its input.

    Raises:
        SpaceError: The model has an operator that cannot be traced, or operators between blocks.
    """
    return Vocabulary(elastic.space, _Tracer(meta, elastic, shape).slots(), elastic.picked)


@dataclass
class _Tracer:
    meta: nn.Module
    elastic: Elastic
    shape: Shape

    def __post_init__(self) -> None:
        self._traced: dict[tuple[object, ...], Block] = {}
        self._seen: dict[int | None, dict[str, Shape]] = {}
        self._resolution = [RESOLUTION] if RESOLUTION in self.elastic.space.positions else []

    def slots(self) -> list[Slot]:
        first, last = self._paths[0], self._paths[-1]
        outer = self._elastic_dims(name for name in self.elastic.facts.layout.axes
                                   if not any(name.startswith(f"{path}.") for path in self._paths))
        behind = {self.elastic.facts.stages[-1].out or self._targets[last]} & set(outer)
        before = (set(outer) - behind) | ({self._sources[first]} & set(outer))
        slots = [self._outer_slot("stem", 0, [dim for dim in outer if dim in before])]
        for stage in self.elastic.facts.stages:
            slots += [self._block_slot(stage, place) for place in range(len(stage.blocks))]
        return [*slots, self._outer_slot("head", -1, [dim for dim in outer if dim in behind])]

    @cached_property
    def _paths(self) -> list[str]:
        return [block.path for stage in self.elastic.facts.stages for block in stage.blocks]

    @cached_property
    def _targets(self) -> dict[str, str | None]:
        return {block.path: block.target for stage in self.elastic.facts.stages
                for block in stage.blocks}

    @cached_property
    def _sources(self) -> dict[str, str | None]:
        targets = list(self._targets.values())
        found = dict(zip(self._paths, [self.elastic.facts.source, *targets[:-1]], strict=True))
        stages = self.elastic.facts.stages
        found |= {stage.blocks[0].path: before.out for before, stage in pairwise(stages)
                  if before.out is not None}
        return found | {block.path: block.source for stage in stages for block in stage.blocks
                        if block.source is not None}

    def _inputs(self, side: int | None) -> dict[str, Shape]:
        # Shapes of the blocks' inputs in the whole model; subnets differ in channels only.
        if side in self._seen:
            return self._seen[side]
        shape = self.shape if side is None else (self.shape[0], side, side)
        found: dict[str, Shape] = {}
        handles = [self.meta.get_submodule(path).register_forward_pre_hook(
            lambda _, args, path=path: found.update({path: tuple(args[0].shape[1:])}))
            for path in self._paths]
        try:
            with torch.no_grad():
                self.meta(torch.empty(1, *shape, device="meta"))
        finally:
            for handle in handles:
                handle.remove()
        self._seen[side] = found
        return found

    def _elastic_dims(self, names: Iterable[str]) -> list[str]:
        layout = self.elastic.facts.layout
        dims = dict.fromkeys(axis.dim for name in names for axis in layout.axes[name]
                             if axis is not None and not layout.dims[axis.dim].fixed)
        return list(dims)

    def _outer_slot(self, kind: str, place: int, dims: Sequence[str]) -> Slot:
        genes = (*self._resolution, *dims)

        def make(*values: Value) -> Block | None:
            subnet = self.elastic.of_values(dict(zip(genes, values, strict=True)))
            model, _ = narrowed(self.meta, self.elastic.facts.layout, subnet)
            blocks = [model.get_submodule(path) for path in self._paths]
            if subnet.side is not None:
                model = AtResolution(model, subnet.side).eval()
            segments = trace_segments(model, self.shape, blocks)
            if any(segment is not None for segment in segments[1:-1]):
                raise SpaceError(f"{self.elastic.id} computes something between its blocks")
            graph = segments[place]
            return None if graph is None else keyed(kind, graph)

        return Slot(genes, make)

    def _block_slot(self, stage: StageFacts, place: int) -> Slot:
        path = stage.blocks[place].path
        dims = self._elastic_dims(name for name in self.elastic.facts.layout.axes
                                  if name.startswith(f"{path}."))
        kernels = [gene for gene in block_kernels(stage, place) if gene in self.elastic.kernels]
        depth = depth_gene(stage)
        has_depth = place in stage.droppable and depth in self.elastic.space.positions
        genes = (*self._resolution, *([depth] if has_depth else []), *dims, *kernels)
        module = self.meta.get_submodule(path)
        fingerprint = repr(module)

        def make(*values: Value) -> Block | None:
            chosen = dict(zip(genes, values, strict=True))
            subnet = self.elastic.of_values(chosen)
            if path in subnet.dropped:
                return None
            shape = self._input(path, subnet)
            key = (fingerprint, shape, *(chosen[gene] for gene in (*dims, *kernels)))
            if key not in self._traced:
                block, _ = narrowed(module, self.elastic.facts.layout, subnet, path=path)
                self._traced[key] = trace_block(type(module).__name__, block, shape)
            return self._traced[key]

        return Slot(genes, make)

    def _input(self, path: str, subnet: Subnet) -> Shape:
        shape, source = self._inputs(subnet.side)[path], self._sources[path]
        if source is None:
            return shape
        width = subnet.units[source] * self.elastic.facts.layout.dims[source].step
        # Images are (C, H, W), tokens (T, C).
        return (width, *shape[1:]) if len(shape) == 3 else (*shape[:-1], width)
