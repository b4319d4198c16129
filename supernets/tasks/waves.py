"""Waveforms in memory: what a clip must be, and how it is normalised. Legend: S samples."""

import numpy as np
from numpy.typing import NDArray

from nas.core.errors import DataError, InputError

SAMPLE_RATE = 16_000  # Hz, of every waveform

LONGEST_S = 600.0  # of a clip that costs are counted on: memory grows with its square

Wave = NDArray[np.float32]  # (S,), of 16 kHz, in −1 … 1

EPSILON = 1e-7  # of a variance, as in transformers' Wav2Vec2FeatureExtractor


def check_clip(wave_S: Wave, index: int) -> None:
    """Refuses what is no clip.

    Args:
        wave_S: To be looked at.
        index: Of the clip, for messages.

    Raises:
        DataError: Another shape or type, or samples that are not finite.
    """
    if wave_S.ndim != 1 or wave_S.dtype != np.float32:
        raise DataError(f"clip {index} is {wave_S.dtype} of shape {wave_S.shape}, not float32 of "
                        "one channel; convert it")
    if not np.isfinite(wave_S).all():
        raise DataError(f"clip {index} has samples that are not finite; leave it out")


def clip_samples(seconds: float) -> int:
    """Returns the samples of a clip of this length.

    Raises:
        InputError: No length, or more than `LONGEST_S`.
    """
    if not 0.0 < seconds <= LONGEST_S:  # NaN compares false
        raise InputError(f"--seconds {seconds:g}: the length of a clip is above 0 and at most "
                         f"{LONGEST_S:g}")
    return round(seconds * SAMPLE_RATE)


def normalised(wave_S: Wave) -> Wave:
    """Returns a clip of mean 0 and variance 1, as HuBERTs with layer norm in front want it."""
    centred = wave_S - wave_S.mean(dtype=np.float64)
    scaled: Wave = (centred / np.sqrt(np.square(centred).mean() + EPSILON)).astype(np.float32)
    return scaled
