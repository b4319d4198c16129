"""The block classes of timm that are understood: their widths, kernels, and whether they may go.

A block leads from the width of its input to that of its stage. `_BLOCKS` maps the class to what
describes it; one line there and one function add another. A block of any other class stays as it
is, and so do the widths around it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from timm.layers.attention import Attention
from timm.layers.grn import GlobalResponseNorm
from timm.layers.mlp import GlobalResponseNormMlp, GluMlp, Mlp
from timm.models import _efficientnet_blocks as efficientnet
from timm.models import convnext, regnet, resnet, vision_transformer
from torch import nn

from supernets.timm import cifar_resnet
from supernets.timm.chains import chain
from supernets.timm.layout import Axis, Layout

SMALLEST_KERNEL = 3


@dataclass(frozen=True, slots=True)
class Kernel:
    """A depthwise convolution by its path, and the side of its kernel."""

    path: str
    side: int


@dataclass(frozen=True, slots=True)
class BlockFacts:
    """What is elastic in one block.

    Attributes:
        path: Of the block's module.
        target: The width of its output, None where it is not elastic.
        droppable: Whether the network works without it: input and output are of one shape and
            the block adds to its input.
        kernels: Gene suffix → a depthwise convolution with a kernel larger than 3.
        source: The width of its input, where that depends on which blocks in front of it stay.
    """

    path: str
    target: str | None
    droppable: bool = False
    kernels: Mapping[str, Kernel] = field(default_factory=dict)
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a block stands: what its genes' names begin with, its input's width, its stage."""

    prefix: str
    source: str | None
    stage: str


Describe = Callable[[Layout, nn.Module, str, Place], BlockFacts]


def describe_block(layout: Layout, model: nn.Module, path: str, place: Place) -> BlockFacts:
    """Adds a block's axes to a layout and returns what is elastic in it."""
    describe = _BLOCKS.get(type(model.get_submodule(path)))
    if describe is None:
        return _opaque(layout, path, place)
    return describe(layout, model, path, place)


def understood() -> list[str]:
    """Returns the names of the block classes that have elastic axes."""
    return sorted({kind.__name__ for kind in _BLOCKS})


def _target(layout: Layout, place: Place, channels: int, *, residual: bool) -> str | None:
    # A block that adds to its input keeps its input's width.
    if residual:
        return place.source
    name = f"{place.stage}.width"
    if name in layout.dims and layout.dims[name].units != channels:
        name = f"{place.prefix}.width"
    return layout.add(name, channels)


def _inverted_residual(layout: Layout, model: nn.Module, path: str, place: Place) -> BlockFacts:
    block: Any = model.get_submodule(path)
    convolutions = (block.conv_pw, block.conv_dw, block.conv_pwl)
    if block.conv_s2d is not None or not all(isinstance(c, nn.Conv2d) for c in convolutions):
        return _opaque(layout, path, place, droppable=block.has_skip)
    target = _target(layout, place, block.conv_pwl.out_channels, residual=block.has_skip)
    inner = _inner(layout, place, block.conv_pw.out_channels, block.conv_dw)
    _chains(layout, model, path, (("conv_pw bn1", place.source, inner),
                                  ("conv_dw bn2 aa se", inner, inner),
                                  ("conv_pwl bn3", inner, target)))
    return BlockFacts(path, target, block.has_skip, _kernels(block, path, {"kernel": "conv_dw"}))


def _depthwise_separable(layout: Layout, model: nn.Module, path: str, place: Place) -> BlockFacts:
    block: Any = model.get_submodule(path)
    if block.conv_s2d is not None or not all(isinstance(c, nn.Conv2d)
                                             for c in (block.conv_dw, block.conv_pw)):
        return _opaque(layout, path, place, droppable=block.has_skip)
    target = _target(layout, place, block.conv_pw.out_channels, residual=block.has_skip)
    _chains(layout, model, path, (("conv_dw bn1 aa se", place.source, place.source),
                                  ("conv_pw bn2", place.source, target)))
    return BlockFacts(path, target, block.has_skip, _kernels(block, path, {"kernel": "conv_dw"}))


def _universal(layout: Layout, model: nn.Module, path: str, place: Place) -> BlockFacts:
    block: Any = model.get_submodule(path)
    target = _target(layout, place, block.pw_proj.conv.out_channels, residual=block.has_skip)
    inner = layout.add(f"{place.prefix}.inner", block.pw_exp.conv.out_channels)
    _chains(layout, model, path, (
        ("dw_start", place.source, place.source), ("pw_exp", place.source, inner),
        ("dw_mid se", inner, inner), ("pw_proj", inner, target),
        ("dw_end layer_scale", target, target)))
    return BlockFacts(path, target, block.has_skip, _kernels(
        block, path, {f"kernel_{where}": f"dw_{where}.conv" for where in ("start", "mid", "end")}))


def _edge(layout: Layout, model: nn.Module, path: str, place: Place) -> BlockFacts:
    block: Any = model.get_submodule(path)
    target = _target(layout, place, block.conv_pwl.out_channels, residual=block.has_skip)
    inner = layout.add(f"{place.prefix}.inner", block.conv_exp.out_channels)
    _chains(layout, model, path, (("conv_exp bn1 aa", place.source, inner),
                                  ("se", inner, inner), ("conv_pwl bn2", inner, target)))
    return BlockFacts(path, target, block.has_skip)


def _conv_bn_act(layout: Layout, model: nn.Module, path: str, place: Place) -> BlockFacts:
    block: Any = model.get_submodule(path)
    target = _target(layout, place, block.conv.out_channels, residual=block.has_skip)
    _chains(layout, model, path, (("conv bn1 aa", place.source, target),))
    return BlockFacts(path, target, block.has_skip)


def _basic(layout: Layout, model: nn.Module, path: str, place: Place) -> BlockFacts:
    block: Any = model.get_submodule(path)
    residual = block.downsample is None
    target = _target(layout, place, block.conv2.out_channels, residual=residual)
    inner = layout.add(f"{place.prefix}.inner", block.conv1.out_channels)
    _chains(layout, model, path, (
        ("conv1 bn1 aa", place.source, inner), ("conv2 bn2", inner, target),
        ("se", target, target), ("downsample", place.source, target)))
    return BlockFacts(path, target, residual)


def _bottleneck(layout: Layout, model: nn.Module, path: str, place: Place) -> BlockFacts:
    block: Any = model.get_submodule(path)
    residual = block.downsample is None
    target = _target(layout, place, block.conv3.out_channels, residual=residual)
    first, second = _both_inner(layout, place, block.conv1, block.conv2)
    _chains(layout, model, path, (
        ("conv1 bn1", place.source, first), ("conv2 bn2 aa", first, second),
        ("conv3 bn3", second, target), ("se", target, target),
        ("downsample", place.source, target)))
    return BlockFacts(path, target, residual)


def _untied(layout: Layout, model: nn.Module, path: str, place: Place) -> BlockFacts:
    # Shortcuts are cut or padded, so each block has a width of its own.
    block: Any = model.get_submodule(path)
    convs = [name for name in ("conv1", "conv2", "conv3") if hasattr(block, name)]
    target = layout.add(f"{place.prefix}.width", getattr(block, convs[-1]).out_channels)
    projected = not isinstance(block.downsample, nn.Identity)
    source = str(place.source) if projected else layout.add(f"{place.prefix}.source",
                                                            block.conv1.in_channels)
    # A shortcut adds channels of the same place; behind a projection all are new.
    stream = target if projected else layout.dims[str(place.source)].stream
    for name in (target,) if projected else (source, target):
        layout.dims[name].stream = stream
    inner = [layout.add(f"{place.prefix}.inner{number}", getattr(block, name).out_channels)
             for number, name in enumerate(convs[:-1], start=1)]
    widths = [source, *inner, target]
    _chains(layout, model, path, [(f"{name} {name.replace('conv', 'bn')}", source, width)
                                  for name, source, width in zip(convs, widths, widths[1:],
                                                                 strict=False)])
    if projected:
        _chains(layout, model, path, (("downsample", source, target),))
    return BlockFacts(path, target, not projected, source=None if projected else source)


def _regnet(layout: Layout, model: nn.Module, path: str, place: Place) -> BlockFacts:
    block: Any = model.get_submodule(path)
    conv1, conv2, conv3 = (getattr(layer, "conv", layer)  # alone, or with its norm
                           for layer in (block.conv1, block.conv2, block.conv3))
    residual = isinstance(block.downsample, nn.Identity)
    target = _target(layout, place, conv3.out_channels, residual=residual)
    first, second = _both_inner(layout, place, conv1, conv2)
    _chains(layout, model, path, (
        ("norm1", place.source, place.source), ("conv1 norm2", place.source, first),
        ("conv2 se norm3", first, second), ("conv3", second, target)))
    if block.downsample is not None:  # else nothing is added
        _chains(layout, model, path, (("downsample", place.source, target),))
    return BlockFacts(path, target, residual)


def _transformer(layout: Layout, model: nn.Module, path: str, place: Place) -> BlockFacts:
    block: Any = model.get_submodule(path)
    width = place.source
    if type(block.attn) is not Attention or type(block.mlp) not in (Mlp, GluMlp):
        return _opaque(layout, path, place, droppable=True)
    attention = block.attn
    heads = layout.add(f"{place.prefix}.heads", attention.num_heads, channels=False)
    rows = Axis(heads, attention.head_dim)
    queries = Axis(heads, attention.head_dim, outer=3)
    for name, axes in {"qkv.weight": (queries, width), "qkv.bias": (queries,),
                       "gate.weight": (rows, width), "gate.bias": (rows,),
                       "norm.weight": (rows,), "norm.bias": (rows,),
                       "proj.weight": (width, rows), "proj.bias": (width,)}.items():
        _assign_if_there(layout, block, path, f"attn.{name}", axes)
    mlp = layout.add(f"{place.prefix}.mlp", block.mlp.fc2.in_features)
    first = Axis(mlp, outer=2 if type(block.mlp) is GluMlp else 1)
    for name, axes in {"fc1.weight": (first, width), "fc1.bias": (first,), "norm.weight": (mlp,),
                       "norm.bias": (mlp,), "fc2.weight": (width, mlp),
                       "fc2.bias": (width,)}.items():
        _assign_if_there(layout, block, path, f"mlp.{name}", axes)
    _chains(layout, model, path, (("norm1 ls1 norm2 ls2", width, width),))
    return BlockFacts(path, width, droppable=True)


def _convnext(layout: Layout, model: nn.Module, path: str, place: Place) -> BlockFacts:
    block: Any = model.get_submodule(path)
    if not isinstance(block.shortcut, nn.Identity) or not isinstance(
            block.mlp, Mlp | GlobalResponseNormMlp):
        return _opaque(layout, path, place)
    fc1 = block.mlp.fc1
    inner = layout.add(f"{place.prefix}.mlp", fc1.weight.shape[0])
    _chains(layout, model, path, (("conv_dw norm", place.source, place.source),
                                  ("mlp.fc1", place.source, inner)))
    if isinstance(getattr(block.mlp, "grn", None), GlobalResponseNorm):
        _chains(layout, model, path, (("mlp.grn", inner, inner),))
    _chains(layout, model, path, (("mlp.fc2", inner, place.source),))
    if place.source is not None and block.gamma is not None:
        layout.assign(f"{path}.gamma", place.source)
    return BlockFacts(path, place.source, True, _kernels(block, path, {"kernel": "conv_dw"}))


def _opaque(layout: Layout, path: str, place: Place, *, droppable: bool = False) -> BlockFacts:
    layout.fix(place.source)
    return BlockFacts(path, None, droppable)


def _inner(layout: Layout, place: Place, channels: int, grouped: Any) -> str:
    step = grouped.out_channels // grouped.groups
    return layout.add(f"{place.prefix}.inner", channels // step, step=step)


def _both_inner(layout: Layout, place: Place, conv: Any, spatial: Any) -> tuple[str, str]:
    # Of a bottleneck: a grouped convolution keeps its width.
    if spatial.groups > 1:
        inner = _inner(layout, place, conv.out_channels, spatial)
        return inner, inner
    return (layout.add(f"{place.prefix}.inner1", conv.out_channels),
            layout.add(f"{place.prefix}.inner2", spatial.out_channels))


def _chains(layout: Layout, model: nn.Module, path: str,
            parts: Iterable[tuple[str, str | None, str | None]]) -> None:
    for names, source, target in parts:
        chain(layout, model, [f"{path}.{name}" for name in names.split()], source, target)


def _assign_if_there(layout: Layout, block: nn.Module, path: str, name: str,
                     axes: tuple[Axis | str | None, ...]) -> None:
    if any(name == found for found, _ in block.named_parameters()):
        layout.assign(f"{path}.{name}", *axes)


def _kernels(block: nn.Module, path: str, convolutions: Mapping[str, str]) -> dict[str, Kernel]:
    found = {}
    for suffix, name in convolutions.items():
        try:
            conv: Any = block.get_submodule(name)
        except AttributeError:
            continue
        if (type(conv).__name__ in ("Conv2d", "Conv2dSame") and conv.groups == conv.in_channels
                and conv.kernel_size[0] == conv.kernel_size[1] > SMALLEST_KERNEL
                and conv.kernel_size[0] % 2 and conv.dilation == (1, 1)):
            found[suffix] = Kernel(f"{path}.{name}", conv.kernel_size[0])
    return found


_BLOCKS: dict[type[nn.Module], Describe] = {
    efficientnet.InvertedResidual: _inverted_residual,
    efficientnet.DepthwiseSeparableConv: _depthwise_separable,
    efficientnet.UniversalInvertedResidual: _universal,
    efficientnet.EdgeResidual: _edge,
    efficientnet.ConvBnAct: _conv_bn_act,
    resnet.BasicBlock: _basic,
    resnet.Bottleneck: _bottleneck,
    cifar_resnet.CifarBasicBlock: _untied,
    cifar_resnet.CifarBottleneck: _untied,
    regnet.Bottleneck: _regnet,
    regnet.PreBottleneck: _regnet,
    vision_transformer.Block: _transformer,
    convnext.ConvNeXtBlock: _convnext,
}
