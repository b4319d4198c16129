"""The VAR supernet: one transformer whose late scales may run few of its layers.

VAR: Tian et al., arXiv 2404.02905. Depth of scales: VARiant, arXiv 2511.16546. A layer that a
scale skips passes its tokens unchanged and has no keys of them; so an unselected layer runs on an
image's first tokens alone.

Legend: B batch, L tokens of an image, T some of them, C width, V codes, E channels of a code.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from nas.core.arch import Arch
from nas.core.errors import InputError
from supernets.var.config import VarConfig
from supernets.var.dropping import branch_factors, dropped_labels
from supernets.var.initialise import initialise
from supernets.var.layers import Block, HeadNorm, SharedProjection
from supernets.var.space import DepthPlan, VarSpace, build_space, plan


@dataclass(frozen=True, eq=False, slots=True)
class TeacherForced:
    """What a transformer reads of images that are known; its rows are images.

    Attributes:
        inputs_BTE: Of all scales but the first: `MultiScaleQuantizer.teacher_inputs`.
        labels_B: Classes, int64; `VarConfig.classes` for none.
    """

    inputs_BTE: Tensor
    labels_B: Tensor

    def __len__(self) -> int:
        return len(self.labels_B)

    def __getitem__(self, rows: slice) -> "TeacherForced":
        return TeacherForced(self.inputs_BTE[rows], self.labels_B[rows])


class VarSupernet(nn.Module):
    """A VAR and all its depth subnets.

    The module holds weights only: which layers run is an argument of each call, and changing it
    copies nothing.

    Args:
        config: The family member.
        generator: Draws the initial weights; None: torch's default one.
    """

    def __init__(self, config: VarConfig, *, generator: Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.space: VarSpace = build_space(config)
        width = config.width
        self.word_embed = nn.Linear(config.code_dim, width)
        self.class_emb = nn.Embedding(config.classes + 1, width)
        self.pos_start = nn.Parameter(torch.empty(1, config.ends[0], width))
        self.pos_1LC = nn.Parameter(torch.empty(1, config.tokens, width))
        self.lvl_embed = nn.Embedding(config.scales, width)
        self.shared_ada_lin = (nn.Sequential(nn.SiLU(), SharedProjection(width, 6 * width))
                               if config.shared_adaln else nn.Identity())
        blocks = [Block(config) for _ in range(config.depth)]
        self.blocks = nn.ModuleList(blocks)
        self.head_nm = HeadNorm(config)
        self.head = nn.Linear(width, config.vocabulary)
        initialise(self, blocks=blocks, width=width, generator=generator)

    def forward(self, images: TeacherForced, arch: Arch, *,
                generator: Generator | None = None) -> Tensor:
        """Returns the logits of all tokens, (B, L, V), in single precision.

        In evaluation mode it draws nothing. In training mode labels are replaced by no class, and
        branches of layers left out, at the configuration's rates.

        Args:
            images: What came before each token, and the classes.
            arch: The subnet.
            generator: Of the draws in training mode; None: torch's default one.

        Raises:
            ArchError: An architecture of another space.
            InputError: Inputs or labels that do not fit.
        """
        lengths = self.plan(arch).lengths
        self._check(images.inputs_BTE, images.labels_B)
        return self.scored(images, lengths, generator=generator)

    def scored(self, images: TeacherForced, lengths: Mapping[int, int], *,
               generator: Generator | None = None) -> Tensor:
        """Returns what `forward` does; no value is looked at, so that an exporter can trace it.

        Args:
            images: As of `forward`, unchecked.
            lengths: `DepthPlan.lengths` of the subnet.
            generator: As of `forward`.
        """
        inputs_BTE, labels_B = images.inputs_BTE, images.labels_B
        if self.training:
            labels_B = dropped_labels(self.config, labels_B, generator)
        class_BC = self.class_emb(labels_B)
        x_BLC = self.embedded(class_BC, inputs_BTE)
        conditioning = self.shared_ada_lin(class_BC)
        levels_L = self.levels(x_BLC.device)
        mask_LL = levels_L[:, None] >= levels_L
        waiting: list[Tensor] = []
        for index, block in enumerate(self.blocks):
            end = lengths[index]
            kept = branch_factors(self.config, index, x_BLC, generator) if self.training else None
            x_BLC = block(_first(x_BLC, waiting, end), conditioning, mask_LL[:end, :end],
                          kept_2B11=kept)
        return self.logits(_first(x_BLC, waiting, self.config.tokens), class_BC)

    def extract(self, arch: Arch) -> nn.Module:
        """Returns the subnet as a module that owns its weights: `FixedDepth`, in the same mode.

        It has all layers, as the bridge scales run them.

        Raises:
            ArchError: An architecture of another space.
        """
        self.plan(arch)
        return FixedDepth(copy.deepcopy(self), arch).train(self.training)

    def no_weight_decay(self) -> set[str]:
        """Returns the names of what weight decay must leave alone, as VAR has it.

        These are positions and levels, the heads' scales and the conditioning's offsets.
        """
        listed = ("pos_start", "pos_1LC", "lvl_embed.weight", "scale_mul_1H11", "ada_gss")
        return {name for name, _ in self.named_parameters() if name.endswith(listed)}

    def plan(self, arch: Arch) -> DepthPlan:
        """Returns the layers of each scale.

        Raises:
            ArchError: An architecture of another space.
        """
        return plan(self.config, arch)

    def embedded(self, class_BC: Tensor, inputs_BTE: Tensor) -> Tensor:
        """Returns the first layer's input of the first scale and those that inputs are given of."""
        first = class_BC[:, None] + self.pos_start
        x_BLC = torch.cat((first, self.word_embed(inputs_BTE)), 1)
        end = x_BLC.shape[1]
        levels_L = self.levels(x_BLC.device)
        places: Tensor = self.lvl_embed(levels_L[:end]) + self.pos_1LC[:, :end]
        return x_BLC + places

    def scale_embedded(self, inputs_BTE: Tensor, scale: int) -> Tensor:
        """Returns the first layer's input of one scale after the first, (B, T, C)."""
        begin, end = self.config.ends[scale - 1], self.config.ends[scale]
        places = self.lvl_embed.weight[scale] + self.pos_1LC[:, begin:end]
        x_BTC: Tensor = self.word_embed(inputs_BTE) + places
        return x_BTC

    def levels(self, device: torch.device) -> Tensor:
        """Returns the scale of each token, (L,) int64, from 0."""
        levels = [scale for scale, side in enumerate(self.config.patch_nums)
                  for _ in range(side**2)]
        return torch.tensor(levels, device=device)

    def logits(self, x_BTC: Tensor, class_BC: Tensor) -> Tensor:
        """Returns the logits of the last layer's output, (B, T, V), in single precision."""
        with torch.autocast(x_BTC.device.type, enabled=False):
            normed = self.head_nm(x_BTC.to(self.head.weight.dtype), class_BC)
            logits: Tensor = self.head(normed)
        return logits.float()

    def check_labels(self, labels_B: Tensor) -> None:
        """Raises `InputError` if labels are no classes: the index `classes` means none."""
        if labels_B.dim() != 1 or labels_B.dtype != torch.int64:
            raise InputError(f"labels are (B,) int64, not {tuple(labels_B.shape)} of "
                             f"{labels_B.dtype}")
        classes = self.config.classes
        if labels_B.numel() and not 0 <= int(labels_B.min()) <= int(labels_B.max()) <= classes:
            raise InputError(f"a class is outside 0 … {classes - 1} ({classes} for none)")

    def _check(self, inputs_BTE: Tensor, labels_B: Tensor) -> None:
        self.check_labels(labels_B)
        expected = (len(labels_B), self.config.tokens - self.config.ends[0], self.config.code_dim)
        if inputs_BTE.shape != expected:
            raise InputError(f"inputs of {len(labels_B)} labels are {expected}, not "
                             f"{tuple(inputs_BTE.shape)}; make them with teacher_inputs of the "
                             "VQVAE")


class FixedDepth(nn.Module):
    """A transformer and the one subnet that it runs as.

    Args:
        net: Whose weights it has; not copied.
        arch: The subnet.
    """

    def __init__(self, net: VarSupernet, arch: Arch) -> None:
        super().__init__()
        self.net, self.arch = net, arch

    def forward(self, images: TeacherForced) -> Tensor:
        """Returns the logits of all tokens, (B, L, V), in single precision."""
        logits: Tensor = self.net(images, self.arch)
        return logits


def _first(x_BTC: Tensor, waiting: list[Tensor], end: int) -> Tensor:
    # The first `end` tokens. Those behind wait, the nearest last, until a layer runs them again:
    # so a run of layers that skip the same tokens copies nothing.
    while x_BTC.shape[1] < end:
        x_BTC = torch.cat((x_BTC, waiting.pop()), 1)
    if x_BTC.shape[1] > end:
        waiting.append(x_BTC[:, end:])
        x_BTC = x_BTC[:, :end]
    return x_BTC


def token_targets(tokens: Sequence[Tensor]) -> Tensor:
    """Returns all token maps as one sequence (B, L): what the logits are to say."""
    return torch.cat(list(tokens), 1)
