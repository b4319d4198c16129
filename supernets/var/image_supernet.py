"""A VAR whose networks score an image's tokens, one tensor to one: what is searched and exported.

Legend: B batch, L tokens of an image, M = 1 + L: the class, then all tokens, V codes.
"""

import copy
from collections.abc import Iterable, Sequence
from functools import cached_property

import torch
from torch import Tensor, nn

from nas.core.arch import Arch
from nas.core.blocks import Block
from nas.core.errors import InputError
from nas.core.protocols import Batch, Task
from nas.core.types import IntArray
from nas.core.vocabulary import Vocabulary
from supernets.calibrate import recalibrate
from supernets.var.blocks import build_vocabulary
from supernets.var.quantizer import MultiScaleQuantizer
from supernets.var.supernet import TeacherForced, VarSupernet
from supernets.var.token_inputs import TokenInputs
from supernets.var.vae import MultiScaleVqvae
from supernets.var.vae_config import check_pair


class TokenScorer(nn.Module):
    """One subnet with weights of its own: the transformer's, and codes that it does not train.

    `net` and `arch` are what `generate` makes images with; the decoder is not here.

    Args:
        net: The transformer, which it takes over.
        quantizer: Whose codes; copied.
        arch: The subnet.

    Raises:
        ArchError: An architecture of another space.
    """

    def __init__(self, net: VarSupernet, quantizer: MultiScaleQuantizer, arch: Arch) -> None:
        super().__init__()
        self.net, self.arch = net, arch
        self.inputs = TokenInputs(quantizer)
        self._lengths = net.plan(arch).lengths

    def forward(self, tokens_BM: Tensor) -> Tensor:
        """Returns the logits (B, L, V) of all tokens; ids are int64 and not checked."""
        inputs_BTE = self.inputs(tokens_BM[:, 1:])
        return self.net.scored(TeacherForced(inputs_BTE, tokens_BM[:, 0]), self._lengths)


class ImageSupernet(nn.Module):
    """The `Supernet` of a trained VAR, each network as a function of token ids alone.

    Args:
        net: The transformer.
        vae: Its VQVAE, on the same device.
        task: What inputs, loss and quality are.
        labels: Names of the classes, or none.

    Raises:
        SpaceError: A VQVAE with other codes.
    """

    def __init__(self, net: VarSupernet, vae: MultiScaleVqvae, task: Task, *,
                 labels: Sequence[str] = ()) -> None:
        super().__init__()
        check_pair(net.config, vae.config)
        self.net, self.vae, self.task = net, vae, task
        self.space, self.labels = net.space, tuple(labels)

    def forward(self, tokens_BM: Tensor, arch: Arch) -> Tensor:
        """Returns the logits (B, L, V) of all tokens of one architecture.

        Args:
            tokens_BM: Class and token ids, int64; the class `VarConfig.classes` is none.
            arch: The subnet.

        Raises:
            ArchError: An architecture of another space.
            InputError: Ids of another count or type, or a class or code that there is not.
        """
        maps = token_maps(self.net, tokens_BM)
        with torch.no_grad():
            inputs_BTE = self.vae.quantize.teacher_inputs(maps)
        logits: Tensor = self.net(TeacherForced(inputs_BTE, tokens_BM[:, 0]), arch)
        return logits

    def extract(self, arch: Arch) -> TokenScorer:
        """Returns the architecture as a module that owns its weights, in the same mode.

        Raises:
            ArchError: An architecture of another space.
        """
        self.net.plan(arch)
        return TokenScorer(copy.deepcopy(self.net), self.vae.quantize, arch).train(self.training)

    def recalibrated(self, arch: Arch, batches: Iterable[Batch]) -> nn.Module:
        """Returns the extracted network; it has no batch norm, so that batches are not read."""
        return recalibrate(self.extract(arch), batches)

    @property
    def vocabulary(self) -> Sequence[Block]:
        """Every distinct block of the space, in fixed order."""
        return self._planned.blocks

    def block_ids(self, codes: IntArray) -> IntArray:
        """Returns the vocabulary id in each slot, (N, slots), −1 where there is no block."""
        return self._planned.block_ids(codes)

    @cached_property
    def _planned(self) -> Vocabulary:
        return build_vocabulary(self.net.config, self.vae.config, self.space)


def token_maps(net: VarSupernet, tokens_BM: Tensor) -> list[Tensor]:
    """Returns the map of each scale, (B, T) int64 each, of class and token ids.

    Raises:
        InputError: Ids of another count or type, or a code that there is not.
    """
    config = net.config
    if tokens_BM.dim() != 2 or tokens_BM.shape[1] != 1 + config.tokens \
            or tokens_BM.dtype != torch.int64:
        raise InputError(f"{config.name} takes (B, {1 + config.tokens}) int64, the class and all "
                         f"tokens, not {tuple(tokens_BM.shape)} of {tokens_BM.dtype}")
    tokens_BL = tokens_BM[:, 1:]
    if tokens_BL.numel() and not 0 <= int(tokens_BL.min()) <= int(
            tokens_BL.max()) < config.vocabulary:
        raise InputError(f"a token is outside 0 … {config.vocabulary - 1}, the codes of "
                         f"{config.name}")
    return list(torch.split(tokens_BL, [side**2 for side in config.patch_nums], 1))
