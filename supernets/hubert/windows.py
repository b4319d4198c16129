"""Windows of held-out speech and a teacher's features of them, to judge a trained supernet by.

Legend: N windows, S samples, T frames of the network, D features of the teacher.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from nas.core.errors import DataError, InputError
from nas.core.types import IntArray
from supernets.hubert.config import ElasticHubertConfig
from supernets.hubert.targets import Target, TargetCache
from supernets.tasks.distillation import FULL_SCALE, TaughtWindows
from supernets.tasks.waves import SAMPLE_RATE, Wave

COUNTS = {"train_calib": 16, "search": 64, "test": 64}
LEAST = 0.25  # of these windows: then 16 are left to test an exported network on
MOST_HELD_OUT = 0.2  # of all speech

def window_counts(speech: int, *, samples: int) -> dict[str, int]:
    """Returns how many windows each split has: `COUNTS`, or of little speech fewer of each.

    Args:
        speech: Samples of all clips together.
        samples: Of a window.

    Raises:
        DataError: `MOST_HELD_OUT` of the speech is less than `LEAST` of the windows.
    """
    all_windows = samples * sum(COUNTS.values())
    share = MOST_HELD_OUT * speech / all_windows
    if share < LEAST:
        needed = LEAST * all_windows / MOST_HELD_OUT
        raise DataError(f"{speech / SAMPLE_RATE:.1f} s of speech are too little: of "
                        f"{needed / SAMPLE_RATE:.1f} s, {MOST_HELD_OUT:.0%} are enough windows of "
                        f"{samples / SAMPLE_RATE:g} s to validate and test on; add clips, or take "
                        "shorter windows")
    return {split: int(min(1.0, share) * count) for split, count in COUNTS.items()}


def held_out(lengths: IntArray, counts: Mapping[str, int], *, samples: int,
             rng: np.random.Generator) -> dict[str, IntArray]:
    """Returns which clips each split's windows are cut from, whole clips that no other one has.

    Args:
        lengths: Samples of each clip, (clips,).
        counts: Split → windows.
        samples: Of a window.
        rng: What draws the clips.

    Raises:
        DataError: No clip would be left to train on.
    """
    found: dict[str, IntArray] = {}
    order, first = rng.permutation(len(lengths)), 0
    for split, count in counts.items():
        reached = np.cumsum(lengths[order[first:]])
        last = first + int(np.searchsorted(reached, count * samples)) + 1
        if last >= len(order):
            raise DataError(f"{len(lengths)} clips are too few: whole ones are held out for "
                            f"{', '.join(counts)}, and none would be left to train on; add clips, "
                            "or cut long ones")
        found[split], first = order[first:last], last
    return found


def taught_windows(clips: Mapping[str, Sequence[Wave]], *, config: ElasticHubertConfig,
                   targets: TargetCache, counts: Mapping[str, int], samples: int,
                   on_window: Callable[[int, int], None] | None = None
                   ) -> dict[str, TaughtWindows]:
    """Returns the windows of each split: its clips in a row, cut into equal parts.

    The teacher hears each window by itself, as int16 has it.

    Args:
        clips: Split → its clips, as `held_out` drew them.
        config: Of the network that learns.
        targets: Where what the teacher says is kept.
        counts: Split → windows.
        samples: Of a window.
        on_window: Called with how many windows the teacher has heard, and of how many.

    Raises:
        DataError: A split with less speech than its windows take, or what is no clip.
        InputError: Windows that give the network no frame, or in which the teacher has fewer
            frames than it, or another frame rate.
        EvaluationError, OSError: See `TargetCache.prepare`.
    """
    frames = config.frames(samples)
    if frames < 1:
        raise InputError(f"windows of {samples} samples are shorter than the "
                         f"{config.receptive_field} that make a frame; take longer ones")
    cut = {split: _cut(split, clips[split], count, samples) for split, count in counts.items()}
    waves = [(row / FULL_SCALE).astype(np.float32) for rows_NS in cut.values() for row in rows_NS]
    taught = targets.prepare(waves, on_window)
    found, first = {}, 0
    for split, rows_NS in cut.items():
        rows = [_as_long(taught[first + row], frames, samples) for row in range(len(rows_NS))]
        found[split], first = TaughtWindows(rows_NS, np.stack(rows)), first + len(rows)
    return found


def _cut(split: str, clips: Sequence[Wave], count: int, samples: int) -> NDArray[np.int16]:
    parts, missing = [], count * samples
    for clip in range(len(clips)):
        if missing <= 0:
            break
        parts.append(_int16(clips[clip])[:missing])
        missing -= len(parts[-1])
    if missing > 0 or not parts:
        raise DataError(f"the clips of {split} are {max(missing, 1) / SAMPLE_RATE:.2f} s too short "
                        f"for {count} windows of {samples / SAMPLE_RATE:g} s; add some")
    return np.concatenate(parts).reshape(count, samples)


def _int16(wave_S: Wave) -> NDArray[np.int16]:
    # Files of floats may be louder than full scale; networks do not know how loud a clip is.
    scale = (FULL_SCALE - 1) / max(1.0, float(np.abs(wave_S).max()))
    scaled: NDArray[np.int16] = np.rint(wave_S * scale).astype(np.int16)
    return scaled


def _as_long(target_TD: Target, frames: int, samples: int) -> Target:
    if abs(frames - len(target_TD)) > 1:
        raise InputError(f"windows of {samples} samples have {frames} frames in the network and "
                         f"{len(target_TD)} in the teacher; give a teacher of the same frame rate")
    if len(target_TD) < frames:
        raise InputError(f"windows of {samples} samples have {frames} frames in the network and "
                         f"only {len(target_TD)} in the teacher; take windows of another length")
    return target_TD[:frames]
