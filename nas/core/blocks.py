"""What a network is made of, as values: operators, small graphs of them, and blocks with a key.

A block graph says everything that costs need (shapes, kernels, groups) and that a runtime needs to
build the block, without any framework. Shapes leave the batch out: (C, H, W) or (C,).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from nas.core.errors import SpaceError

Shape = tuple[int, ...]
Attribute = int | float | tuple[int, ...]

BYTES_PER_ELEMENT = 4  # fp32

# Operators that may overwrite their input when nobody else reads it.
IN_PLACE = frozenset({
    "batch_norm", "relu", "hard_swish", "silu", "sigmoid", "hard_sigmoid", "flatten",
    "relu6", "leaky_relu", "gelu", "gelu_tanh", "tanh", "layer_norm", "rms_norm", "group_norm",
    "softmax", "scale", "shift", "mul_scalar", "add_scalar",
})

# Operators that show their input under another shape and make no tensor of their own, as torch has
# it; what a runtime copies all the same is not counted.
VIEWS = frozenset({"reshape", "permute", "slice", "select"})

CONVOLUTIONS = frozenset({"conv1d", "conv2d"})


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

    Kinds, and the attributes that they have:

    - ``conv2d``, ``conv1d``: a kernel of one side, padded by ``kernel // 2`` unless ``padding``
      (one number for each spatial axis) says otherwise; ``dilation``.
    - ``linear`` on the last axis; ``matmul`` over the last two axes of two tensors, or of a learnt
      tensor of shape ``left`` and one tensor.
    - ``batch_norm`` over axis 1; ``group_norm``, the same in ``groups``; ``layer_norm`` over the
      last axis; ``rms_norm``, the same without a mean.
    - ``relu``, ``relu6``, ``leaky_relu`` (``slope``), ``hard_swish``, ``silu``, ``sigmoid``,
      ``hard_sigmoid``, ``gelu``, ``gelu_tanh``, ``tanh``; ``softmax`` over ``axis``.
    - ``add``, ``sub``, ``mul``, ``div`` of two tensors, one of which may be broadcast;
      ``add_scalar``, ``mul_scalar`` with the number ``value``.
    - ``scale``, ``shift``: times, plus a learnt tensor of this ``shape``; ``prepend``: a learnt
      tensor of this ``shape`` in front of the input, along ``axis``.
    - ``concat`` of tensors along ``axis``; ``pad`` by ``padding`` (of every axis in front, then of
      every axis behind) with ``value``, or the image mirrored if ``reflect`` is 1.
    - ``global_avg_pool`` over both image axes, which stay; ``mean``, ``max``, ``l2_norm`` over
      ``axes``, which stay if ``keep`` is 1.
    - ``avg_pool``, ``max_pool``: ``padding`` as of conv2d, by default 0; ``ceil`` 1 rounds the
      output's sides up; ``count_padding`` 1 divides by the whole kernel at the border, too.
    - ``resize`` of an image to these ``sides``, linear between the nearest pixels, or the nearest
      one alone if ``nearest`` is 1.
    - ``flatten`` of all axes but the batch; ``reshape`` to ``shape``; ``permute``, ``axes`` says
      where each axis comes from; ``slice`` of ``axis`` from ``start`` to ``stop``; ``select`` of
      the position ``index`` of ``axis``, which goes.

    Axes, shapes and paddings are those of the whole tensor with its batch axis, wherever that
    stands; a shape has −1 for it.

    Attributes:
        kind: As above.
        inputs: Names of the tensors read, in order.
        output: The tensor made.
        kernel: Side of a convolution's or pool's square kernel; else 1.
        stride: Of a convolution or pool; else 1.
        groups: Of a convolution or group norm; else 1.
        bias: Whether a convolution, linear or layer_norm adds one.
        attributes: Pairs (name, value), as above. ``params`` says how many learnt numbers the
            operator brings, where that does not follow from its shape: always for ``scale``,
            ``shift`` and ``prepend``; for others where a weight is shared or not learnt.
    """

    kind: str
    inputs: tuple[str, ...]
    output: TensorSpec
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    bias: bool = False
    attributes: tuple[tuple[str, Attribute], ...] = ()

    def attribute(self, name: str, default: Attribute | None = None) -> Any:
        """Returns an attribute, or the default.

        Raises:
            SpaceError: There is neither.
        """
        value = dict(self.attributes).get(name, default)
        if value is None:
            raise SpaceError(f"operator {self.kind!r} ({self.output.name}) lacks its attribute "
                             f"{name!r}")
        return value


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

    def linear(self, x: TensorSpec, out_features: int, *, bias: bool = True) -> TensorSpec:
        """A dense layer on the last axis."""
        return self._add("linear", (x,), (*x.shape[:-1], out_features), bias=bias)

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
    """Returns the finished graph as a block; see `keyed`."""
    return keyed(kind, builder.build())


def keyed(kind: str, graph: BlockGraph) -> Block:
    """Returns the graph as a block whose key spells out every operator and shape.

    An operator that reads anything but the tensor made just before it names its inputs.

    Args:
        kind: What the key begins with.
        graph: With one input.
    """
    source = graph.inputs[0]
    parts = [kind, "x".join(map(str, source.shape))]
    previous = source.name
    for node in graph.nodes:
        part = node.kind + _settings(node)
        if node.inputs != (previous,):
            part += f"({','.join(node.inputs)})"
        parts.append(part)
        previous = node.output.name
    return Block("|".join(parts), graph)


def _settings(node: OpSpec) -> str:
    # All that tells two operators of a kind on the same input apart.
    text = ""
    if node.kind in CONVOLUTIONS or node.kind == "linear":
        size = node.output.shape[-1 if node.kind == "linear" else 0]
        text = f"{size}k{node.kernel}s{node.stride}g{node.groups}{'b' if node.bias else ''}"
    elif (node.kernel, node.stride, node.groups, node.bias) != (1, 1, 1, False):
        text = f"k{node.kernel}s{node.stride}g{node.groups}{'b' if node.bias else ''}"
    if node.attributes:
        text += f"[{','.join(f'{name}={_text(value)}' for name, value in node.attributes)}]"
    return text


def _text(value: Attribute) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)


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
            nodes.append(replace(
                node, inputs=tuple(names[name] for name in node.inputs),
                output=TensorSpec(names[node.output.name], node.output.shape)))
        previous = nodes[-1].output
    return BlockGraph((first,), tuple(nodes))


def _strided(side: int, stride: int) -> int:
    # Padding kernel // 2 of an odd kernel: the output side is ceil(side / stride).
    return -(-side // stride)
