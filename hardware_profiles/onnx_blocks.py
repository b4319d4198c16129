"""Block graphs as ONNX models, built directly: a block takes milliseconds, not a torch export.

Convolution, batch norm and activation are written as separate nodes, as a network has them;
ONNX Runtime fuses them when it loads the model, and a test compares the outcome with that of
torch.onnx. Weights are random: latency does not depend on their values.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from nas.core.blocks import BlockGraph, OpSpec, Shape, TensorSpec
from nas.core.errors import ProfileError

OPSET = 20  # what torch.onnx.export writes
IR_VERSION = 10

Weights = NDArray[np.float32] | NDArray[np.int64]


def onnx_model(graph: BlockGraph, *, batch: int, rng: np.random.Generator) -> onnx.ModelProto:
    """Returns the graph as an ONNX model with a fixed batch and random fp32 weights.

    Inputs and outputs have shape (batch, *shape) and the names that the graph gives them.

    Raises:
        ProfileError: The graph has an operator that this builder does not know.
    """
    writer = _Writer(graph, batch, rng)
    for node in graph.nodes:
        if node.kind not in _WRITERS:
            raise ProfileError(f"operator {node.kind!r} has no ONNX form here; known: "
                               f"{', '.join(_WRITERS)}")
        _WRITERS[node.kind](writer, node)
    proto = helper.make_graph(
        writer.nodes, "block", [_value_info(tensor, batch) for tensor in graph.inputs],
        [_value_info(graph.output, batch)], writer.initializers)
    return helper.make_model(proto, opset_imports=[helper.make_opsetid("", OPSET)],
                             ir_version=IR_VERSION, producer_name="nas-service")


def empty_graph(shape: Shape) -> BlockGraph:
    """Returns the smallest graph there is, one relu: what a run costs before any work."""
    source = TensorSpec("x", shape)
    return BlockGraph((source,), (OpSpec("relu", ("x",), TensorSpec("y", shape)),))


@dataclass(slots=True)
class _Writer:
    graph: BlockGraph
    batch: int
    rng: np.random.Generator
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)

    def channels_in(self, node: OpSpec) -> int:
        return self.graph.shape_of(node.inputs[0])[0]

    def constant(self, node: OpSpec, role: str, value: Weights) -> str:
        name = f"{node.output.name}.{role}"
        self.initializers.append(numpy_helper.from_array(value, name))
        return name

    def normal(self, node: OpSpec, role: str, shape: Shape, fan_in: int) -> str:
        # Scaled by fan-in: activations neither overflow nor become denormal, which is slow.
        values = self.rng.standard_normal(shape, dtype=np.float32) / np.float32(np.sqrt(fan_in))
        return self.constant(node, role, values)

    def add(self, op_type: str, node: OpSpec, extra: tuple[str, ...] = (),
            **attributes: Any) -> None:
        self.nodes.append(helper.make_node(op_type, [*node.inputs, *extra], [node.output.name],
                                           **attributes))


def _conv2d(writer: _Writer, node: OpSpec) -> None:
    out, grouped_in = node.output.shape[0], writer.channels_in(node) // node.groups
    fan_in = grouped_in * node.kernel * node.kernel
    weights = [writer.normal(node, "weight", (out, grouped_in, node.kernel, node.kernel), fan_in)]
    if node.bias:
        weights.append(writer.normal(node, "bias", (out,), fan_in))
    writer.add("Conv", node, tuple(weights), kernel_shape=[node.kernel] * 2, group=node.groups,
               strides=[node.stride] * 2, pads=[node.kernel // 2] * 4, dilations=[1, 1])


def _batch_norm(writer: _Writer, node: OpSpec) -> None:
    channels = node.output.shape[0]
    ones, zeros = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    roles = (("scale", ones), ("bias", zeros), ("mean", zeros), ("var", ones))
    writer.add("BatchNormalization", node,
               tuple(writer.constant(node, role, value) for role, value in roles), epsilon=1e-5)


def _linear(writer: _Writer, node: OpSpec) -> None:
    shape = (node.output.shape[0], writer.channels_in(node))
    weights = [writer.normal(node, "weight", shape, shape[1])]
    if node.bias:
        weights.append(writer.normal(node, "bias", shape[:1], shape[1]))
    writer.add("Gemm", node, tuple(weights), transB=1)


def _silu(writer: _Writer, node: OpSpec) -> None:
    gate = f"{node.output.name}.gate"
    writer.nodes.append(helper.make_node("Sigmoid", list(node.inputs), [gate]))
    writer.add("Mul", node, (gate,))


def _hard_sigmoid(writer: _Writer, node: OpSpec) -> None:
    writer.add("HardSigmoid", node, alpha=1.0 / 6.0, beta=0.5)  # relu6(x + 3) / 6


def _global_avg_pool(writer: _Writer, node: OpSpec) -> None:
    axes = writer.constant(node, "axes", np.array([2, 3], np.int64))
    writer.add("ReduceMean", node, (axes,), keepdims=1)


def _flatten(writer: _Writer, node: OpSpec) -> None:
    shape = np.array([writer.batch, node.output.elements], np.int64)
    writer.add("Reshape", node, (writer.constant(node, "shape", shape),))


def _plain(op_type: str) -> Callable[[_Writer, OpSpec], None]:
    return lambda writer, node: writer.add(op_type, node)


_WRITERS: dict[str, Callable[[_Writer, OpSpec], None]] = {
    "conv2d": _conv2d, "batch_norm": _batch_norm, "linear": _linear, "silu": _silu,
    "hard_sigmoid": _hard_sigmoid,
    "global_avg_pool": _global_avg_pool, "flatten": _flatten, "relu": _plain("Relu"),
    "hard_swish": _plain("HardSwish"), "sigmoid": _plain("Sigmoid"), "mul": _plain("Mul"),
    "add": _plain("Add"),
}


def _value_info(tensor: TensorSpec, batch: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, (batch, *tensor.shape))
