"""How reductions, pools and operators that only move numbers are written as ONNX nodes."""

import numpy as np

from hardware_profiles.onnx_writer import WriteNode, Writer
from nas.core.blocks import OpSpec


def _global_avg_pool(writer: Writer, node: OpSpec) -> None:
    writer.add("ReduceMean", node, (writer.ints(node, "axes", [2, 3]),), keepdims=1)


def _reduction(op_type: str) -> WriteNode:
    return lambda writer, node: writer.add(
        op_type, node, (writer.ints(node, "axes", node.attribute("axes")),),
        keepdims=node.attribute("keep"))


def _max_pool(writer: Writer, node: OpSpec) -> None:
    padding = node.attribute("padding", (0, 0))
    writer.add("MaxPool", node, kernel_shape=[node.kernel] * 2, strides=[node.stride] * 2,
               pads=[*padding, *padding], ceil_mode=node.attribute("ceil", 0))


def _avg_pool(writer: Writer, node: OpSpec) -> None:
    padding = node.attribute("padding", (0, 0))
    writer.add("AveragePool", node, kernel_shape=[node.kernel] * 2, strides=[node.stride] * 2,
               pads=[*padding, *padding], ceil_mode=node.attribute("ceil", 0),
               count_include_pad=node.attribute("count_padding", 0))


def _resize(writer: Writer, node: OpSpec) -> None:
    sides = writer.ints(node, "sides", node.attribute("sides"))
    if node.attribute("nearest", 0):
        writer.add("Resize", node, ("", "", sides), mode="nearest", axes=[2, 3],
                   coordinate_transformation_mode="asymmetric", nearest_mode="floor")
        return
    writer.add("Resize", node, ("", "", sides), mode="linear", axes=[2, 3],
               coordinate_transformation_mode="half_pixel")


def _pad(writer: Writer, node: OpSpec) -> None:
    extra = [writer.ints(node, "pads", node.attribute("padding"))]
    if node.attribute("reflect", 0):
        writer.add("Pad", node, tuple(extra), mode="reflect")
        return
    extra.append(writer.filled(node, "value", (), node.attribute("value")))
    writer.add("Pad", node, tuple(extra), mode="constant")


def _flatten(writer: Writer, node: OpSpec) -> None:
    shape = [writer.batch, node.output.elements]
    writer.add("Reshape", node, (writer.ints(node, "shape", shape),))


def _reshape(writer: Writer, node: OpSpec) -> None:
    writer.add("Reshape", node, (writer.ints(node, "shape", node.attribute("shape")),))


def _permute(writer: Writer, node: OpSpec) -> None:
    writer.add("Transpose", node, perm=node.attribute("axes"))


def _slice(writer: Writer, node: OpSpec) -> None:
    writer.add("Slice", node, tuple(writer.ints(node, name, [node.attribute(name)])
                                    for name in ("start", "stop", "axis")))


def _select(writer: Writer, node: OpSpec) -> None:
    writer.add("Gather", node, (writer.ints(node, "index", node.attribute("index")),),
               axis=node.attribute("axis"))


def _concat(writer: Writer, node: OpSpec) -> None:
    writer.add("Concat", node, axis=node.attribute("axis"))


def _prepend(writer: Writer, node: OpSpec) -> None:
    shape = node.attribute("shape")
    one = writer.rng.standard_normal([1 if size == -1 else size for size in shape], np.float32)
    repeated = np.broadcast_to(one, [writer.batch if size == -1 else size for size in shape])
    constant = writer.constant(node, "constant", np.ascontiguousarray(repeated))
    writer.last("Concat", node, (constant, node.inputs[0]), axis=node.attribute("axis"))


SHAPE_WRITERS: dict[str, WriteNode] = {
    "global_avg_pool": _global_avg_pool, "mean": _reduction("ReduceMean"),
    "max": _reduction("ReduceMax"), "l2_norm": _reduction("ReduceL2"), "max_pool": _max_pool,
    "avg_pool": _avg_pool, "resize": _resize, "pad": _pad, "flatten": _flatten, "reshape": _reshape,
    "permute": _permute, "slice": _slice, "select": _select, "concat": _concat,
    "prepend": _prepend,
}
