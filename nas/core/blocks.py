"""What a network is made of, as values: operators, small graphs of them, and blocks with a key.

A block graph says everything that costs need (shapes, kernels, groups) and that a runtime needs to
build the block, without any framework. Shapes leave the batch out: (C, H, W) or (C,).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from nas.core.errors import SpaceError

Shape = tuple[int, ...]

BYTES_PER_ELEMENT = 4  # fp32

# Operators that may overwrite their input when nobody else reads it.
IN_PLACE = frozenset({"batch_norm", "relu", "hard_swish", "silu", "sigmoid", "hard_sigmoid",
                      "flatten"})


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A named tensor and its shape without the batch axis."""

    name: str
    shape: Shape

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class OpSpec:
    """One operator.

    Attributes:
        kind: ``conv2d``, ``batch_norm``, ``relu``, ``hard_swish``, ``silu``, ``sigmoid``,
            ``hard_sigmoid``, ``global_avg_pool``, ``mul``, ``add``, ``flatten`` or ``linear``.
        inputs: Names of the tensors read, in order.
        output: The tensor made.
        kernel: Side of a conv2d's square kernel, padded by ``kernel // 2``; else 1.
        stride: Of a conv2d; else 1.
        groups: Of a conv2d; else 1.
        bias: Whether a conv2d or linear adds one.
    """

    kind: str
    inputs: tuple[str, ...]
    output: TensorSpec
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    bias: bool = False


@dataclass(frozen=True, slots=True)
class BlockGraph:
    """A small directed acyclic graph of operators, in topological order."""

    inputs: tuple[TensorSpec, ...]
    nodes: tuple[OpSpec, ...]

    @property
    def output(self) -> TensorSpec:
        """The tensor that the last node makes."""
        return self.nodes[-1].output

    def shape_of(self, name: str) -> Shape:
        """Returns the shape of a tensor of this graph."""
        for tensor in (*self.inputs, *(node.output for node in self.nodes)):
            if tensor.name == name:
                return tensor.shape
        raise SpaceError(f"block graph has no tensor {name!r}")


@dataclass(frozen=True, slots=True)
class Block:
    """A graph with its key: equal keys mean equal shapes and operators."""

    key: str
    graph: BlockGraph


@dataclass(slots=True)
class GraphBuilder:
    """Writes a block graph operator by operator; each method returns the new tensor."""

    input: TensorSpec
    nodes: list[OpSpec] = field(default_factory=list)

    def conv2d(self, x: TensorSpec, out_channels: int, *, kernel: int = 1, stride: int = 1,
               groups: int = 1, bias: bool = False) -> TensorSpec:
        """A square convolution with padding ``kernel // 2``.

        Raises:
            SpaceError: An even kernel, or groups that do not divide both channel counts.
        """
        channels, height, width = x.shape
        if kernel % 2 == 0 or channels % groups or out_channels % groups:
            raise SpaceError(f"conv2d {channels}→{out_channels}: kernel {kernel} must be odd and "
                             f"{groups} groups must divide the channels")
        shape = (out_channels, _strided(height, stride), _strided(width, stride))
        return self._add("conv2d", (x,), shape, kernel=kernel, stride=stride, groups=groups,
                         bias=bias)

    def linear(self, x: TensorSpec, out_features: int) -> TensorSpec:
        """A dense layer with bias on a vector."""
        return self._add("linear", (x,), (out_features,), bias=True)

    def unary(self, kind: str, x: TensorSpec) -> TensorSpec:
        """An operator that keeps the shape: batch_norm, relu, sigmoid, …."""
        return self._add(kind, (x,), x.shape)

    def binary(self, kind: str, x: TensorSpec, y: TensorSpec) -> TensorSpec:
        """``add`` or ``mul``; the result has the shape of x, y may be broadcast.

        Raises:
            SpaceError: y does not fit x.
        """
        if len(y.shape) != len(x.shape) or any(b not in (1, a)
                                               for a, b in zip(x.shape, y.shape, strict=True)):
            raise SpaceError(f"{kind}: {y.shape} does not broadcast to {x.shape}")
        return self._add(kind, (x, y), x.shape)

    def global_avg_pool(self, x: TensorSpec) -> TensorSpec:
        """The mean over both image axes, (C, 1, 1)."""
        return self._add("global_avg_pool", (x,), (x.shape[0], 1, 1))

    def flatten(self, x: TensorSpec) -> TensorSpec:
        """All axes into one."""
        return self._add("flatten", (x,), (x.elements,))

    def build(self) -> BlockGraph:
        """Returns the graph; its output is the last tensor made."""
        return BlockGraph((self.input,), tuple(self.nodes))

    def _add(self, kind: str, inputs: tuple[TensorSpec, ...], shape: Shape, *, kernel: int = 1,
             stride: int = 1, groups: int = 1, bias: bool = False) -> TensorSpec:
        output = TensorSpec(f"t{len(self.nodes)}", shape)
        self.nodes.append(OpSpec(kind, tuple(tensor.name for tensor in inputs), output,
                                 kernel=kernel, stride=stride, groups=groups, bias=bias))
        return output


def block_of(kind: str, builder: GraphBuilder) -> Block:
    """Returns the finished graph as a block whose key spells out every operator and shape.

    An operator that reads anything but the tensor made just before it names its inputs.
    """
    graph = builder.build()
    parts = [kind, "x".join(map(str, builder.input.shape))]
    previous = builder.input.name
    for node in graph.nodes:
        part = node.kind
        if node.kind in ("conv2d", "linear"):
            part += (f"{node.output.shape[0]}k{node.kernel}s{node.stride}g{node.groups}"
                     f"{'b' if node.bias else ''}")
        if node.inputs != (previous,):
            part += f"({','.join(node.inputs)})"
        parts.append(part)
        previous = node.output.name
    return Block("|".join(parts), graph)


def chain(blocks: Sequence[Block]) -> BlockGraph:
    """Returns one graph that runs the blocks one after the other.

    Raises:
        SpaceError: There are no blocks, or a block's input shape is not the output shape of the
            block before it.
    """
    if not blocks:
        raise SpaceError("no blocks to chain")
    first = blocks[0].graph.inputs[0]
    nodes: list[OpSpec] = []
    previous = first
    for position, block in enumerate(blocks):
        source = block.graph.inputs[0]
        if source.shape != previous.shape:
            raise SpaceError(f"block {position} ({block.key}) takes {source.shape}, but the block "
                             f"before it gives {previous.shape}")
        names = {source.name: previous.name}
        for node in block.graph.nodes:
            names[node.output.name] = f"b{position}.{node.output.name}"
            nodes.append(OpSpec(
                node.kind, tuple(names[name] for name in node.inputs),
                TensorSpec(names[node.output.name], node.output.shape), kernel=node.kernel,
                stride=node.stride, groups=node.groups, bias=node.bias))
        previous = nodes[-1].output
    return BlockGraph((first,), tuple(nodes))


def _strided(side: int, stride: int) -> int:
    # Padding kernel // 2 of an odd kernel: the output side is ceil(side / stride).
    return -(-side // stride)
