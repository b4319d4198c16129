"""Block graphs as ONNX models, built directly: a block takes milliseconds, not a torch export.

Convolution, batch norm and activation are written as separate nodes, as a network has them;
ONNX Runtime fuses them when it loads the model, and a test compares the outcome with that of
torch.onnx. Weights are random: latency does not depend on their values.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper

from hardware_profiles.onnx_operators import WRITERS
from hardware_profiles.onnx_writer import Writer
from nas.core.blocks import BlockGraph, OpSpec, Shape, TensorSpec
from nas.core.errors import ProfileError

OPSET = 20  # what torch.onnx.export writes
IR_VERSION = 10


def onnx_model(graph: BlockGraph, *, batch: int, rng: np.random.Generator) -> onnx.ModelProto:
    """Returns the graph as an ONNX model with a fixed batch and random fp32 weights.

    Inputs and outputs have shape (batch, *shape) and the names that the graph gives them.

    Raises:
        ProfileError: The graph has an operator that this builder does not know.
    """
    writer = Writer(graph, batch, rng)
    for node in graph.nodes:
        if node.kind not in WRITERS:
            raise ProfileError(f"operator {node.kind!r} has no ONNX form here; known: "
                               f"{', '.join(WRITERS)}")
        WRITERS[node.kind](writer, node)
    proto = helper.make_graph(
        writer.nodes, "block", [_value_info(tensor, batch) for tensor in graph.inputs],
        [_value_info(graph.output, batch)], writer.initializers)
    return helper.make_model(proto, opset_imports=[helper.make_opsetid("", OPSET)],
                             ir_version=IR_VERSION, producer_name="nas-service")


def empty_graph(shape: Shape) -> BlockGraph:
    """Returns the smallest graph there is, one relu: what a run costs before any work."""
    source = TensorSpec("x", shape)
    return BlockGraph((source,), (OpSpec("relu", ("x",), TensorSpec("y", shape)),))


def _value_info(tensor: TensorSpec, batch: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, (batch, *tensor.shape))
