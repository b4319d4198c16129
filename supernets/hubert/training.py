"""LightHuBERT's two stages of distillation (Wang et al., arXiv 2203.15610, section 3.2).

Stage 1 trains the largest network; stage 2 starts from it and trains a random one at each step.
In both, masked frames (or all: see `SpeechBatches`) are to become what the teacher says of the
whole clip.

Legend: B batch, T frames, D features of a target, N learnt frames.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.core.arch import Arch
from nas.core.errors import InputError
from supernets.hubert.batches import MaskedSpeech, SpeechBatches
from supernets.hubert.supernet import HubertSupernet, SpeechStates
from supernets.hubert.teacher import weights_digest
from supernets.training.distill import Loss
from supernets.training.sampling import Largest, SamplingRule, SinglePath
from supernets.training.trainer import Progress, TrainConfig, Trainer


def predicted(supernet: HubertSupernet, inputs: MaskedSpeech, arch: Arch) -> Tensor:
    """Returns what an architecture makes of the frames that are learnt, (N, D)."""
    states: SpeechStates = supernet(inputs.wave_BS, arch, inputs.padding_BS, mask=inputs.mask_BT,
                                    predict=True)
    assert states.prediction is not None  # it was asked for
    return states.prediction[inputs.learnt_BT]


class FeatureL1:
    """The mean absolute difference of predictions and targets on the frames that are learnt."""

    def __call__(self, inputs: MaskedSpeech, targets: Tensor) -> Loss:
        """Returns the loss of predictions (N, D), given targets (B, T, D).

        The loss raises:
            InputError: Predictions of another width than the targets'.
        """
        wanted_ND = targets[inputs.learnt_BT]

        def loss(prediction_ND: Tensor) -> Tensor:
            if prediction_ND.shape != wanted_ND.shape:
                raise InputError(f"targets have {wanted_ND.shape[-1]} features, the prediction "
                                 f"head {prediction_ND.shape[-1]}; make the supernet with "
                                 f"target_dim={wanted_ND.shape[-1]}")
            return F.l1_loss(prediction_ND.float(), wanted_ND)

        return loss

    def identity(self) -> str:
        """Returns its name."""
        return "FeatureL1"


def taught(prediction_ND: Tensor, first_ND: Tensor) -> Tensor:
    """Returns the loss of predictions against those of the network that teaches a step."""
    return F.l1_loss(prediction_ND.float(), first_ND.detach().float())


def distillation_loss(supernet: HubertSupernet, arch: Arch,
                      batches: Iterable[tuple[MaskedSpeech, Tensor]]) -> float:
    """Returns the mean loss of an architecture's learnt frames over batches; lower is better.

    Args:
        supernet: With a prediction head.
        arch: Of its space.
        batches: At least one, such as a few of `SpeechBatches`.

    Raises:
        InputError: No batch.
    """
    criterion, total, frames = FeatureL1(), 0.0, 0
    with torch.no_grad():
        for inputs, targets in batches:
            count = int(inputs.learnt_BT.sum())
            total += count * criterion(inputs, targets)(predicted(supernet, inputs, arch)).item()
            frames += count
    if frames == 0:
        raise InputError("a distillation loss needs 1 batch or more")
    return total / frames


@dataclass(frozen=True, kw_only=True)
class StagedTraining:
    """Both stages, each with a checkpoint that it goes on from if it was stopped.

    Attributes:
        supernet: With a prediction head as wide as the targets; trained in place.
        data: The batches of both stages.
        folder: Of the checkpoints, ``stage1.pt`` and ``stage2.pt``.
        first: How stage 1 trains; None to train subnets from the weights that the supernet has.
        second: How stage 2 trains; None to end with the largest network.
        rule: Which architectures a step of stage 2 runs. Where the first one teaches, as in
            `Sandwich`, `second.teaching` says what share of the others' loss is the difference
            from its prediction; the rest is that from the target.
        origin: See `Trainer`.
        on_step: Called after each step with the stage, 1 or 2.
        on_epoch: Called after each epoch with the stage and the epoch's number from 1.

    Raises:
        InputError: A supernet without a prediction head, or no stage.
    """

    supernet: HubertSupernet
    data: SpeechBatches
    folder: Path
    first: TrainConfig | None
    second: TrainConfig | None
    rule: SamplingRule = field(default_factory=SinglePath)
    origin: Mapping[str, Any] = field(default_factory=dict)
    on_step: Callable[[int, Progress], None] | None = None
    on_epoch: Callable[[int, int], None] | None = None

    def __post_init__(self) -> None:
        if self.supernet.prediction_head is None:
            raise InputError("the supernet has no prediction head to train with; make it with "
                             "target_dim")
        if self.first is None and self.second is None:
            raise InputError("a training has stage 1, stage 2 or both; give the recipe of one")

    def run(self) -> None:
        """Trains to the end; a stage that has ended is read from its checkpoint.

        Raises:
            DataError, InputError, EvaluationError, OSError: See `Trainer.run`.
        """
        if self.first is not None:
            self._stage(1, self.first, Largest()).run()
        if self.second is not None:
            self._stage(2, self.second, self.rule).run()

    def _stage(self, stage: int, config: TrainConfig, rule: SamplingRule) -> Trainer:
        on_step, on_epoch = self.on_step, self.on_epoch
        return Trainer(
            supernet=self.supernet, task=None, data=self.data, config=config, rule=rule,
            checkpoint=self.folder / f"stage{stage}.pt", criterion=FeatureL1(), forward=predicted,
            teach=taught,
            origin={**self.origin, "stage": stage, "start": weights_digest(self.supernet)},
            on_step=None if on_step is None else lambda progress: on_step(stage, progress),
            on_epoch=None if on_epoch is None else lambda epoch: on_epoch(stage, epoch))
