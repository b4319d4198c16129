"""How timm's networks are made of stem, stages and head: one function for each class of them.

`_FAMILIES` maps a class of timm to its function; one line there and one function add another.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from timm.models.convnext import ConvNeXt
from timm.models.deit import VisionTransformerDistilled
from timm.models.efficientnet import EfficientNet
from timm.models.mobilenetv3 import MobileNetV3
from timm.models.regnet import RegNet
from timm.models.resnet import ResNet
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from nas.core.errors import InputError
from supernets.timm.blocks import BlockFacts, Place, describe_block, understood
from supernets.timm.chains import chain
from supernets.timm.cifar_resnet import CifarResNet
from supernets.timm.layout import Layout


@dataclass(frozen=True, slots=True)
class StageFacts:
    """A run of blocks whose number is elastic.

    Attributes:
        name: Such as ``"stage2"``.
        blocks: In order, all of them.
        out: The width that the stage passes on, where its blocks have different ones: that of the
            last block that stays.
    """

    name: str
    blocks: tuple[BlockFacts, ...]
    out: str | None = None

    @property
    def droppable(self) -> tuple[int, ...]:
        """The positions of blocks that the network works without."""
        return tuple(place for place, block in enumerate(self.blocks) if block.droppable)


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is elastic in a model.

    Attributes:
        family: Such as ``"resnet"``.
        layout: The axes of its tensors.
        source: The width that the first block reads.
        stages: In order.
    """

    family: str
    layout: Layout
    source: str
    stages: tuple[StageFacts, ...]


_Described = tuple[str, tuple[StageFacts, ...]]


def describe_model(model: nn.Module) -> ModelFacts:
    """Returns what is elastic in a timm model.

    Raises:
        InputError: The model is of no class that is understood, or nothing in it is elastic.
    """
    for kinds, (family, describe) in _FAMILIES.items():
        if type(model) in kinds:
            layout = Layout()
            facts = ModelFacts(family, layout, *describe(model, layout))
            if not any(stage.droppable or any(block.kernels for block in stage.blocks)
                       for stage in facts.stages) and all(d.fixed for d in layout.dims.values()):
                break
            return facts
    kinds_known = ", ".join(kind.__name__ for kinds in _FAMILIES for kind in kinds)
    raise InputError(f"a timm model of class {type(model).__name__} has nothing elastic that is "
                     f"understood; looked for a network of class {kinds_known} with blocks of "
                     f"class {', '.join(understood())}")


def _efficientnet(model: Any, layout: Layout) -> _Described:
    stem = layout.add("stem.width", model.conv_stem.out_channels)
    chain(layout, model, ("conv_stem", "bn1"), None, stem)
    stages, width = _stages(layout, model, [(f"stage{index}", f"blocks.{index}", stage)
                                            for index, stage in enumerate(model.blocks)], stem)
    chain(layout, model, ("conv_head", "norm_head", "classifier"), width, None)
    return stem, stages


def _resnet(model: Any, layout: Layout) -> _Described:
    stem = layout.add("stem.width", model.bn1.weight.shape[0])
    chain(layout, model, ("conv1", "bn1"), None, stem)
    if any(True for _ in model.maxpool.parameters()):
        layout.fix(stem)
    else:
        chain(layout, model, ("maxpool",), stem, stem)
    stages, width = _stages(layout, model, [
        (f"stage{index}", f"layer{index + 1}", getattr(model, f"layer{index + 1}"))
        for index in range(4)], stem)
    chain(layout, model, ("fc",), width, None)
    return stem, stages


def _vision_transformer(model: Any, layout: Layout) -> _Described:
    width = layout.add("width", model.embed_dim)
    chain(layout, model, ("patch_embed.proj", "patch_embed.norm"), None, width)
    for token in ("cls_token", "reg_token", "dist_token", "pos_embed"):
        if getattr(model, token, None) is not None:
            layout.assign(token, None, None, width)
    if model.attn_pool is not None or type(model.patch_embed).__name__ != "PatchEmbed":
        layout.fix(width)
    stages, _ = _stages(layout, model, [("", "blocks", model.blocks)], width)
    chain(layout, model, ("norm_pre", "norm", "fc_norm"), width, width)
    for head in ("head", "head_dist"):
        chain(layout, model, (head,), width, None)
    return width, stages


def _convnext(model: Any, layout: Layout) -> _Described:
    stem = layout.add("stem.width", model.stem[-1].weight.shape[0])
    chain(layout, model, ("stem",), None, stem)
    width: str | None = stem
    stages: list[StageFacts] = []
    for index, stage in enumerate(model.stages):
        if not isinstance(stage.downsample, nn.Identity):
            target = layout.add(f"stage{index}.width", stage.downsample[1].out_channels)
            path = f"stages.{index}.downsample"
            chain(layout, model, (path,), width, target)
            stages.append(StageFacts(f"stage{index}.downsample", (BlockFacts(path, target),)))
            width = target
        found, width = _stages(layout, model, [
            (f"stage{index}", f"stages.{index}.blocks", stage.blocks)], width)
        stages += found
    chain(layout, model, ("norm_pre", "head.norm"), width, width)
    chain(layout, model, ("head.pre_logits", "head.fc"), width, None)
    return stem, tuple(stages)


def _regnet(model: Any, layout: Layout) -> _Described:
    stem = layout.add("stem.width", getattr(model.stem, "conv", model.stem).out_channels)
    chain(layout, model, ("stem",), None, stem)
    stages, width = _stages(layout, model, [
        (f"stage{index}", f"s{index + 1}", getattr(model, f"s{index + 1}"))
        for index in range(4)], stem)
    chain(layout, model, ("final_conv", "head.fc"), width, None)
    return stem, stages


def _cifar_resnet(model: Any, layout: Layout) -> _Described:
    stem = layout.add("stem.width", model.conv1.out_channels)
    layout.dims[stem].stream = stem
    chain(layout, model, ("conv1", "bn1"), None, stem)
    width: str | None = stem
    stages = []
    for index in range(3):
        (stage,), _ = _stages(layout, model, [
            (f"stage{index}", f"layer{index + 1}", getattr(model, f"layer{index + 1}"))], width)
        last = layout.dims[str(stage.blocks[-1].target)]
        width = layout.add(f"stage{index}.out", last.units)
        layout.dims[width].stream = last.stream
        stages.append(replace(stage, out=width))
    chain(layout, model, ("fc",), width, None)
    return stem, tuple(stages)


def _stages(layout: Layout, model: nn.Module, parts: Sequence[tuple[str, str, nn.Module]],
            width: str | None) -> tuple[tuple[StageFacts, ...], str | None]:
    stages = []
    for name, path, stage in parts:
        blocks = []
        for index, (child, _) in enumerate(stage.named_children()):
            prefix = f"{name}.block{index}" if name else f"block{index}"
            facts = describe_block(layout, model, f"{path}.{child}", Place(prefix, width, name))
            blocks.append(facts)
            width = facts.target
        stages.append(StageFacts(name, tuple(blocks)))
    return tuple(stages), width


_FAMILIES: dict[tuple[type[nn.Module], ...],
                tuple[str, Callable[[Any, Layout], _Described]]] = {
    (EfficientNet, MobileNetV3): ("inverted_residual", _efficientnet),
    (ResNet,): ("resnet", _resnet),
    (VisionTransformer, VisionTransformerDistilled): ("vit", _vision_transformer),
    (ConvNeXt,): ("convnext", _convnext),
    (RegNet,): ("regnet", _regnet),
    (CifarResNet,): ("cifar_resnet", _cifar_resnet),
}
