"""Closed-form costs of block graphs: MACs, parameters, activation memory.

One multiply-add is 1 MAC, counted for convolutions, linear and matmul alone: both products of an
attention count. What a network computes from its parameters alone is folded and counts nothing.
Parameters include every bias, those of norms, and learnt tensors that are multiplied with, added or
put in front (layer scale, positions, class token), not running statistics.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np

from nas.core.blocks import (
    BYTES_PER_ELEMENT,
    CONVOLUTIONS,
    IN_PLACE,
    VIEWS,
    Block,
    BlockGraph,
    OpSpec,
    Shape,
)
from nas.core.errors import InputError
from nas.core.types import FloatArray, IntArray

UNITS: Mapping[str, str] = {"macs": "MAC", "params": "1", "activation_bytes": "B"}

_Row = tuple[str, Sequence[str], str, int]  # kind, inputs, output, elements of the output

_CHUNK = 16_384  # codes scored at once: keeps the gathered columns in cache


def macs(graph: BlockGraph) -> int:
    """Returns the multiply-adds of one inference at batch 1."""
    return _total(graph, node_macs)


def params(graph: BlockGraph) -> int:
    """Returns the number of trainable numbers."""
    return _total(graph, node_params)


def activation_bytes(graph: BlockGraph) -> int:
    """Returns the largest live set of activations, in bytes at batch 1 in fp32.

    While a node runs, its inputs, its output and every tensor that a later node reads are alive,
    in the graph's order. An operator of `IN_PLACE` writes over its input where it is the input's
    last reader, and then makes no tensor of its own. One of `VIEWS` never does: its input is alive
    until the view's last reader.
    """
    return peak_live_bytes(
        [(tensor.name, tensor.elements) for tensor in graph.inputs],
        [(node.kind, node.inputs, node.output.name, node.output.elements) for node in graph.nodes],
    )


def peak_live_bytes(inputs: Sequence[tuple[str, int]],
                    nodes: Sequence[_Row]) -> int:
    """Returns the largest live set, in bytes, of nodes (kind, inputs, output, elements) in order.

    The rule is that of `activation_bytes`; the counter of extracted modules uses it too.
    """
    nodes = _without_views(nodes)
    last_use = {name: index for index, node in enumerate(nodes) for name in node[1]}
    alive = dict(inputs)
    peak = sum(alive.values())
    for index, (kind, sources, output, elements) in enumerate(nodes):
        if kind in IN_PLACE and last_use[sources[0]] == index:
            alive[output] = alive.pop(sources[0])
        else:
            alive[output] = elements
            peak = max(peak, sum(alive.values()))
        for name in {name for name in sources if last_use[name] == index}:
            alive.pop(name, None)
    return peak * BYTES_PER_ELEMENT


def _without_views(nodes: Sequence[_Row]) -> list[_Row]:
    # Whoever reads a view reads the tensor that it shows.
    shown: dict[str, str] = {}
    rows: list[_Row] = []
    for kind, sources, output, elements in nodes:
        sources = [shown.get(name, name) for name in sources]
        if kind in VIEWS:
            shown[output] = sources[0]
        else:
            rows.append((kind, sources, output, elements))
    return rows


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric of N architectures: value with lower and upper bound, each (N,), and its kind.

    `kind` is ``exact``, ``measured``, ``fewshot`` or ``estimated``. Constraints apply to `upper`.
    """

    value: FloatArray
    lower: FloatArray
    upper: FloatArray
    kind: str


@dataclass(frozen=True)
class ClosedFormCosts:
    """The `CostModel` of macs, params and activation_bytes: exact, from the block graphs.

    Attributes:
        vocabulary: Every distinct block of the space.
        block_ids: Codes (N, genes) → ids (N, slots), −1 where the slot is empty.
    """

    vocabulary: Sequence[Block]
    block_ids: Callable[[IntArray], IntArray]

    @property
    def metrics(self) -> Mapping[str, str]:
        """Name → unit."""
        return UNITS

    def predict(self, metric: str, codes: IntArray) -> Estimate:
        """Returns the exact cost of each code; lower = value = upper."""
        table = self.block_table(metric)
        reduce = np.maximum if metric == "activation_bytes" else np.add
        value = reduce_blocks(table, codes, self.block_ids, reduce)
        return Estimate(value, value, value, "exact")

    def block_table(self, metric: str) -> FloatArray:
        """Returns the cost of each vocabulary block, (blocks,).

        Raises:
            InputError: A metric that this model does not have.
        """
        if metric not in self._tables:
            raise InputError(f"no closed form of metric {metric!r}; known: {', '.join(UNITS)}")
        return self._tables[metric]

    @cached_property
    def _tables(self) -> dict[str, FloatArray]:
        graphs = [block.graph for block in self.vocabulary]
        return {name: np.array([count(graph) for graph in graphs], dtype=np.float64)
                for name, count in (("macs", macs), ("params", params),
                                    ("activation_bytes", activation_bytes))}


def reduce_blocks(table: FloatArray, codes: IntArray, block_ids: Callable[[IntArray], IntArray],
                  reduce: np.ufunc = np.add) -> FloatArray:
    """Returns the sum (or another reduction) of a per-block table over each code's blocks, (N,).

    Empty slots (id −1) count 0. Works in chunks, so a million codes need little memory.
    """
    padded = np.append(table, 0.0)  # id -1 reads the trailing zero
    out = np.empty(len(codes), dtype=np.float64)
    for start in range(0, len(codes), _CHUNK):
        ids = block_ids(codes[start:start + _CHUNK])
        out[start:start + _CHUNK] = reduce.reduce(padded[ids], axis=1)
    return out


def node_macs(node: OpSpec, source: Shape) -> int:
    """Returns the multiply-adds of one operator whose first input is `source`."""
    if node.kind in CONVOLUTIONS:
        return _window(node) * source[0] // node.groups * node.output.elements
    if node.kind == "matmul":
        return int(node.attribute("left", source)[-1]) * node.output.elements
    return source[-1] * node.output.elements if node.kind == "linear" else 0


def node_params(node: OpSpec, source: Shape) -> int:
    """Returns the trainable numbers of one operator whose first input is `source`."""
    for name, value in node.attributes:
        if name == "params":
            return int(cast(int, value))
    return shape_params(node, source)


def shape_params(node: OpSpec, source: Shape) -> int:
    """Returns the trainable numbers that follow from shapes: an attribute may say otherwise."""
    if node.kind in CONVOLUTIONS:
        out = node.output.shape[0]
        return out * (source[0] // node.groups) * _window(node) + (out if node.bias else 0)
    if node.kind == "linear":
        out = node.output.shape[-1]
        return out * source[-1] + (out if node.bias else 0)
    if node.kind in ("batch_norm", "group_norm"):
        return 2 * node.output.shape[0]
    if node.kind in ("layer_norm", "rms_norm"):
        return source[-1] * (2 if node.bias else 1)
    return 0


def _window(node: OpSpec) -> int:
    return node.kernel if node.kind == "conv1d" else node.kernel * node.kernel


def _total(graph: BlockGraph, count: Callable[[OpSpec, Shape], int]) -> int:
    shapes = {tensor.name: tensor.shape for tensor in graph.inputs}
    total = 0
    for node in graph.nodes:
        total += count(node, shapes[node.inputs[0]])
        shapes[node.output.name] = node.output.shape
    return total
