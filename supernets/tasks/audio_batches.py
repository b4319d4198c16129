"""Clips of like lengths, padded into batches. Legend: N clips, B batch, S samples."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nas.core.errors import DataError, InputError
from nas.core.types import IntArray
from supernets.tasks.audio_clips import ClipSet
from supernets.tasks.waves import SAMPLE_RATE, Wave, normalised

BATCH_SECONDS = 32.0


@dataclass(frozen=True, eq=False, slots=True)
class PaddedWaves:
    """Clips of a batch.

    Attributes:
        wave_BS: float32, 0 behind the end of a clip.
        padding_mask_BS: bool, True behind the end of a clip.
    """

    wave_BS: Tensor
    padding_mask_BS: Tensor

    def __len__(self) -> int:
        return len(self.wave_BS)

    def to(self, device: torch.device) -> "PaddedWaves":
        """Returns the same on a device."""
        return PaddedWaves(self.wave_BS.to(device), self.padding_mask_BS.to(device))


def padded(waves: Sequence[Wave]) -> PaddedWaves:
    """Returns clips as one batch, as long as the longest.

    Raises:
        InputError: There is none.
    """
    if not waves:
        raise InputError("a batch needs a clip")
    lengths_B = np.array([len(wave_S) for wave_S in waves])
    wave_BS = np.zeros((len(waves), lengths_B.max()), dtype=np.float32)
    for row, wave_S in zip(wave_BS, waves, strict=True):
        row[:len(wave_S)] = wave_S
    mask_BS = np.arange(wave_BS.shape[1]) >= lengths_B[:, None]
    return PaddedWaves(torch.from_numpy(wave_BS), torch.from_numpy(mask_BS))


def bucketed(samples: IntArray, *, batch_seconds: float) -> list[IntArray]:
    """Returns which clips make a batch each: those of like lengths, from short to long.

    Args:
        samples: Of each clip, (N,).
        batch_seconds: Of a batch, padding included.

    Raises:
        InputError: Seconds that are not positive.
        DataError: A clip that is longer than a batch.
    """
    if not batch_seconds > 0:
        raise InputError(f"batches of {batch_seconds} s must last longer than that")
    most = int(batch_seconds * SAMPLE_RATE)
    if len(samples) and samples.max() > most:
        raise DataError(f"a clip lasts {samples.max() / SAMPLE_RATE:.2f} s, longer than a batch of "
                        f"{batch_seconds:g} s; cut it, or use longer batches")
    batches: list[IntArray] = []
    order, first = np.argsort(samples, kind="stable"), 0
    for place, clip in enumerate(order):
        if (place + 1 - first) * samples[clip] > most:
            batches.append(order[first:place])
            first = place
    return [*batches, order[first:]] if len(order) else batches


def clip_batches(clips: ClipSet, *, normalise: bool, batch_seconds: float = BATCH_SECONDS
                 ) -> Iterator[tuple[PaddedWaves, IntArray]]:
    """Yields batches with the positions of their clips, always the same ones in the same order.

    Args:
        clips: To be read.
        normalise: Whether each clip gets mean 0 and variance 1, as HuBERTs with layer norm in
            their convolutions want it.
        batch_seconds: Of a batch, padding included.

    Raises:
        DataError: See `bucketed`; or a file that is no longer what it was.
        InputError: Seconds that are not positive.
    """
    for positions in bucketed(clips.samples, batch_seconds=batch_seconds):
        waves = [clips[int(position)] for position in positions]
        yield padded([normalised(wave_S) for wave_S in waves] if normalise else waves), positions
