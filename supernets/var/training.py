"""Training a VAR and its depth subnets on token maps.

The project's trainer does the general part; here are the batches and the loss. VAR: Tian et al.,
arXiv 2404.02905; which depth a step runs: `depth_schedule`.

Legend: N images, B batch, L tokens of an image, E channels of a code, V codes.
"""

import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from nas.core.errors import DataError
from supernets.tasks.visual_generation import TokenMaps
from supernets.training.data import Shuffled
from supernets.training.distill import Loss
from supernets.training.trainer import Progress, TrainConfig, Trainer
from supernets.var.depth_schedule import DepthSchedule
from supernets.var.supernet import TeacherForced, VarSupernet, token_targets
from supernets.var.vae import MultiScaleVqvae


def token_maps(vae: MultiScaleVqvae, batches: Iterable[tuple[Tensor, Tensor]]) -> TokenMaps:
    """Returns the token maps of images.

    Args:
        vae: In evaluation mode.
        batches: Images (B, C, H, W) in −1 … 1, and labels (B,).

    Raises:
        DataError: There is no batch.
        InputError: Images of another size.
    """
    tokens, labels = [], []
    for image_BCHW, labels_B in batches:
        tokens.append(token_targets(vae.tokens(image_BCHW)).cpu().numpy())
        labels.append(labels_B.cpu().numpy())
    if not tokens:
        raise DataError("there are no images to make token maps of; give some")
    return TokenMaps(np.concatenate(tokens).astype(np.uint16),
                     np.concatenate(labels).astype(np.uint16))


@dataclass(frozen=True, kw_only=True)
class TokenBatches:
    """The `supernets.training.data.Batches` of token maps, shuffled in each epoch.

    Attributes:
        vae: Makes what the transformer reads of them; on the device where batches lie.
        maps: The images.
        batch_size: Of each batch.
        seed: Of shuffling.

    Raises:
        InputError: A batch size below 1.
    """

    vae: MultiScaleVqvae = field(repr=False)
    maps: TokenMaps = field(repr=False)
    batch_size: int
    seed: int

    def __post_init__(self) -> None:
        _ = self._shuffled  # checks the batch size

    @property
    def _shuffled(self) -> Shuffled:
        return Shuffled(images=len(self.maps), batch_size=self.batch_size, seed=self.seed)

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in one pass."""
        return self._shuffled.steps_per_epoch

    def checked_steps_per_epoch(self) -> int:
        """Returns the full batches in one pass, of which there must be one.

        Raises:
            DataError: There is none.
        """
        return self._shuffled.checked_steps_per_epoch()

    def identity(self) -> dict[str, int | str]:
        """Returns what must be equal for a training to be continued."""
        return {"batch_size": self.batch_size, "images": len(self.maps), "data_seed": self.seed,
                "tokens": zlib.crc32(np.ascontiguousarray(self.maps.tokens_NL).data),
                "labels": zlib.crc32(self.maps.labels_N.astype(np.int64).data)}

    def batch(self, step: int) -> tuple[TeacherForced, Tensor]:
        """Returns what the transformer reads, and the tokens (B, L) int64 that it is to say."""
        rows = self._shuffled.rows(step)
        return teacher_forced(self.vae, self.maps.tokens_NL[rows], self.maps.labels_N[rows])


@torch.no_grad()
def teacher_forced(vae: MultiScaleVqvae, tokens_NL: NDArray[np.uint16],
                   labels_N: NDArray[np.uint16]) -> tuple[TeacherForced, Tensor]:
    """Returns what a transformer reads of known images, and their tokens (B, L) int64."""
    device = vae.quantize.embedding.weight.device
    tokens_BL = torch.from_numpy(tokens_NL.astype(np.int64)).to(device)
    labels_B = torch.from_numpy(labels_N.astype(np.int64)).to(device)
    maps = torch.split(tokens_BL, [side**2 for side in vae.config.patch_nums], dim=1)
    return TeacherForced(vae.quantize.teacher_inputs(maps), labels_B), tokens_BL


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenLoss:
    """The mean cross-entropy of all tokens, each alike whatever its scale, as VAR has it.

    Attributes:
        smoothing: Share of a token that is spread over all codes.
    """

    smoothing: float = 0.0

    def __call__(self, inputs: Any, targets: Tensor) -> Loss:
        """Returns the loss of logits (B, L, V), given tokens (B, L)."""
        del inputs
        return lambda logits: F.cross_entropy(logits.flatten(0, 1), targets.flatten(),
                                              label_smoothing=self.smoothing)

    def identity(self) -> str:
        """Returns its smoothing."""
        return repr(self)


def taught(logits_BLV: Tensor, first_BLV: Tensor) -> Tensor:
    """Returns the mean cross-entropy against the probabilities of the whole net, a constant."""
    return F.cross_entropy(logits_BLV.flatten(0, 1),
                           first_BLV.detach().flatten(0, 1).softmax(-1))


def train_depths(net: VarSupernet, data: TokenBatches, schedule: DepthSchedule, *,
                 config: TrainConfig, checkpoint: Path, origin: Mapping[str, Any] | None = None,
                 on_step: Callable[[Progress], None] | None = None,
                 on_epoch: Callable[[int], None] | None = None) -> None:
    """Trains a VAR in place to the end, from the checkpoint if there is one.

    Args:
        net: On the data's device; left in evaluation mode, with the result's weights.
        data: The token maps.
        schedule: Which depth each step runs. Where the whole net teaches, `config.teaching` says
            what share of a subnet's loss that is.
        config: How.
        checkpoint: See `Trainer`.
        origin: See `Trainer`.
        on_step: See `Trainer`.
        on_epoch: See `Trainer`.

    Raises:
        DataError, InputError, EvaluationError, OSError: See `Trainer.run`.
    """
    Trainer(supernet=net, task=None, data=data, config=config, checkpoint=checkpoint,
            rule=schedule, criterion=TokenLoss(smoothing=config.label_smoothing), teach=taught,
            origin={**(origin or {}), "vae": repr(data.vae.config)},
            on_step=on_step, on_epoch=on_epoch).run()
