"""Long clips in pieces."""

from pathlib import Path

import numpy as np
import pytest
from speech_folders import write_tones

from nas.core.errors import InputError
from supernets.tasks.audio_clips import open_clips
from supernets.tasks.audio_pieces import Pieces


@pytest.mark.parametrize("longest", [500, 701, 1900, 10**6])
def test_pieces_in_a_row_are_the_clips(tmp_path: Path, longest: int) -> None:
    clips, _ = open_clips(write_tones(tmp_path / "tones", takes=1))
    pieces = Pieces(clips, longest=longest)
    waves = pieces[:]
    assert [len(wave) for wave in waves] == pieces.samples.tolist()
    assert np.array_equal(np.concatenate(waves), np.concatenate(list(clips)))
    assert max(pieces.samples) <= longest
    assert len(pieces) == sum(-(-int(samples) // longest) for samples in clips.samples)
    assert np.array_equal(pieces[-1], waves[-1])


def test_pieces_of_a_clip_are_equally_long(tmp_path: Path) -> None:
    clips, _ = open_clips(write_tones(tmp_path / "tones", takes=1))
    one = Pieces(clips[:1], longest=450)
    assert np.ptp(one.samples) <= 1
    with pytest.raises(InputError, match="1 is the least"):
        Pieces(clips, longest=0)
