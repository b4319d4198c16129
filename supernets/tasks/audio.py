"""Clips of speech from audio files: one channel of 16 kHz, or an error that says what to do.

Legend: S samples, C channels.
"""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from nas.core.errors import DataError, InputError
from supernets.tasks.waves import SAMPLE_RATE, Wave

SUFFIXES = (".wav", ".flac", ".ogg")
SILENCE = 1e-4  # from the lowest to the highest sample: 80 dB below full scale

_UNKNOWN_SIZE = 0x7FFF0000  # from here on a header's size is that of a stream


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What a file may be like.

    Attributes:
        resample: Whether to resample other rates to `SAMPLE_RATE`, with soxr, instead of refusing
            them.
        shortest: Samples of `SAMPLE_RATE` that a clip has at least: what an encoder needs for its
            first frame, 400 of a published HuBERT, or more where frames are masked.

    Raises:
        InputError: No samples at least.
    """

    resample: bool = False
    shortest: int = 400

    def __post_init__(self) -> None:
        if self.shortest < 1:
            raise InputError(f"the shortest clip cannot have {self.shortest} samples; 1 is the "
                             "least")


def read_wave(path: Path, reading: Reading | None = None) -> Wave:
    """Returns the samples (S,) of a file, −1 … 1, not normalised.

    Raises:
        DataError: The file is missing, empty, cut off or damaged; has more than one channel,
            another sample rate, samples that are not finite, nothing but silence, or too few
            samples.
        InputError: soundfile, or soxr to resample, is not installed.
    """
    reading = reading or Reading()
    soundfile: Any = _package("soundfile")
    _check_size(path)
    try:
        wave_SC, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (RuntimeError, OSError, TypeError) as error:
        raise DataError(f"{path} cannot be read ({_line(error)}); fetch it again or leave it out"
                        ) from None
    samples, channels = wave_SC.shape
    if samples == 0:
        raise DataError(f"{path} holds no samples; leave it out")
    if channels != 1:
        raise DataError(f"{path} has {channels} channels; mix them into one or keep one of them")
    wave_S: Wave = wave_SC[:, 0]
    if not np.isfinite(wave_S).all():
        raise DataError(f"{path} has samples that are not finite; leave it out")
    if np.ptp(wave_S) < SILENCE:
        raise DataError(f"{path} is silent; leave it out")
    if rate != SAMPLE_RATE:
        wave_S = _resampled(path, wave_S, rate, reading)
    if len(wave_S) < reading.shortest:
        raise DataError(f"{path} has {len(wave_S)} samples at {SAMPLE_RATE} Hz, fewer than the "
                        f"{reading.shortest} that are needed; leave it out")
    return wave_S


def _resampled(path: Path, wave_S: Wave, rate: int, reading: Reading) -> Wave:
    if not reading.resample:
        raise DataError(f"{path} has a sample rate of {rate} Hz, not {SAMPLE_RATE}; have clips "
                        "resampled as they are read (resample, with soxr), or convert the files "
                        f"(sox IN -r {SAMPLE_RATE} OUT)")
    soxr: Any = _package("soxr")
    resampled: Wave = soxr.resample(wave_S, rate, SAMPLE_RATE)
    return resampled


def _check_size(path: Path) -> None:
    # libsndfile reads what there is of a file that was cut off, and says nothing.
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            header = file.read(12)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); give another file") from None
    if size == 0:
        raise DataError(f"{path} is empty; fetch it again or leave it out")
    if header[:4] == b"RIFF" and header[8:] == b"WAVE":
        said = 8 + int.from_bytes(header[4:8], "little")
        if size + 1 < said < _UNKNOWN_SIZE:  # some writers count a padding byte that is not there
            raise DataError(f"{path} is cut off: it has {size} of {said} bytes; fetch it again or "
                            "leave it out")


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except (ImportError, OSError):  # OSError: soundfile without its library
        raise InputError(f"{name} is not installed; `pip install '.[speech]'` brings what speech "
                         "needs") from None


def _line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
