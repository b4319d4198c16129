"""Which clips are held out: whole speakers, or some clips of every class."""

from collections.abc import Sequence

import numpy as np

from nas.core.errors import DataError, InputError
from supernets.tasks.audio_clips import ClipSet


def hold_out(clips: ClipSet, values: Sequence[str], *, field: str = "speaker"
             ) -> tuple[ClipSet, ClipSet]:
    """Returns the clips of all others and those of some speakers, both in their order.

    Args:
        clips: Of all.
        values: The speakers.
        field: What to tell them by.

    Raises:
        DataError: Nothing says the field, no clip is of one of the values, or all are.
    """
    known = clips.classes(field)
    unknown = [value for value in values if value not in known]
    if unknown or not values:
        what = (f"no clip is of {field} {unknown[0]!r}" if unknown
                else f"no {field} is to be held out")
        raise DataError(f"{what}; {clips.root} has {', '.join(known)}")
    held = np.isin(np.array(clips.field(field)), values)
    if held.all():
        raise DataError(f"all clips of {clips.root} would be held out; leave a {field} to learn "
                        "from")
    return clips.take(np.flatnonzero(~held)), clips.take(np.flatnonzero(held))


def hold_out_share(clips: ClipSet, share: float, rng: np.random.Generator, *, field: str
                   ) -> tuple[ClipSet, ClipSet]:
    """Returns most clips of each class and a share of them, drawn, both in their order.

    Args:
        clips: Of all.
        share: To hold out, at least one clip of each class.
        rng: What draws.
        field: The class.

    Raises:
        InputError: A share that is not between 0 and 1.
        DataError: Nothing says the field, or a class has too few clips.
    """
    if not 0 < share < 1:
        raise InputError(f"share {share} to be held out is not between 0 and 1")
    names = np.array(clips.field(field))
    held = np.zeros(len(clips), dtype=bool)
    for name in clips.classes(field):
        rows = rng.permutation(np.flatnonzero(names == name))
        count = max(1, round(share * len(rows)))
        if count >= len(rows):
            raise DataError(f"{field} {name!r} has {len(rows)} clips of {clips.root}, too few to "
                            f"hold {share:.0%} out; add some or leave it out")
        held[rows[:count]] = True
    return clips.take(np.flatnonzero(~held)), clips.take(np.flatnonzero(held))
