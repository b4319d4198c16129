"""Clips of a folder cut into pieces that are not too long. Legend: N pieces, S samples."""

from collections.abc import Sequence
from itertools import pairwise
from typing import overload

import numpy as np

from nas.core.errors import InputError
from supernets.tasks.audio_clips import ClipSet
from supernets.tasks.waves import Wave


class Pieces(Sequence[Wave]):
    """The waves (S,) of pieces, each read when it is asked for; clip by clip, in their order.

    A clip that is too long becomes as few pieces as will do, equally long up to a sample. A piece
    is read by reading its file.

    Args:
        clips: Of a folder.
        longest: Samples that a piece has at most.

    Raises:
        InputError: No samples at most.
    """

    def __init__(self, clips: ClipSet, *, longest: int) -> None:
        if longest < 1:
            raise InputError(f"pieces of at most {longest} samples hold nothing; 1 is the least")
        self.clips = clips
        self._places: list[tuple[int, int, int]] = []  # clip, first sample, last one's successor
        for clip, samples in enumerate(clips.samples.tolist()):
            parts = max(1, -(-samples // longest))
            cuts = [part * samples // parts for part in range(parts + 1)]
            self._places += [(clip, *ends) for ends in pairwise(cuts)]
        self.samples = np.array([end - start for _, start, end in self._places], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, position: int) -> Wave: ...
    @overload
    def __getitem__(self, position: slice) -> list[Wave]: ...
    def __getitem__(self, position: int | slice) -> Wave | list[Wave]:
        """Reads a piece, or several.

        Raises:
            DataError: Its file is not as it was when the folder was opened.
        """
        if isinstance(position, slice):
            return [self[place] for place in range(len(self))[position]]
        clip, start, end = self._places[position]
        return self.clips[clip][start:end]
