"""Windows of held-out speech: which clips they are cut from, and what the teacher says of them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hubert_trainings import DIM, FilterTeacher, clips, tiny_config
from hypothesis import given
from hypothesis import strategies as st

from nas.core.errors import DataError, InputError
from supernets.hubert.targets import TargetCache
from supernets.hubert.windows import COUNTS, held_out, taught_windows, window_counts
from supernets.tasks.distillation import TaughtWindows
from supernets.tasks.waves import Wave

SAMPLES = 4000


def taught(folder: Path, waves: list[Wave], teacher: FilterTeacher | None = None, *,
           count: int = 3, samples: int = SAMPLES,
           on_window: Callable[[int, int], None] | None = None) -> TaughtWindows:
    cache = TargetCache(folder, teacher or FilterTeacher(), instance_norm=True)
    return taught_windows({"search": waves}, config=tiny_config(), targets=cache,
                          counts={"search": count}, samples=samples, on_window=on_window)["search"]


# Which clips

@given(lengths=st.lists(st.integers(1000, 50_000), min_size=40, max_size=60),
       counts=st.lists(st.integers(1, 3), min_size=1, max_size=3), seed=st.integers(0, 5))
def test_splits_have_enough_whole_clips_of_their_own(lengths: list[int], counts: list[int],
                                                     seed: int) -> None:
    wanted = dict(zip(("train_calib", "search", "test"), counts, strict=False))
    found = held_out(np.array(lengths), wanted, samples=SAMPLES, rng=np.random.default_rng(seed))
    drawn = [clip for clips_of in found.values() for clip in clips_of.tolist()]
    assert len(drawn) == len(set(drawn)) < len(lengths)
    for split, clips_of in found.items():
        total = sum(lengths[clip] for clip in clips_of)
        assert total >= wanted[split] * SAMPLES > total - lengths[clips_of[-1]]


def test_a_clip_is_left_to_train_on() -> None:
    wanted = {"search": 1, "test": 1}
    for count in (1, 2):
        with pytest.raises(DataError, match=f"{count} clips are too few: .* search, test, and non"):
            held_out(np.full(count, SAMPLES), wanted, samples=SAMPLES,
                     rng=np.random.default_rng(0))
    assert len(held_out(np.full(3, SAMPLES), wanted, samples=SAMPLES,
                        rng=np.random.default_rng(0))) == 2


def test_little_speech_has_fewer_windows_and_too_little_none() -> None:
    second = 16_000
    assert window_counts(100_000 * second, samples=second) == COUNTS
    assert window_counts(720 * second, samples=second) == COUNTS
    assert window_counts(360 * second, samples=second) == {"train_calib": 8, "search": 32,
                                                           "test": 32}
    assert window_counts(180 * second, samples=second)["test"] == 16
    with pytest.raises(DataError, match=r"^179\.0 s of speech are too little: of 180\.0 s, 20%"):
        window_counts(179 * second, samples=second)


# What is cut

def test_windows_are_the_clips_in_a_row(tmp_path: Path) -> None:
    waves = clips(3)
    heard: list[tuple[int, int]] = []
    found = taught(tmp_path, waves, count=4, on_window=lambda *at: heard.append(at))
    joined = np.concatenate(waves)[:4 * SAMPLES].reshape(4, SAMPLES)
    assert np.abs(found.waves_NS / 32767 - joined).max() <= 0.5 / 32767 + 1e-7
    assert heard == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_targets_are_what_the_teacher_says_of_each_window_alone(tmp_path: Path) -> None:
    found = taught(tmp_path, clips(3))
    frames = tiny_config().frames(SAMPLES)
    assert found.targets_NTD.shape == (3, frames, DIM)
    cache = TargetCache(tmp_path / "other", FilterTeacher(), instance_norm=True)
    for row, target in zip(found.waves_NS, found.targets_NTD, strict=True):
        wanted = cache.compute((row / 32768).astype(np.float32))
        assert len(wanted) == frames + (frames < SAMPLES // 320)
        assert np.array_equal(target, wanted[:frames])
    mean = torch.from_numpy(found.targets_NTD).float().mean(1)
    assert mean.abs().max() < 0.3  # of all but one frame, perhaps


def test_clips_louder_than_full_scale_are_not_cut_off(tmp_path: Path) -> None:
    loud = [(4 * wave).astype(np.float32) for wave in clips(3)]
    found = taught(tmp_path, loud)
    assert np.abs(found.waves_NS[0]).max() <= 32767
    normal = taught(tmp_path, clips(3)).waves_NS[0].astype(np.float64)
    assert np.corrcoef(found.waves_NS[0], normal)[0, 1] > 0.9999


# What is refused

def test_too_little_speech_and_windows_without_a_frame(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the clips of search are .* s too short for 9 windows"):
        taught(tmp_path, clips(2), count=9)
    with pytest.raises(DataError, match="too short for 1 windows"):
        taught(tmp_path, [], count=1)
    with pytest.raises(InputError, match="windows of 399 samples are shorter than the 400"):
        taught(tmp_path, clips(2), samples=399)


def test_teachers_of_other_frames(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="have 12 frames in the network and 25 in the teacher"):
        taught(tmp_path, clips(3), FilterTeacher(hop=160))
    with pytest.raises(InputError, match=r"and only 11 in the teacher; take windows of another"):
        taught(tmp_path, clips(3), FilterTeacher(fewer=1))
