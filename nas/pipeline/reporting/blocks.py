"""What the blocks of one network are, read off their graphs, whatever the family."""

import itertools
import math
import re
from collections.abc import Sequence

from nas.core.arch import Arch
from nas.core.blocks import Block
from nas.core.costs import macs, params
from nas.pipeline.design import Design
from nas.pipeline.reporting.block_facts import BlockFacts, Stage
from nas.pipeline.reporting.facts import RunFacts
from nas.pipeline.reporting.generation import PREFIX, of_generation, scales_of


def stages_of(facts: RunFacts, arch: Arch) -> list[Stage]:
    """Returns the network's stages; empty without a design.

    Where images are generated, stages are scales. Elsewhere, where the space has genes
    ``stageN.depth`` that count the blocks between the first and the last, they are these, and
    blocks of one kind and output shape if it has none.
    """
    design, table = facts.design, facts.latency_table
    if design is None or table is None:
        return []
    times = table.block_shares(design.space.encode([arch])[0])
    ids = [index for index in _block_ids(design, arch) if index >= 0]
    blocks = [describe(design.vocabulary[index], latency_ms=float(times[index])) for index in ids]
    if blocks[0].kind.startswith(PREFIX):
        return scales_of(blocks)
    depths = [(name.split(".")[0], int(value)) for name, value in arch.choices
              if re.fullmatch(r"stage\d+\.depth", name)]
    if sum(depth for _, depth in depths) != len(blocks) - 2:
        return [Stage(kind, tuple(group)) for (kind, _), group
                in itertools.groupby(blocks, key=lambda block: (block.kind, block.result))]
    stages, rest = [Stage(blocks[0].kind, (blocks[0],))], iter(blocks[1:])
    stages += [Stage(name, tuple(itertools.islice(rest, depth))) for name, depth in depths]
    return [*stages, *(Stage(block.kind, (block,)) for block in rest)]


def describe(block: Block, *, latency_ms: float) -> BlockFacts:
    """Returns what a block's graph says."""
    graph = block.graph
    if block.key.startswith(PREFIX):
        return of_generation(block, latency_ms)
    if len(graph.output.shape) == 2:
        return _of_sequence(block, latency_ms)
    convolutions = [node for node in graph.nodes if node.kind == "conv2d"]
    stride = 1
    for node in convolutions:
        stride *= node.stride
    kinds = {node.kind for node in graph.nodes}
    source, result = graph.inputs[0].shape, graph.output.shape
    widest = max((node.output.shape[0] for node in convolutions), default=0)
    return BlockFacts(
        kind=block.key.partition("|")[0], source=source, result=result,
        kernel=max((node.kernel for node in convolutions), default=1),
        middle=widest if widest > max(source[0], result[0]) else None,
        depthwise=any(node.groups == node.output.shape[0] > 1 for node in convolutions),
        classifies="linear" in kinds, stride=stride,
        skip=any(node.kind == "add" and graph.inputs[0].name in node.inputs
                 for node in graph.nodes),
        squeeze={"global_avg_pool", "mul"} <= kinds, macs=macs(graph), params=params(graph),
        latency_ms=latency_ms)


def _of_sequence(block: Block, latency_ms: float) -> BlockFacts:
    graph = block.graph
    (source, result), nodes = (graph.inputs[0].shape, graph.output.shape), graph.nodes
    convolutions = [node for node in nodes if node.kind == "conv1d"]
    attention = next((place for place, node in enumerate(nodes) if node.kind == "softmax"), None)
    units = max((node.output.shape[-1] for node in nodes[attention:] if node.kind == "linear"),
                default=0)
    if attention is not None:
        heads = nodes[attention].output.shape[:-2][-1:]
        does = f"{heads[0]} heads, {units} units" if heads else f"attention, {units} units"
    elif convolutions:
        many = "s" if len(convolutions) > 1 else ""
        kernels = ", ".join(str(node.kernel) for node in convolutions)
        does = f"convolution{many} of {kernels}"
    else:
        does = "linear"
    return BlockFacts(
        kind=block.key.partition("|")[0], source=source, result=result, kernel=1,
        middle=units if units > max(source[-1], result[-1]) else None, depthwise=False,
        classifies=False, stride=math.prod(node.stride for node in convolutions),
        skip=any(node.kind == "add" and graph.inputs[0].name in node.inputs for node in nodes),
        squeeze=False, macs=macs(graph), params=params(graph), latency_ms=latency_ms,
        sequence=does)


def _block_ids(design: Design, arch: Arch) -> Sequence[int]:
    ids: list[int] = design.block_ids(design.space.encode([arch]))[0].tolist()
    return ids
