"""What the writers of ONNX operators share: the nodes and weights of the model being built."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from nas.core.blocks import BlockGraph, OpSpec, Shape

Weights = NDArray[np.float32] | NDArray[np.int64]


@dataclass(slots=True)
class Writer:
    """Nodes and initializers of one model, for a fixed batch."""

    graph: BlockGraph
    batch: int
    rng: np.random.Generator
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)
    _shapes: dict[str, Shape] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        # Searching a graph of thousands of nodes for each of them takes seconds.
        self._shapes = {tensor.name: tensor.shape for tensor in (
            *self.graph.inputs, *(node.output for node in self.graph.nodes))}

    def source(self, node: OpSpec) -> Shape:
        """Returns the shape of a node's first input, without the batch."""
        return self._shapes[node.inputs[0]]

    def constant(self, node: OpSpec, role: str, value: Weights) -> str:
        """Adds an initializer and returns its name."""
        name = f"{node.output.name}.{role}"
        self.initializers.append(numpy_helper.from_array(value, name))
        return name

    def ints(self, node: OpSpec, role: str, values: Sequence[int] | int) -> str:
        """Adds integers, or one, that an operator takes as an input."""
        return self.constant(node, role, np.array(values, np.int64))

    def filled(self, node: OpSpec, role: str, shape: Shape, value: float) -> str:
        """Adds a tensor of one value."""
        return self.constant(node, role, np.full(shape, value, np.float32))

    def normal(self, node: OpSpec, role: str, shape: Shape, fan_in: int) -> str:
        """Adds random weights.

        They are scaled by fan-in: activations neither overflow nor become denormal, which is slow.
        """
        values = self.rng.standard_normal(shape, dtype=np.float32) / np.float32(np.sqrt(fan_in))
        return self.constant(node, role, values)

    def add(self, op_type: str, node: OpSpec, extra: tuple[str, ...] = (),
            **attributes: Any) -> None:
        """Adds an operator that reads what the node reads, then `extra`."""
        self.last(op_type, node, (*node.inputs, *extra), **attributes)

    def step(self, op_type: str, node: OpSpec, role: str, inputs: Sequence[str],
             **attributes: Any) -> str:
        """Adds an operator on the way to the node's output and returns its result's name."""
        name = f"{node.output.name}.{role}"
        self.nodes.append(helper.make_node(op_type, list(inputs), [name], **attributes))
        return name

    def last(self, op_type: str, node: OpSpec, inputs: Sequence[str], **attributes: Any) -> None:
        """Adds the operator that makes the node's output."""
        self.nodes.append(helper.make_node(op_type, list(inputs), [node.output.name],
                                           **attributes))


WriteNode = Callable[[Writer, OpSpec], None]
