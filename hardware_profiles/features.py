"""What a block adds to a network's latency, as numbers that sum over the blocks of a network.

A feature is ``"own_ms"`` (the block's measured time without the cost of a run), ``"blocks"`` (1
each), or ``"kernels:KIND"``, ``"macs:KIND"`` and ``"elems:KIND"``: how many kernels of a kind a
runtime starts for the block, their multiply-adds, and the numbers they read and write (input,
weights, output). Kinds are those of `kernel_kind`. ``"macs16:KIND"`` counts the multiply-adds with
channels rounded up to a multiple of 16, or of whatever number stands there: kernels that work on
whole vectors of channels pay for the rest of the last one, too.
"""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from nas.core.blocks import CONVOLUTIONS, Block, BlockGraph, OpSpec, Shape
from nas.core.costs import node_macs, node_params
from nas.core.errors import ProfileError
from nas.core.types import FloatArray, IntArray

OWN_MS, BLOCKS = "own_ms", "blocks"

# Operators that runtimes fold into the kernel in front of them, or that move no data.
FOLDED = frozenset({"batch_norm", "relu", "relu6", "flatten", "scale", "shift", "mul_scalar",
                    "add_scalar", "reshape", "permute", "slice", "select"})

_PADDED = re.compile(r"macs([1-9]\d*):(\w+)")

_KINDS = {
    "linear": "linear", "matmul": "matmul", "softmax": "softmax",
    **dict.fromkeys(("hard_swish", "silu", "sigmoid", "hard_sigmoid", "leaky_relu", "gelu",
                     "gelu_tanh", "tanh"), "act"),
    **dict.fromkeys(("layer_norm", "rms_norm", "group_norm"), "norm"),
    **dict.fromkeys(("global_avg_pool", "mean", "max", "l2_norm", "avg_pool", "max_pool"), "pool"),
    **dict.fromkeys(("mul", "div"), "mul"), **dict.fromkeys(("add", "sub"), "add"),
    **dict.fromkeys(("concat", "prepend", "pad", "resize"), "copy"),
}


def kernel_kind(node: OpSpec, source: Shape) -> str | None:
    """Returns what kind of kernel runs an operator whose first input is `source`.

    ``conv`` (dense, k > 1), ``pw`` (dense, 1×1), ``dw`` (depthwise), ``group``, ``linear``,
    ``matmul``, ``norm``, ``softmax``, ``pool`` (any reduction), ``act`` (an activation with a
    kernel of its own), ``mul``, ``add``, ``copy``; None for what is `FOLDED`.

    Raises:
        ProfileError: An operator that no kind is known for.
    """
    if node.kind in CONVOLUTIONS:
        if node.groups == 1:
            return "pw" if node.kernel == 1 else "conv"
        return "dw" if node.groups == source[0] == node.output.shape[0] else "group"
    if node.kind in FOLDED:
        return None
    if node.kind not in _KINDS:
        raise ProfileError(f"operator {node.kind!r} has no kernel kind; add it to "
                           "hardware_profiles.features")
    return _KINDS[node.kind]


def graph_features(graph: BlockGraph) -> dict[str, float]:
    """Returns every ``kernels:``, ``macs:`` and ``elems:`` feature of a graph that is not 0."""
    found: dict[str, float] = {}
    for node in graph.nodes:
        source = graph.shape_of(node.inputs[0])
        kind = kernel_kind(node, source)
        if kind is None:
            continue
        moved = (sum(int(np.prod(graph.shape_of(name))) for name in node.inputs)
                 + node.output.elements + node_params(node, source))
        for name, value in (("kernels", 1), ("macs", node_macs(node, source)), ("elems", moved)):
            key = f"{name}:{kind}"
            found[key] = found.get(key, 0.0) + value
    return {key: value for key, value in found.items() if value}


def block_features(vocabulary: Sequence[Block]) -> dict[str, FloatArray]:
    """Returns each ``kernels:``, ``macs:`` and ``elems:`` feature that a block has, (blocks,)."""
    counted = [graph_features(block.graph) for block in vocabulary]
    return {name: np.array([one.get(name, 0.0) for one in counted])
            for name in sorted({name for one in counted for name in one})}


def padded_macs(graph: BlockGraph, multiple: int) -> dict[str, float]:
    """Returns the multiply-adds by kind, channels rounded up to a multiple.

    Of a convolution's output that is always so; of its input only for 1×1 kernels: what a dense
    larger kernel reads is often the image, whose few channels runtimes do not pad.
    """
    found: dict[str, float] = {}
    for node in graph.nodes:
        source = graph.shape_of(node.inputs[0])
        kind, macs = kernel_kind(node, source), float(node_macs(node, source))
        if kind is None or not macs:
            continue
        if node.kind in CONVOLUTIONS:
            macs *= _padding(node.output.shape[0], multiple)
            if kind == "pw":
                macs *= _padding(source[0], multiple)
        found[kind] = found.get(kind, 0.0) + macs
    return found


def feature_matrix(names: Sequence[str], vocabulary: Sequence[Block],
                   own_ms: Mapping[str, float] | None = None) -> FloatArray:
    """Returns the features of each block, (blocks, names).

    Args:
        names: Of features.
        vocabulary: The blocks.
        own_ms: Block key → ms, for ``"own_ms"``.

    Raises:
        ProfileError: A block has no measured time, or there is no feature of that name.
    """
    for name in names:
        if name not in (OWN_MS, BLOCKS) and not _PADDED.fullmatch(name) and (
                name.partition(":")[0] not in ("kernels", "macs", "elems")):
            raise ProfileError(f"no feature is called {name!r}")
    multiples = {name: int(found[1]) for name in names if (found := _PADDED.fullmatch(name))}
    matrix = np.zeros((len(vocabulary), len(names)))
    for row, block in enumerate(vocabulary):
        counted = graph_features(block.graph)
        for multiple in set(multiples.values()):
            counted |= {f"macs{multiple}:{kind}": value
                        for kind, value in padded_macs(block.graph, multiple).items()}
        for column, name in enumerate(names):
            if name == BLOCKS:
                matrix[row, column] = 1.0
            elif name == OWN_MS:
                matrix[row, column] = _own(block, own_ms or {})
            else:
                matrix[row, column] = counted.get(name, 0.0)
    return matrix


def network_features(names: Sequence[str], vocabulary: Sequence[Block], ids: IntArray,
                     own_ms: Mapping[str, float] | None = None) -> FloatArray:
    """Returns the features of whole networks: sums over their blocks, then the constant 1.

    Args:
        names: Of features.
        vocabulary: The blocks.
        ids: Of each network's blocks, (N, slots), −1 where a slot is empty.
        own_ms: Block key → ms, for ``"own_ms"``.

    Returns:
        (N, names + 1).

    Raises:
        ProfileError: As `feature_matrix`.
    """
    blocks = feature_matrix(names, vocabulary, own_ms)
    padded = np.vstack([blocks, np.zeros(len(names))])  # id −1 reads the zeros
    return np.column_stack([padded[ids].sum(axis=1), np.ones(len(ids))])


def _padding(channels: int, multiple: int) -> float:
    return -(-channels // multiple) * multiple / channels


def _own(block: Block, own_ms: Mapping[str, float]) -> float:
    if block.key not in own_ms:
        raise ProfileError(f"block {block.key!r} has not been measured")
    return own_ms[block.key]
