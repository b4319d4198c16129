"""The HuBERT supernet: one set of weights for every encoder of its space.

Legend: B batch, S samples, T frames, E width of a subnet. The module tree has the names of
transformers' HubertModel (but for the two parts of the positional convolution's weight norm), so
that extraction is slicing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from nas.core.arch import Arch
from nas.core.blocks import Block
from nas.core.errors import InputError
from nas.core.protocols import Batch, Task
from nas.core.space import GeneSpace
from nas.core.types import IntArray
from nas.core.vocabulary import Vocabulary
from supernets.calibrate import recalibrate
from supernets.elastic.linear import ElasticLinear
from supernets.hubert.blocks import build_vocabulary
from supernets.hubert.config import ElasticHubertConfig
from supernets.hubert.extract import extracted
from supernets.hubert.frontend import Frontend, check_wave, kept_frames
from supernets.hubert.layers import ElasticEncoder, ElasticFeatureProjection
from supernets.hubert.space import SubnetPlan, build_space, plan
from supernets.tasks.waves import SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class SpeechStates:
    """What an encoder makes of waveforms.

    Attributes:
        last_hidden_state: Output of the last layer, (B, T, E); frames of padding hold anything.
        hidden_states: If asked for: the input of the first layer and the output of each, as
            transformers has it.
        prediction: If asked for: the prediction head's output, (B, T, target width).
    """

    last_hidden_state: Tensor
    hidden_states: tuple[Tensor, ...] | None = None
    prediction: Tensor | None = None


class HubertSupernet(nn.Module):
    """An elastic HuBERT encoder; see `ElasticHubertConfig` for its axes.

    The module holds weights only: which subnet runs is an argument of each call. There is no
    dropout. The authors' code pads time to a multiple of 2 and masks the padding, which changes no
    frame; here time is left as it is.

    Args:
        config: The family member.
        task: What its inputs, loss and quality are. Costs are counted on its inputs; without one,
            on a second of audio.
        target_dim: Features that the prediction head gives; None: there is no head.
    """

    def __init__(self, config: ElasticHubertConfig, task: Task | None = None, *,
                 target_dim: int | None = None) -> None:
        super().__init__()
        self.config = config
        self._task = task
        self.space: GeneSpace = build_space(config)
        self.masked_spec_embed = nn.Parameter(torch.empty(config.width).uniform_())
        self.feature_extractor = Frontend(config)
        self.feature_projection = ElasticFeatureProjection(config)
        self.encoder = ElasticEncoder(config)
        self.prediction_head = (None if target_dim is None else
                                ElasticLinear(config.width, target_dim, bias=False))
        self.apply(_initialise)

    @property
    def task(self) -> Task:
        """What its inputs, loss and quality are.

        Raises:
            InputError: It was made without a task.
        """
        if self._task is None:
            raise InputError(f"this supernet of {self.space.id} has no task; give HubertSupernet "
                             "one")
        return self._task

    @task.setter
    def task(self, task: Task) -> None:
        self._task = task
        self.__dict__.pop("slots", None)  # counted on the inputs of the former one

    @property
    def vocabulary(self) -> Sequence[Block]:
        """Every distinct block of the space, in fixed order."""
        return self.slots.blocks

    def block_ids(self, codes: IntArray) -> IntArray:
        """Returns the vocabulary id in each slot, (N, slots), −1 where there is no block."""
        return self.slots.block_ids(codes)

    @cached_property
    def slots(self) -> Vocabulary:
        """The blocks and which genes decide what stands where."""
        samples = SAMPLE_RATE
        if self._task is not None:
            samples = self._task.example_inputs(1, np.random.default_rng(0)).shape[-1]
        return build_vocabulary(self.config, self.space, samples=samples)

    def forward(self, wave_BS: Tensor, arch: Arch, padding_mask: Tensor | None = None, *,
                mask: Tensor | None = None, hidden_states: bool = False,
                predict: bool = False) -> SpeechStates:
        """Returns the states of one architecture.

        Args:
            wave_BS: Waveforms of `SAMPLE_RATE`.
            arch: The subnet.
            padding_mask: (B, S) bool, True behind the end of a clip; None: there is no padding.
            mask: (B, T) bool, True where a frame is replaced by the mask embedding; None: nowhere.
            hidden_states: Whether to return those of every layer.
            predict: Whether to run the prediction head.

        Raises:
            ArchError: An architecture of another space.
            InputError: Waveforms or masks that do not fit, or no head to predict with.
        """
        subnet = self.plan(arch)
        check_wave(self.config, wave_BS, padding_mask)
        x_BTE, keep_B11T = self._frames(wave_BS, subnet.embed, padding_mask, mask)
        states = [x_BTE]
        for layer in subnet.layers:
            x_BTE = self.encoder.layers[layer.index](x_BTE, layer, keep_B11T)
            if hidden_states:
                states.append(x_BTE)
        return SpeechStates(x_BTE, tuple(states) if hidden_states else None,
                            self._predict(x_BTE) if predict else None)

    def extract(self, arch: Arch) -> nn.Module:
        """Returns the architecture as a module that owns its weights.

        It is a transformers HubertModel where that can have the shape, else a `PlainHubert` with
        the same interface. The mode (training or evaluation) and device are those of the supernet;
        the prediction head stays behind.

        Raises:
            ArchError: An architecture of another space.
            InputError: It is a HubertModel's, and transformers is not installed.
        """
        return extracted(self.config, self.plan(arch), self.state_dict(),
                         self.encoder.pos_conv_embed).train(self.training)

    def recalibrated(self, arch: Arch, batches: Iterable[Batch]) -> nn.Module:
        """Returns the extracted network; it has no batch norm, so that batches are not read."""
        return recalibrate(self.extract(arch), batches)

    def plan(self, arch: Arch) -> SubnetPlan:
        """Returns what an architecture has.

        Raises:
            ArchError: An architecture of another space.
        """
        self.space.encode([arch])  # rejects what is not of the space
        return plan(self.config, arch)

    def _frames(self, wave_BS: Tensor, embed: int, padding_BS: Tensor | None,
                mask_BT: Tensor | None) -> tuple[Tensor, Tensor | None]:
        # The first layer's input (B, T, E), and which frames attention may look at.
        x_BTE = self.feature_projection(self.feature_extractor(wave_BS), embed)
        if mask_BT is not None:
            if mask_BT.shape != x_BTE.shape[:2] or mask_BT.dtype != torch.bool:
                raise InputError(f"the mask of {tuple(x_BTE.shape[:2])} clips and frames is "
                                 f"{tuple(mask_BT.shape)} of {mask_BT.dtype}, not bool of the same "
                                 "shape")
            filler = self.masked_spec_embed[:embed].to(x_BTE.dtype)
            x_BTE = torch.where(mask_BT[..., None], filler, x_BTE)
        keep_B11T = None
        if padding_BS is not None:
            lengths_B = (~padding_BS).sum(1)
            keep_BT = kept_frames(self.config, lengths_B, x_BTE.shape[1])
            x_BTE = x_BTE.masked_fill(~keep_BT[..., None], 0.0)
            keep_B11T = keep_BT[:, None, None]
        x_BTE = x_BTE + self.encoder.pos_conv_embed(x_BTE)
        return self.encoder.layer_norm(x_BTE), keep_B11T

    def _predict(self, x_BTE: Tensor) -> Tensor:
        if self.prediction_head is None:
            raise InputError("this supernet has no prediction head; make it with target_dim")
        prediction: Tensor = self.prediction_head(x_BTE, self.prediction_head.weight.shape[0])
        return prediction


def _initialise(module: nn.Module) -> None:
    # As HuBERT has it: BERT's dense layers, He's convolutions; norms and the rest as they are.
    if isinstance(module, ElasticLinear | nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
    elif isinstance(module, nn.Conv1d):
        nn.init.kaiming_normal_(module.weight)
