"""Blocks of an image's generation, scale by scale, as the report draws them."""

import itertools
from collections.abc import Sequence
from dataclasses import replace

from nas.core.blocks import Block
from nas.core.costs import macs, params
from nas.pipeline.reporting.block_facts import BlockFacts, Stage

PREFIX = "var_"  # of the keys of such blocks
_LAYER = "var_layer"


def of_generation(block: Block, latency_ms: float) -> BlockFacts:
    """Returns what a block's graph says; its input is rows of a scale's tokens."""
    graph, kind = block.graph, block.key.partition("|")[0]
    source, result = graph.inputs[0].shape, graph.output.shape
    convolutions = sum(node.kind == "conv2d" for node in graph.nodes)
    if kind.startswith(_LAYER):
        does = "1 layer"
    elif kind == "var_start":
        does = "class and positions"
    else:
        does = "tokens drawn, " + (f"decoder of {convolutions} convolutions"
                                   if kind == "var_image" else "next input")
    image = kind == "var_image"
    return BlockFacts(
        kind=kind, source=source[1:], result=result if image else result[1:], kernel=1,
        middle=None, depthwise=False, classifies=False, stride=1, skip=kind.startswith(_LAYER),
        squeeze=False, macs=macs(graph), params=params(graph), latency_ms=latency_ms, sequence=does)


def scales_of(blocks: Sequence[BlockFacts]) -> list[Stage]:
    """Returns a stage for each scale, whose layers are one entry."""
    stages: list[Stage] = []
    entries: list[BlockFacts] = []
    for kind, group in itertools.groupby(blocks, key=lambda block: block.kind):
        same = list(group)
        entries.append(replace(
            same[0], macs=sum(block.macs for block in same),
            params=sum(block.params for block in same),
            latency_ms=sum(block.latency_ms for block in same),
            sequence=f"{len(same)} layers" if kind.startswith(_LAYER) else same[0].sequence))
        if not kind.startswith(_LAYER) and kind != "var_start":
            stages.append(Stage(f"scale {len(stages) + 1}", tuple(entries)))
            entries = []
    return stages
