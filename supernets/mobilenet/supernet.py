"""The mobilenet supernet: one set of weights for every network of its space.

Legend: B batch, C channels, H and W image sides, D features. The module tree has the names of
timm's EfficientNet, so that extraction is slicing: each tensor of the stock network is the
leading part of the tensor of the same name here, but for depthwise kernels, which go through
their learnt maps.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from timm.models._efficientnet_builder import decode_arch_def, round_channels
from timm.models.efficientnet import EfficientNet
from torch import Tensor, nn

from nas.core.arch import Arch
from nas.core.blocks import Block
from nas.core.errors import ArchError
from nas.core.protocols import Batch, Task
from nas.core.space import GeneSpace
from nas.core.types import IntArray
from supernets.calibrate import recalibrate
from supernets.elastic.conv import ElasticConv2d, ElasticDepthwiseConv2d
from supernets.elastic.linear import ElasticLinear
from supernets.elastic.norm import ElasticBatchNorm2d
from supernets.mobilenet.blocks import build_vocabulary
from supernets.mobilenet.config import (
    BlockPlan,
    MobileNetConfig,
    StageConfig,
    build_space,
    plan,
)

_FUNCTIONS = {"relu": F.relu, "hard_swish": F.hardswish, "silu": F.silu}

_PLANS_KEPT = 1024  # block plans of architectures seen; training draws new ones for ever


class MobileNetSupernet(nn.Module):
    """An elastic inverted-residual network; see `MobileNetConfig` for its axes.

    The module holds weights only: which subnet runs is an argument of each call.

    Args:
        config: The family member.
        task: What its inputs, loss and quality are.
    """

    def __init__(self, config: MobileNetConfig, task: Task) -> None:
        super().__init__()
        self.config = config
        self.task = task
        self.space: GeneSpace = build_space(config)
        self._vocabulary = build_vocabulary(config, self.space)
        self._act = partial(_FUNCTIONS[config.activation], inplace=True)
        self._plans: dict[Arch, list[BlockPlan]] = {}
        self.conv_stem = ElasticConv2d(config.input_shape[0], config.stem_width, 3, stride=2)
        self.bn1 = ElasticBatchNorm2d(config.stem_width)
        self.blocks = nn.ModuleList()
        in_width = config.stem_width
        for stage in config.stages:
            self.blocks.append(_elastic_stage(stage, in_width, self._act))
            in_width = stage.widths[-1]
        self.conv_head = ElasticConv2d(in_width, config.head_width)
        self.bn2 = ElasticBatchNorm2d(config.head_width)
        self.classifier = ElasticLinear(config.head_width, config.num_classes)

    @property
    def vocabulary(self) -> Sequence[Block]:
        """Every distinct block of the space, in fixed order."""
        return self._vocabulary.blocks

    def block_ids(self, codes: IntArray) -> IntArray:
        """Returns the vocabulary id in each slot, (N, slots), −1 where there is no block."""
        return self._vocabulary.block_ids(codes)

    def forward(self, x_BCHW: Tensor, arch: Arch) -> Tensor:
        """Returns the logits (B, classes) of one architecture.

        Raises:
            ArchError: An architecture of another space, or images with other channels.
        """
        if x_BCHW.shape[1] != self.config.input_shape[0]:
            raise ArchError(f"{self.space.id} takes {self.config.input_shape[0]} image channels, "
                            f"not {x_BCHW.shape[1]}")
        x = self._act(self.bn1(self.conv_stem(x_BCHW, self.config.stem_width)))
        for block_plan in self._plan(arch):
            stage = cast(nn.ModuleList, self.blocks[block_plan.stage])
            x = stage[block_plan.index](x, block_plan)
        x = self._act(self.bn2(self.conv_head(x, self.config.head_width)))
        return cast(Tensor, self.classifier(x.mean((2, 3)), self.config.num_classes))

    def extract(self, arch: Arch) -> nn.Module:
        """Returns the architecture as a stock timm EfficientNet that owns its weights.

        The mode (training or evaluation) and device are those of the supernet.

        Raises:
            ArchError: An architecture of another space.
        """
        blocks = self._plan(arch)
        strings = arch_strings(blocks, len(self.config.stages))
        with torch.device("meta"):  # no initialisation: every tensor is replaced below
            module = EfficientNet(
                decode_arch_def(strings),  # type: ignore[no-untyped-call]
                num_classes=self.config.num_classes,
                num_features=self.config.head_width,
                in_chans=self.config.input_shape[0],
                stem_size=self.config.stem_width,
                act_layer=self.config.activation,
                round_chs_fn=partial(round_channels, multiplier=0.0),  # widths stay as they are
            )
        module.load_state_dict(self._state_of(module, blocks), assign=True)
        return module.train(self.training)

    def recalibrated(self, arch: Arch, batches: Iterable[Batch]) -> nn.Module:
        """Returns the extracted network with batch-norm statistics measured on the batches."""
        return recalibrate(self.extract(arch), batches)

    def _plan(self, arch: Arch) -> list[BlockPlan]:
        found = self._plans.get(arch)
        if found is None:
            self.space.encode([arch])  # rejects what is not of the space
            if len(self._plans) >= _PLANS_KEPT:
                self._plans.clear()
            found = self._plans[arch] = plan(self.config, arch)
        return found

    def _state_of(self, module: nn.Module, blocks: Sequence[BlockPlan]) -> dict[str, Tensor]:
        stored = self.state_dict()
        kernels = {f"blocks.{b.stage}.{b.index}.conv_dw.weight": b for b in blocks}
        state: dict[str, Tensor] = {}
        for name, target in module.state_dict().items():
            if name in kernels:
                conv = self.get_submodule(name.removesuffix(".weight"))
                block = kernels[name]
                part = cast(ElasticDepthwiseConv2d, conv).sliced(block.mid_width, block.kernel)
            elif name.endswith("num_batches_tracked"):
                part = torch.zeros_like(target, device=stored["bn1.weight"].device)
            else:
                part = stored[name][tuple(slice(size) for size in target.shape)]
            state[name] = part.detach().clone(memory_format=torch.contiguous_format)
        return state


class ElasticSqueezeExcite(nn.Module):
    """Squeeze-and-excite with elastic channels; names as in timm.

    Args:
        channels: Largest number of channels.
        squeezed: Largest number of squeezed channels.
        act: The activation between its two convolutions.
    """

    def __init__(self, channels: int, squeezed: int, act: partial[Tensor]) -> None:
        super().__init__()
        self.conv_reduce = ElasticConv2d(channels, squeezed, bias=True)
        self.conv_expand = ElasticConv2d(squeezed, channels, bias=True)
        self._act = act

    def forward(self, x_BCHW: Tensor, squeezed: int) -> Tensor:
        """Returns x scaled by channel, (B, C, H, W)."""
        gate = self._act(self.conv_reduce(x_BCHW.mean((2, 3), keepdim=True), squeezed))
        return x_BCHW * torch.sigmoid(self.conv_expand(gate, x_BCHW.shape[1]))


class ElasticInvertedResidual(nn.Module):
    """One inverted residual block (Sandler et al., arXiv 1801.04381, section 3.3), elastic.

    Args:
        largest: The block at its largest setting.
        kernels: Its kernel choices, ascending.
        squeezed: Its largest squeeze-and-excite width, 0 for none.
        act: The activation after the first two convolutions.
    """

    def __init__(self, largest: BlockPlan, kernels: Sequence[int], squeezed: int,
                 act: partial[Tensor]) -> None:
        super().__init__()
        mid = largest.mid_width
        self.conv_pw = ElasticConv2d(largest.in_width, mid)
        self.bn1 = ElasticBatchNorm2d(mid)
        self.conv_dw = ElasticDepthwiseConv2d(mid, kernels, stride=largest.stride)
        self.bn2 = ElasticBatchNorm2d(mid)
        if squeezed:
            self.se = ElasticSqueezeExcite(mid, squeezed, act)
        self.conv_pwl = ElasticConv2d(mid, largest.width)
        self.bn3 = ElasticBatchNorm2d(largest.width)
        self._act = act

    def forward(self, x_BCHW: Tensor, block: BlockPlan) -> Tensor:
        """Returns (B, width, H', W') of the block that the plan describes."""
        x = self._act(self.bn1(self.conv_pw(x_BCHW, block.mid_width)))
        x = self._act(self.bn2(self.conv_dw(x, block.kernel)))
        if block.se_width:
            x = self.se(x, block.se_width)
        x = self.bn3(self.conv_pwl(x, block.width))
        return cast(Tensor, x + x_BCHW if block.has_skip else x)


def arch_strings(blocks: Sequence[BlockPlan], stages: int) -> list[list[str]]:
    """Returns the blocks in timm's architecture grammar, one string a block, one list a stage."""
    strings: list[list[str]] = [[] for _ in range(stages)]
    for block in blocks:
        text = (f"ir_r1_k{block.kernel}_s{block.stride}_e{block.expansion}_c{block.width}")
        strings[block.stage].append(
            f"{text}_se{block.se_ratio}" if block.se_width else text)
    return strings


def _elastic_stage(stage: StageConfig, in_width: int, act: partial[Tensor]) -> nn.ModuleList:
    blocks = nn.ModuleList()
    for index in range(stage.depths[-1]):
        largest = BlockPlan(0, index, in_width, stage.widths[-1], stage.kernels[-1],
                            stage.expansions[-1], stage.stride if index == 0 else 1,
                            stage.se_ratio)
        # Rounded widths: the largest expansion does not always squeeze to the most channels.
        squeezed = max(replace(largest, expansion=e).se_width for e in stage.expansions)
        blocks.append(ElasticInvertedResidual(largest, stage.kernels, squeezed, act))
        in_width = stage.widths[-1]
    return blocks
