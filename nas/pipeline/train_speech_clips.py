"""The clips of a speech training: which are read, which are held out, and what is said of them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nas.core.errors import InputError
from nas.core.rng import derive_rng
from nas.execution.process import usable_cores
from nas.pipeline.events import Event, Watcher
from nas.pipeline.train_request import TrainRequest
from supernets.hubert.config import ElasticHubertConfig
from supernets.hubert.masking import NOTHING, SpanMasking
from supernets.hubert.windows import held_out, window_counts
from supernets.tasks.audio import Reading
from supernets.tasks.audio_clips import ClipSet, Unusable, open_clips
from supernets.tasks.audio_pieces import Pieces
from supernets.tasks.waves import SAMPLE_RATE, clip_samples

LONGEST_S = 15.0  # of what is learnt at once: attention's memory grows with its square


@dataclass(frozen=True, kw_only=True, slots=True)
class Speech:
    """What a training reads.

    Attributes:
        training: Clips to learn from, long ones in pieces.
        held: Split → clips that nothing is learnt from.
        counts: Split → windows that are cut from its clips.
        samples: Of a window.
        unusable: The files that were left out.
        fingerprint: Of all that can be used.
    """

    training: Pieces
    held: Mapping[str, ClipSet]
    counts: Mapping[str, int]
    samples: int
    unusable: Unusable
    fingerprint: str

    def described(self) -> dict[str, Any]:
        """Returns where it comes from: JSON values."""
        return {"clips": len(self.training.clips), "seconds": _seconds(self.training),
                "windows": dict(self.counts), "fingerprint": self.fingerprint,
                "unusable": list(self.unusable.reasons)}


def open_speech(request: TrainRequest, config: ElasticHubertConfig, watch: Watcher) -> Speech:
    """Reads a folder of audio files once, and tells what is in it.

    Raises:
        DataError: See `open_clips`; or too little speech to hold some out.
        InputError: A package that is missing, or windows without a length or a frame.
    """
    reading = Reading(resample=request.resample, shortest=_shortest(request, config))
    clips, unusable = open_clips(
        request.data, reading=reading, threads=usable_cores(),
        on_file=lambda done, total: watch(Event("clips", done, total)))
    for line in unusable.lines():
        watch(Event("clips", unusable.files, unusable.files, line))
    samples = clip_samples(request.seconds)
    counts = window_counts(int(clips.samples.sum()), samples=samples)
    drawn = held_out(clips.samples, counts, samples=samples,
                     rng=derive_rng(request.seed, "held out"))
    taken = np.concatenate(list(drawn.values()))
    rest = clips.take(np.setdiff1d(np.arange(len(clips)), taken))
    training = Pieces(rest, longest=int(min(LONGEST_S, request.batch_seconds) * SAMPLE_RATE))
    watch(Event("clips", unusable.files, unusable.files, f"{_seconds(training) / 60:.1f} minutes "
                f"of {len(rest)} clips to learn from; held out are {len(taken)} clips, of which "
                f"{sum(counts.values())} windows of {request.seconds:g} s are validated and tested "
                "on"))
    return Speech(training=training, held={split: clips.take(places)
                                           for split, places in drawn.items()},
                  counts=counts, samples=samples, unusable=unusable,
                  fingerprint=clips.fingerprint())


def masking_of(request: TrainRequest) -> SpanMasking:
    """Returns which frames are hidden."""
    if request.mask_prob is None:
        return SpanMasking() if request.learn == "masked" else NOTHING
    return SpanMasking(prob=request.mask_prob) if request.mask_prob > 0 else NOTHING


def _shortest(request: TrainRequest, config: ElasticHubertConfig) -> int:
    # The samples of the fewest frames that can be masked; the teacher may have a frame less.
    masking, frames = masking_of(request), 2
    while not _can_be_masked(masking, frames - 1):
        frames += 1
    return config.receptive_field + (frames - 1) * math.prod(config.strides)


def _can_be_masked(masking: SpanMasking, frames: int) -> bool:
    try:
        masking.check(frames)
    except InputError:
        return False
    return True


def _seconds(pieces: Pieces) -> float:
    return float(pieces.samples.sum()) / SAMPLE_RATE
