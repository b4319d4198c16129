"""Batches of speech of which frames are to be learnt, masked ones or all.

Legend: B batch, S samples, T frames of the network, D features of a target.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from nas.core.errors import DataError, InputError
from nas.core.rng import derive_rng
from nas.core.types import IntArray
from supernets.hubert.config import ElasticHubertConfig
from supernets.hubert.masking import NOTHING, SpanMasking
from supernets.hubert.targets import Targets
from supernets.tasks.audio_batches import bucketed, padded
from supernets.tasks.waves import SAMPLE_RATE, Wave, check_clip, normalised

LEARN = ("masked", "all")

_MIX = 0.1  # clips whose lengths differ by less meet in different batches from epoch to epoch


@dataclass(frozen=True, slots=True)
class MaskedSpeech:
    """The inputs of a batch; its rows are clips.

    Attributes:
        wave_BS: Normalised clips.
        padding_BS: True behind the end of a clip; None: all are equally long.
        mask_BT: True where a frame is hidden from the network, the same number in every row.
        learnt_BT: True where the network's prediction counts.
    """

    wave_BS: Tensor
    padding_BS: Tensor | None
    mask_BT: Tensor
    learnt_BT: Tensor

    def __len__(self) -> int:
        return len(self.wave_BS)

    def __getitem__(self, rows: slice) -> "MaskedSpeech":
        padding = None if self.padding_BS is None else self.padding_BS[rows]
        return replace(self, wave_BS=self.wave_BS[rows], padding_BS=padding,
                       mask_BT=self.mask_BT[rows], learnt_BT=self.learnt_BT[rows])


class SpeechBatches:
    """The `supernets.training.data.Batches` of clips and targets, about equally long in all.

    Clips are sorted by length and cut into batches of `batch_seconds` with their padding
    (`bucketed`); no clip is left out. In each epoch lengths count as up to 10 % more, at random, so
    that batches differ (and last up to 10 % longer); so does their order. A batch depends on seed
    and step alone.

    Args:
        config: Of the network that learns.
        waves: Clips of `SAMPLE_RATE`, not normalised.
        targets: Of the clips, in the same order; a frame more or less than the network has is
            forgiven, and not learnt.
        batch_seconds: Of a batch, padding included.
        seed: Of order and masks.
        samples: Of each clip, where they are known: then no clip is read before its batch.
        masking: Which frames are hidden; by default those of HuBERT where these are learnt, and
            none where all are.
        learn: ``"masked"``: hidden frames alone, as HuBERT and LightHuBERT do; or ``"all"``, as
            DistilHuBERT does (Chang et al., arXiv 2110.01900, section 2.2), which takes far less
            speech and time.
        device: Where batches lie.

    Raises:
        DataError: No clips, what is no clip, or one too short to be masked or longer than a batch.
        InputError: Seconds that are not positive, not as many targets as clips, or frames of
            another name.
    """

    def __init__(self, *, config: ElasticHubertConfig, waves: Sequence[Wave], targets: Targets,
                 batch_seconds: float, seed: int, samples: IntArray | None = None,
                 masking: SpanMasking | None = None, learn: str = "masked",
                 device: str | torch.device = "cpu") -> None:
        self._config, self._waves, self._targets = config, waves, targets
        self._seconds, self._seed, self._device = batch_seconds, seed, device
        if learn not in LEARN:
            raise InputError(f"learn {learn!r} is none of {', '.join(LEARN)}")
        self._learn = learn
        self._masking = masking or (SpanMasking() if learn == "masked" else NOTHING)
        if learn == "masked" and self._masking == NOTHING:
            raise InputError("only masked frames are learnt, and none is masked; mask some, or "
                             "learn all")
        if not len(targets) == len(waves) == len(waves if samples is None else samples):
            raise InputError(f"{len(targets)} targets for {len(waves)} clips; give one for each, "
                             "and the samples of all clips or none")
        self._samples = _lengths(waves) if samples is None else samples
        for clip, length in enumerate(self._samples):
            self._check_frames(clip, int(length))
        sizes = map(len, bucketed(self._samples, batch_seconds=batch_seconds))
        self._cuts = [0, *accumulate(sizes)]  # where batches start and the last one ends

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one pass."""
        return len(self._cuts) - 1

    def checked_steps_per_epoch(self) -> int:
        """Returns the batches in one pass, of which there must be one.

        Raises:
            DataError: There is none.
        """
        if self.steps_per_epoch == 0:
            raise DataError("there are no clips to train on; give some")
        return self.steps_per_epoch

    def identity(self) -> dict[str, int | str]:
        """Returns what must be equal for a training to be continued."""
        return {"clips": len(self._waves), "batch_seconds": repr(float(self._seconds)),
                "data_seed": self._seed, "masking": repr(self._masking), "learn": self._learn,
                "frontend": repr((self._config.kernels, self._config.strides)),
                "targets": self._targets.identity()}

    def batch(self, step: int) -> tuple[MaskedSpeech, Tensor]:
        """Returns the inputs and targets (B, T, D) of one step, counted over all epochs.

        Raises:
            InputError: Targets of another frame rate.
            DataError: A target that cannot be read.
        """
        clips = self._clips(*divmod(step, self.steps_per_epoch))
        waves = padded([normalised(self._waves[int(clip)]) for clip in clips])
        learnt = [self._target(int(clip)) for clip in clips]
        frames = self._config.frames(waves.wave_BS.shape[1])
        target_BTD = torch.zeros(len(clips), frames, learnt[0].shape[1])
        for row, target_TD in enumerate(learnt):
            target_BTD[row, :len(target_TD)] = target_TD
        masked = self._masking([len(target_TD) for target_TD in learnt],
                               derive_rng(self._seed, "mask", index=step))
        mask_BT = torch.zeros(len(clips), frames, dtype=torch.bool)
        mask_BT[:, :masked.shape[1]] = torch.from_numpy(masked)
        learnt_BT = mask_BT
        if self._learn == "all":
            lengths_B = torch.tensor([len(target_TD) for target_TD in learnt])
            learnt_BT = torch.arange(frames) < lengths_B[:, None]
        waves = waves.to(torch.device(self._device))
        padding_BS = waves.padding_mask_BS if bool(waves.padding_mask_BS.any()) else None
        return (MaskedSpeech(waves.wave_BS, padding_BS, mask_BT.to(self._device),
                             learnt_BT.to(self._device)), target_BTD.to(self._device))

    def _clips(self, epoch: int, position: int) -> IntArray:
        # Which clips a batch has. The k-th of the lengths that are stretched by up to 10 % is at
        # most the k-th length stretched by 10 %: so are the seconds of a batch.
        rng = derive_rng(self._seed, "shuffle", index=epoch)
        stretched = self._samples * (1.0 + _MIX * rng.random(len(self._samples)))
        order = np.argsort(stretched, kind="stable")
        place = rng.permutation(self.steps_per_epoch)[position]
        return order[self._cuts[place]:self._cuts[place + 1]]

    def _target(self, clip: int) -> Tensor:
        target_TD = torch.from_numpy(self._targets[clip]).float()
        own = self._config.frames(int(self._samples[clip]))
        if abs(own - len(target_TD)) > 1:
            raise InputError(f"clip {clip} has {own} frames in {self._config.name} and "
                             f"{len(target_TD)} in the teacher; give one of the same frame rate")
        return target_TD[:own]

    def _check_frames(self, clip: int, samples: int) -> None:
        try:
            # The teacher may have a frame less.
            self._masking.check(self._config.frames(samples) - 1)
        except InputError as error:
            raise DataError(f"clip {clip}, {samples / SAMPLE_RATE:.2f} s: {error}") from None


def _lengths(waves: Sequence[Wave]) -> IntArray:
    for clip, wave_S in enumerate(waves):
        check_clip(wave_S, clip)
    return np.array([len(wave_S) for wave_S in waves], dtype=np.int64)
