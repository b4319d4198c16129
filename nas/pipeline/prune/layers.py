"""What became of each layer: channels, multiply-adds, parameters; and of each block its latency."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nas.core.arch import Arch
from nas.core.blocks import Block
from nas.core.costs import macs
from nas.core.protocols import Task
from nas.pipeline.prune.measuring import measure_blocks
from nas.pipeline.prune.work import Work
from supernets.timm.elastic import block_prefix
from supernets.timm.skeleton import narrowed
from supernets.timm.supernet import TimmSupernet


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """A convolution or linear layer.

    Attributes:
        source: Channels of its input.
        out: Channels of its output.
        macs: Multiply-adds of one inference.
        params: Its own parameters.
    """

    source: int
    out: int
    macs: int
    params: int


def layers_of(module: nn.Module, task: Task) -> dict[str, Layer]:
    """Returns a network's convolutions and linear layers by path, in the order they run."""
    meta = copy.deepcopy(module).to("meta").eval()
    found: dict[str, Layer] = {}

    def count(path: str, layer: Any, output: Tensor) -> None:
        weight = layer.weight
        outputs = output[0].numel() // weight.shape[0]
        groups = getattr(layer, "groups", 1)
        before = found.get(path)
        found[path] = Layer(
            source=weight.shape[1] * groups, out=weight.shape[0],
            macs=weight.numel() * outputs + (before.macs if before else 0),
            params=sum(parameter.numel() for parameter in layer.parameters()))

    for path, layer in meta.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(
                lambda layer, _, output, path=path: count(path, layer, output))
    shape = task.example_inputs(1, np.random.default_rng(0)).shape
    with torch.no_grad():
        meta(torch.empty(shape, device="meta"))
    return found


def layer_rows(before: Mapping[str, Layer], after: Mapping[str, Layer]) -> list[dict[str, Any]]:
    """Returns what became of each layer, as JSON values; ``after`` is None where it is gone."""
    return [{"layer": path, "before": asdict(layer),
             "after": asdict(after[path]) if path in after else None}
            for path, layer in before.items()]


def original_layers(work: Work, arch: Arch) -> dict[str, Layer]:
    """Returns the layers of a network by the paths that they had in the unpruned one.

    Where a block in the middle of a stage has gone, those behind it have moved up.
    """
    elastic = work.supernet.elastic
    module, names = narrowed(work.supernet.meta, elastic.facts.layout, elastic.subnet(arch))
    return {names[f"{path}.weight"].removesuffix(".weight"): layer
            for path, layer in layers_of(module, work.opened.task).items()}


def block_rows(work: Work, arch: Arch, times: Sequence[Mapping[str, float]]
               ) -> list[dict[str, Any]]:
    """Returns what became of each block, as JSON values; ``after`` is None where it is gone.

    Args:
        work: What was pruned.
        arch: The pruned network.
        times: Latencies, in ms, by the blocks' keys: in the unpruned and in the pruned network.
    """
    supernet = work.supernet
    before, after = (_blocks(supernet, one) for one in (work.largest, arch))
    return [{"block": name, "before": _row(one, times[0]), "after": _row(other, times[1])}
            for name, one, other in zip(_names(supernet), before, after, strict=True)
            if one is not None]


def measured_blocks(work: Work, arch: Arch) -> dict[str, float]:
    """Returns the latency on this machine of each block of the unpruned and a pruned network.

    Each block is timed by itself, so that their sum is not the network's latency.

    Raises:
        ProfileError: ONNX Runtime cannot run a block.
    """
    graphs = {block.key: block.graph for one in (work.largest, arch)
              for block in _blocks(work.supernet, one) if block is not None}
    return measure_blocks(graphs, threads=work.request.threads, seed=work.request.seed)


def _blocks(supernet: TimmSupernet, arch: Arch) -> list[Block | None]:
    ids = supernet.block_ids(supernet.space.encode([arch]))[0]
    return [supernet.vocabulary[index] if index >= 0 else None for index in ids]


def _names(supernet: TimmSupernet) -> list[str]:
    return ["stem", *(block_prefix(stage, place) for stage in supernet.elastic.facts.stages
                      for place in range(len(stage.blocks))), "head"]


def _row(block: Block | None, times: Mapping[str, float]) -> dict[str, Any] | None:
    if block is None:
        return None
    graph = block.graph
    return {"in": graph.inputs[0].shape[0], "out": graph.output.shape[0], "macs": macs(graph),
            "latency_ms": times.get(block.key)}
