"""Which frames a network has to fill in: spans of one length at random places.

Legend: B clips, T frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas.core.errors import InputError
from nas.core.types import BoolArray, IntArray


@dataclass(frozen=True, kw_only=True, slots=True)
class SpanMasking:
    """The spans of wav2vec 2.0 (Baevski et al., arXiv 2006.11477, section 3.1) and HuBERT.

    A clip of T frames has prob · T / length spans, rounded up or down at random; their starts are
    distinct, and spans may overlap. Then clips of a batch lose masked frames, drawn at random,
    until all have as many as the one that had the fewest: a mean over masked frames weighs clips
    alike. By default some .45 of 250 to 500 frames are masked. Padding never is. The authors' code
    never masks the last frame of a clip; here all frames may be.

    Attributes:
        prob: Share of the frames that would be masked, did spans not overlap; 0 with no
            `min_spans`: nothing is.
        length: Of a span, in frames; spans are shorter where a clip is too short for them.
        min_spans: Of a clip.

    Raises:
        InputError: A value out of range.
    """

    prob: float = 0.65
    length: int = 10
    min_spans: int = 2

    def __post_init__(self) -> None:
        if (self.prob, self.min_spans) == (0.0, 0):
            return
        if not 0.0 < self.prob <= 1.0:
            raise InputError(f"mask probability {self.prob} must be above 0 and at most 1")
        if self.length < 1 or self.min_spans < 1:
            raise InputError(f"masks have 1 span or more of 1 frame or more, not {self.min_spans} "
                             f"of {self.length}")

    def __call__(self, frames: Sequence[int], rng: np.random.Generator) -> BoolArray:
        """Returns which frames are masked, (B, T) with the longest clip's T.

        Args:
            frames: Of each clip, without its padding.
            rng: Where spans lie depends on it alone.

        Raises:
            InputError: A clip too short for its spans.
        """
        rounding = rng.random()  # one for all: clips of one length have as many spans
        masked = [self._row(count, rounding, rng) for count in frames]
        fewest = min(len(row) for row in masked)
        mask_BT = np.zeros((len(masked), max(frames)), dtype=bool)
        for clip, row in enumerate(masked):
            mask_BT[clip, rng.choice(row, fewest, replace=False)] = True
        return mask_BT

    def check(self, frames: int) -> None:
        """Refuses a clip that is too short for its spans, however they are rounded.

        Raises:
            InputError: It is.
        """
        if self.prob > 0.0:
            self._span_length(frames, self._spans(frames, 1.0))
        elif frames < 1:
            raise InputError("a clip has no frame; leave out clips so short")

    def _row(self, frames: int, rounding: float, rng: np.random.Generator) -> IntArray:
        # The masked frames of one clip, ascending.
        spans = self._spans(frames, rounding)
        length = self._span_length(frames, spans)
        starts = rng.choice(frames - length + 1, spans, replace=False)
        return np.unique(starts[:, None] + np.arange(length))

    def _spans(self, frames: int, rounding: float) -> int:
        return max(self.min_spans, int(self.prob * frames / self.length + rounding))

    def _span_length(self, frames: int, spans: int) -> int:
        length = min(self.length, frames - spans - 1)
        if length < 1:
            raise InputError(f"a clip of {frames} frames is too short for {spans} masked spans; "
                             "leave out clips so short, or mask less")
        return length


NOTHING = SpanMasking(prob=0.0, min_spans=0)
