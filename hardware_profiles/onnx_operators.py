"""How each kind of operator is written as ONNX nodes; the kinds are those of `OpSpec`."""

from hardware_profiles.onnx_shapes import SHAPE_WRITERS
from hardware_profiles.onnx_writer import WriteNode, Writer
from nas.core.blocks import OpSpec

EPSILON = 1e-5  # of every norm: latency does not depend on it

def _convolution(writer: Writer, node: OpSpec) -> None:
    axes = len(writer.source(node)) - 1
    out, grouped_in = node.output.shape[0], writer.source(node)[0] // node.groups
    kernel = (node.kernel,) * axes
    fan_in = grouped_in * node.kernel ** axes
    weights = [writer.normal(node, "weight", (out, grouped_in, *kernel), fan_in)]
    if node.bias:
        weights.append(writer.normal(node, "bias", (out,), fan_in))
    padding = node.attribute("padding", (node.kernel // 2,) * axes)
    writer.add("Conv", node, tuple(weights), kernel_shape=kernel, group=node.groups,
               strides=[node.stride] * axes, pads=[*padding, *padding],
               dilations=[node.attribute("dilation", 1)] * axes)


def _linear(writer: Writer, node: OpSpec) -> None:
    source = writer.source(node)
    out, features = node.output.shape[-1], source[-1]
    if len(source) == 1:
        weights = [writer.normal(node, "weight", (out, features), features)]
        if node.bias:
            weights.append(writer.normal(node, "bias", (out,), features))
        writer.add("Gemm", node, tuple(weights), transB=1)
        return
    weight = writer.normal(node, "weight", (features, out), features)
    if not node.bias:
        writer.add("MatMul", node, (weight,))
        return
    product = writer.step("MatMul", node, "product", (node.inputs[0], weight))
    bias = writer.normal(node, "bias", (out,), features)
    writer.last("Add", node, (product, bias))


def _matmul(writer: Writer, node: OpSpec) -> None:
    left = node.attribute("left", ())
    if not left:
        writer.add("MatMul", node)
        return
    constant = writer.normal(node, "left", left, left[-1])
    writer.last("MatMul", node, (constant, node.inputs[0]))


def _batch_norm(writer: Writer, node: OpSpec) -> None:
    channels = (node.output.shape[0],)
    roles = (("scale", 1.0), ("bias", 0.0), ("mean", 0.0), ("var", 1.0))
    writer.add("BatchNormalization", node,
               tuple(writer.filled(node, role, channels, value) for role, value in roles),
               epsilon=EPSILON)


def _layer_norm(writer: Writer, node: OpSpec) -> None:
    features = (node.output.shape[-1],)
    weights = [writer.filled(node, "scale", features, 1.0)]
    if node.bias:
        weights.append(writer.filled(node, "bias", features, 0.0))
    writer.add("LayerNormalization", node, tuple(weights), axis=-1, epsilon=EPSILON)


def _rms_norm(writer: Writer, node: OpSpec) -> None:
    x = node.inputs[0]
    square = writer.step("Mul", node, "square", (x, x))
    mean = writer.step("ReduceMean", node, "mean", (square, writer.ints(node, "axes", [-1])))
    shifted = writer.step("Add", node, "shifted",
                          (mean, writer.filled(node, "epsilon", (), EPSILON)))
    root = writer.step("Sqrt", node, "root", (shifted,))
    normed = writer.step("Div", node, "normed", (x, root))
    scale = writer.filled(node, "scale", node.output.shape[-1:], 1.0)
    writer.last("Mul", node, (normed, scale))


def _group_norm(writer: Writer, node: OpSpec) -> None:
    # The form that torch.onnx gives it: an instance norm over groups, then scale and bias.
    shape = node.output.shape
    grouped = writer.step("Reshape", node, "grouped", (
        node.inputs[0], writer.ints(node, "groups", [0, node.groups, -1])))
    ones = writer.filled(node, "ones", (node.groups,), 1.0)
    zeros = writer.filled(node, "zeros", (node.groups,), 0.0)
    normed = writer.step("InstanceNormalization", node, "normed", (grouped, ones, zeros),
                         epsilon=EPSILON)
    back = writer.step("Reshape", node, "back", (
        normed, writer.ints(node, "shape", [writer.batch, *shape])))
    channels = (shape[0], *(1,) * (len(shape) - 1))
    scaled = writer.step("Mul", node, "scaled", (
        back, writer.filled(node, "scale", channels, 1.0)))
    writer.last("Add", node, (scaled, writer.filled(node, "bias", channels, 0.0)))


def _silu(writer: Writer, node: OpSpec) -> None:
    writer.add("Mul", node, (writer.step("Sigmoid", node, "gate", node.inputs),))


def _hard_sigmoid(writer: Writer, node: OpSpec) -> None:
    writer.add("HardSigmoid", node, alpha=1.0 / 6.0, beta=0.5)  # relu6(x + 3) / 6


def _relu6(writer: Writer, node: OpSpec) -> None:
    writer.add("Clip", node, (writer.filled(node, "min", (), 0.0),
                              writer.filled(node, "max", (), 6.0)))


def _leaky_relu(writer: Writer, node: OpSpec) -> None:
    writer.add("LeakyRelu", node, alpha=node.attribute("slope"))


def _gelu(writer: Writer, node: OpSpec) -> None:
    writer.add("Gelu", node, approximate="tanh" if node.kind == "gelu_tanh" else "none")


def _softmax(writer: Writer, node: OpSpec) -> None:
    writer.add("Softmax", node, axis=node.attribute("axis"))


def _with_number(op_type: str) -> WriteNode:
    return lambda writer, node: writer.add(
        op_type, node, (writer.filled(node, "value", (), node.attribute("value")),))


def _with_constant(op_type: str) -> WriteNode:
    return lambda writer, node: writer.add(
        op_type, node, (writer.normal(node, "constant", node.attribute("shape"), 1),))


def _plain(op_type: str) -> WriteNode:
    return lambda writer, node: writer.add(op_type, node)


WRITERS: dict[str, WriteNode] = {
    "conv2d": _convolution, "conv1d": _convolution, "linear": _linear, "matmul": _matmul,
    "batch_norm": _batch_norm, "layer_norm": _layer_norm, "rms_norm": _rms_norm,
    "group_norm": _group_norm, "relu": _plain("Relu"), "relu6": _relu6, "silu": _silu,
    "leaky_relu": _leaky_relu, "hard_swish": _plain("HardSwish"), "sigmoid": _plain("Sigmoid"),
    "hard_sigmoid": _hard_sigmoid, "gelu": _gelu, "gelu_tanh": _gelu, "tanh": _plain("Tanh"),
    "softmax": _softmax, "mul": _plain("Mul"), "add": _plain("Add"), "sub": _plain("Sub"),
    "div": _plain("Div"), "mul_scalar": _with_number("Mul"), "add_scalar": _with_number("Add"),
    "scale": _with_constant("Mul"), "shift": _with_constant("Add"), **SHAPE_WRITERS,
}
