"""The space of once-for-all's MobileNetV3 (Cai et al. 2020), without weights: for tables of it.

Five stages of 2 to 4 inverted residuals, each with a 3×3, 5×5 or 7×7 depthwise kernel and an
expansion of 3, 4 or 6; widths are fixed. Squeeze-and-excite and hard-swish belong to stages. So
does the table of block latencies on a Samsung Note 10 that CompOFA (Sahni et al. 2021) published
for width 1.2, whose keys `table_key` gives.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from nas.core.blocks import Block, GraphBuilder, Shape, TensorSpec, block_of
from nas.core.errors import SpaceError
from nas.core.space import Condition, Gene, GeneSpace
from nas.core.types import IntArray
from nas.core.vocabulary import Slot, Vocabulary
from supernets.mobilenet.config import rounded_width

DEPTHS, KERNELS, EXPANSIONS = (2, 3, 4), (3, 5, 7), (3, 4, 6)
STEM, EXPANDED, MIXED, CLASSES = 16, 960, 1280, 1000  # channels at width 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """What is fixed in a stage: channels at width 1, the first block's stride, and the rest."""

    channels: int
    stride: int
    se: bool
    activation: str


STAGES = (Stage(channels=24, stride=2, se=False, activation="relu"),
          Stage(channels=40, stride=2, se=True, activation="relu"),
          Stage(channels=80, stride=2, se=False, activation="hard_swish"),
          Stage(channels=112, stride=1, se=True, activation="hard_swish"),
          Stage(channels=160, stride=2, se=True, activation="hard_swish"))


@dataclass(frozen=True, slots=True)
class OfaMobileNetV3:
    """The space at one resolution and width, with its blocks.

    Attributes:
        space: Per stage a depth, per block a kernel and an expansion.
        vocabulary: Every distinct block.
        block_ids: Codes (N, genes) → ids (N, slots), −1 where a slot is empty.
    """

    space: GeneSpace
    vocabulary: tuple[Block, ...]
    _map: Vocabulary

    def block_ids(self, codes: IntArray) -> IntArray:
        """Returns the blocks of each code, (N, slots), −1 where a slot is empty."""
        return self._map.block_ids(codes)

    def table_key(self, block: Block) -> str:
        """Returns the name of a block in the published tables; see `table_key`."""
        return table_key(block)


def ofa_mobilenet_v3(*, resolution: int = 224, width: float = 1.2) -> OfaMobileNetV3:
    """Returns the space for square images of a side that is a multiple of 4.

    Raises:
        SpaceError: Another resolution, or a width that is not positive.
    """
    if resolution < 32 or resolution % 4 or width <= 0:
        raise SpaceError(f"resolution {resolution} and width {width}: a multiple of 4 from 32 on, "
                         "and more than 0")
    space = _space(f"ofa-mbv3-w{width:g}/1@{resolution}")
    mapped = Vocabulary(space, _slots(resolution, width))
    return OfaMobileNetV3(space, mapped.blocks, mapped)


def inverted_residual(source: Shape, *, out: int, mid: int, kernel: int, stride: int, se: bool,
                      activation: str) -> Block:
    """Returns an inverted residual on an input (C, H, W), as MobileNetV3 has it.

    Where `mid` equals the input's channels there is no expanding convolution. Squeeze-and-excite
    has a quarter of `mid` channels, to a multiple of 8, and a hard sigmoid (Howard et al. 2019,
    §5.3). The input is added where shapes allow it.
    """
    graph = GraphBuilder(TensorSpec("x", source))

    def norm_act(x: TensorSpec) -> TensorSpec:
        return graph.unary(activation, graph.unary("batch_norm", x))

    x = graph.input
    if mid != source[0]:
        x = norm_act(graph.conv2d(x, mid))
    x = norm_act(graph.conv2d(x, mid, kernel=kernel, stride=stride, groups=mid))
    if se:
        squeezed = graph.conv2d(graph.global_avg_pool(x), rounded_width(mid // 4), bias=True)
        gate = graph.conv2d(graph.unary("relu", squeezed), mid, bias=True)
        x = graph.binary("mul", x, graph.unary("hard_sigmoid", gate))
    x = graph.unary("batch_norm", graph.conv2d(x, out))
    if stride == 1 and source[0] == out:
        graph.binary("add", x, graph.input)
    return block_of("ir", graph)


def stem(resolution: int, channels: int) -> Block:
    """Returns the stride-2 convolution on an RGB image."""
    graph = GraphBuilder(TensorSpec("x", (3, resolution, resolution)))
    x = graph.conv2d(graph.input, channels, kernel=3, stride=2)
    graph.unary("hard_swish", graph.unary("batch_norm", x))
    return block_of("stem", graph)


def head(source: Shape, *, expanded: int, mixed: int) -> list[Block]:
    """Returns the blocks behind the stages: expand, average, mix features, classify."""
    expand = GraphBuilder(TensorSpec("x", source))
    x = expand.unary("batch_norm", expand.conv2d(expand.input, expanded))
    x = expand.unary("hard_swish", x)
    pool = GraphBuilder(TensorSpec("x", x.shape))
    y = pool.global_avg_pool(pool.input)
    mix = GraphBuilder(TensorSpec("x", y.shape))
    z = mix.unary("hard_swish", mix.conv2d(mix.input, mixed))
    classify = GraphBuilder(TensorSpec("x", z.shape))
    classify.linear(classify.flatten(classify.input), CLASSES)
    return [block_of(name, graph) for name, graph in (
        ("expand", expand), ("pool", pool), ("mix", mix), ("classify", classify))]


def table_key(block: Block) -> str:
    """Returns the key of a block of this space in the tables that once-for-all's tools write.

    Raises:
        SpaceError: A block of another space.
    """
    name = block.key.partition("|")[0]
    names = {"stem": "Conv", "ir": "expanded_conv", "expand": "Conv_1", "pool": "AvgPool2D",
             "mix": "Conv_2", "classify": "Logits"}
    if name not in names:
        raise SpaceError(f"block {block.key!r} is not of once-for-all's MobileNetV3")
    graph = block.graph
    key = f"{names[name]}-input:{_sides(graph.inputs[0].shape)}-output:{_sides(graph.output.shape)}"
    if name != "ir":
        return key
    kinds = [node.kind for node in graph.nodes]
    depthwise = next(node for node in graph.nodes if node.groups > 1)
    return (f"{key}-expand:{depthwise.groups}-kernel:{depthwise.kernel}-stride:{depthwise.stride}"
            f"-idskip:{int('add' in kinds)}-se:{int('hard_sigmoid' in kinds)}"
            f"-hs:{int('hard_swish' in kinds)}")


def _space(name: str) -> GeneSpace:
    genes: list[Gene] = []
    for s in range(len(STAGES)):
        genes.append(Gene(f"stage{s}.depth", DEPTHS))
        for b in range(DEPTHS[-1]):
            deeper = tuple(depth for depth in DEPTHS if depth > b)
            live = None if deeper == DEPTHS else Condition(f"stage{s}.depth", deeper)
            genes += [Gene(f"stage{s}.block{b}.kernel", KERNELS, live),
                      Gene(f"stage{s}.block{b}.expansion", EXPANSIONS, live)]
    return GeneSpace(name, tuple(genes))


def _slots(resolution: int, width: float) -> Sequence[Slot]:
    first = stem(resolution, rounded_width(STEM * width))
    blocks = [first, inverted_residual(
        first.graph.output.shape, out=rounded_width(STEM * width), mid=rounded_width(STEM * width),
        kernel=3, stride=1, se=False, activation="relu")]
    slots = [Slot((), partial(_same, block)) for block in blocks]
    source = blocks[-1].graph.output.shape
    for s, stage in enumerate(STAGES):
        out = rounded_width(stage.channels * width)
        for b in range(DEPTHS[-1]):
            slots.append(Slot((f"stage{s}.depth", f"stage{s}.block{b}.kernel",
                               f"stage{s}.block{b}.expansion"),
                              partial(_block, stage, b, source, out)))
            stride = stage.stride if b == 0 else 1
            source = (out, *(-(-side // stride) for side in source[1:]))
    return slots + [Slot((), partial(_same, block)) for block in head(
        source, expanded=rounded_width(EXPANDED * width), mixed=rounded_width(MIXED * width))]


def _block(stage: Stage, index: int, source: Shape, out: int, depth: int, kernel: int,
           expansion: int) -> Block | None:
    if index >= depth:
        return None
    return inverted_residual(source, out=out, mid=rounded_width(source[0] * expansion),
                             kernel=kernel, stride=stage.stride if index == 0 else 1, se=stage.se,
                             activation=stage.activation)


def _same(block: Block) -> Block:
    return block


def _sides(shape: Shape) -> str:
    # Channels last, as the tables write shapes.
    return "x".join(map(str, (*shape[1:], shape[0])))
