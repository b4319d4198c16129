"""The block graphs of the mobilenet family: stem, inverted residual, head."""

from functools import partial

from nas.core.blocks import Block, GraphBuilder, TensorSpec, block_of
from nas.core.errors import InputError
from nas.core.space import GeneSpace
from nas.core.vocabulary import Slot, Vocabulary
from supernets.mobilenet.config import (
    BlockPlan,
    MobileNetConfig,
    at_resolution,
    build_space,
)

Sides = tuple[int, int]


def build_vocabulary(config: MobileNetConfig, space: GeneSpace) -> Vocabulary:
    """Returns every distinct block of the space and the map from codes to them."""
    stem = stem_block(config)
    slots = [Slot((), lambda: stem)]
    _, height, width = stem.graph.output.shape
    for s, stage in enumerate(config.stages):
        for b in range(stage.depths[-1]):
            slots.append(_block_slot(config, s, b, (height, width)))
            if b == 0:
                height, width = -(-height // stage.stride), -(-width // stage.stride)
    slots.append(Slot((f"stage{len(config.stages) - 1}.width",),
                      partial(head_block, config, (height, width))))
    return Vocabulary(space, slots)


def planned(config: MobileNetConfig, *, resolution: int | None = None,
            seconds: float | None = None) -> tuple[GeneSpace, Vocabulary]:
    """Returns space and blocks of a family member, for images of any side.

    Raises:
        InputError: Seconds, which images have not, or a side that it cannot have.
    """
    if seconds is not None:
        raise InputError(f"--seconds {seconds:g} is for speech, and {config.name} is of images; "
                         "drop it")
    if resolution is not None:
        config = at_resolution(config, resolution)
    space = build_space(config)
    return space, build_vocabulary(config, space)


def stem_block(config: MobileNetConfig) -> Block:
    """Returns the stride-2 convolution that every architecture starts with."""
    graph = GraphBuilder(TensorSpec("x", config.input_shape))
    x = graph.conv2d(graph.input, config.stem_width, kernel=3, stride=2)
    graph.unary(config.activation, graph.unary("batch_norm", x))
    return block_of("stem", graph)


def inverted_residual_block(plan: BlockPlan, sides: Sides, activation: str) -> Block:
    """Returns an inverted residual block on an input of these image sides."""
    graph = GraphBuilder(TensorSpec("x", (plan.in_width, *sides)))

    def norm_act(x: TensorSpec) -> TensorSpec:
        return graph.unary(activation, graph.unary("batch_norm", x))

    x = norm_act(graph.conv2d(graph.input, plan.mid_width))
    x = norm_act(graph.conv2d(x, plan.mid_width, kernel=plan.kernel, stride=plan.stride,
                              groups=plan.mid_width))
    if plan.se_width:
        squeezed = graph.conv2d(graph.global_avg_pool(x), plan.se_width, bias=True)
        gate = graph.conv2d(graph.unary(activation, squeezed), plan.mid_width, bias=True)
        x = graph.binary("mul", x, graph.unary("sigmoid", gate))
    x = graph.unary("batch_norm", graph.conv2d(x, plan.width))
    if plan.has_skip:
        graph.binary("add", x, graph.input)
    return block_of("ir", graph)


def head_block(config: MobileNetConfig, sides: Sides, width: int) -> Block:
    """Returns the 1×1 convolution, mean over the image and classifier behind `width` channels."""
    graph = GraphBuilder(TensorSpec("x", (width, *sides)))
    x = graph.unary("batch_norm", graph.conv2d(graph.input, config.head_width))
    x = graph.global_avg_pool(graph.unary(config.activation, x))
    graph.linear(graph.flatten(x), config.num_classes)
    return block_of("head", graph)


def _block_slot(config: MobileNetConfig, s: int, b: int, sides: Sides) -> Slot:
    stage = config.stages[s]
    stride = stage.stride if b == 0 else 1

    def make(depth: int, width: int, kernel: int, expansion: int, in_width: int) -> Block | None:
        if b >= depth:
            return None
        plan = BlockPlan(s, b, in_width, width, kernel, expansion, stride, stage.se_ratio)
        return inverted_residual_block(plan, sides, config.activation)

    genes = (f"stage{s}.depth", f"stage{s}.width", f"stage{s}.block{b}.kernel",
             f"stage{s}.block{b}.expansion")
    if b > 0:
        return Slot(genes, lambda depth, width, kernel, expansion:
                    make(depth, width, kernel, expansion, width))
    if s == 0:
        return Slot(genes, partial(make, in_width=config.stem_width))
    return Slot((*genes, f"stage{s - 1}.width"), make)
