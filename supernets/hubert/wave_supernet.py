"""A HuBERT supernet whose networks make one tensor of one: what is searched and exported.

Legend: B batch, S samples, T frames, E width of a subnet.
"""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from nas.core.arch import Arch
from nas.core.blocks import Block
from nas.core.errors import InputError
from nas.core.protocols import Batch, Task
from nas.core.types import IntArray
from supernets.calibrate import recalibrate
from supernets.hubert.extract import filled
from supernets.hubert.plain import PlainHubert
from supernets.hubert.supernet import HubertSupernet


class WaveEncoder(nn.Module):
    """An extracted encoder from waveforms to the last layer's states.

    Args:
        encoder: Made by a supernet.
    """

    def __init__(self, encoder: PlainHubert) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, wave_BS: Tensor) -> Tensor:
        """Returns (B, T, E) of normalised clips that are equally long."""
        states: Tensor = self.encoder(wave_BS).last_hidden_state
        return states

    @property
    def feature_info(self) -> list[dict[str, int]]:
        """What timm says of stages: samples that each frame stands for, and the width."""
        hop = math.prod(self.encoder.elastic.strides)
        width = self.encoder.subnet.embed
        return [{"num_chs": width, "reduction": hop}] * (len(self.encoder.subnet.layers) + 1)

    def forward_intermediates(self, wave_BS: Tensor, indices: Sequence[int] | None = None, *,
                              intermediates_only: bool = True) -> list[Tensor]:
        """Returns hidden states (B, T, E), as timm's networks give their maps.

        Args:
            wave_BS: Normalised clips that are equally long.
            indices: 0 is the input of the first layer, i the output of layer i; None: all.
            intermediates_only: Nothing else can be asked for.

        Raises:
            InputError: Something else is.
        """
        if not intermediates_only:
            raise InputError("a WaveEncoder gives its hidden states alone; ask for "
                             "intermediates_only")
        states = self.encoder(wave_BS, output_hidden_states=True).hidden_states
        return [states[index] for index in (range(len(states)) if indices is None else indices)]


class WaveSupernet(nn.Module):
    """The `Supernet` of a trained HuBERT's encoders, each as a function of waveforms alone.

    Args:
        net: Trained; its task is this one's.
    """

    def __init__(self, net: HubertSupernet) -> None:
        super().__init__()
        self.net = net
        self.space = net.space

    @property
    def task(self) -> Task:
        """What its inputs, loss and quality are."""
        return self.net.task

    @task.setter
    def task(self, task: Task) -> None:
        self.net.task = task

    @property
    def vocabulary(self) -> Sequence[Block]:
        """Every distinct block of the space, in fixed order."""
        return self.net.vocabulary

    def block_ids(self, codes: IntArray) -> IntArray:
        """Returns the vocabulary id in each slot, (N, slots), −1 where there is no block."""
        return self.net.block_ids(codes)

    def forward(self, wave_BS: Tensor, arch: Arch) -> Tensor:
        """Returns the last layer's states (B, T, E) of one architecture."""
        states: Tensor = self.net(wave_BS, arch).last_hidden_state
        return states

    def extract(self, arch: Arch) -> nn.Module:
        """Returns the architecture as a `WaveEncoder` that owns its weights.

        Raises:
            ArchError: An architecture of another space.
        """
        net = self.net
        subnet = net.plan(arch)
        with torch.device("meta"):  # every tensor is replaced
            plain = PlainHubert(net.config, subnet)
        filled(plain, net.config, subnet, net.state_dict(), net.encoder.pos_conv_embed)
        return WaveEncoder(plain).train(self.training)

    def recalibrated(self, arch: Arch, batches: Iterable[Batch]) -> nn.Module:
        """Returns the extracted network; it has no batch norm, so that batches are not read."""
        return recalibrate(self.extract(arch), batches)
