"""Batches of speech: lengths, order, masks, padding, and what is refused."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hubert_trainings import DIM, FilterTeacher, batches, cached, clips, tiny_config

from nas.core.errors import DataError, InputError
from supernets.hubert.batches import MaskedSpeech, SpeechBatches
from supernets.hubert.frontend import kept_frames
from supernets.hubert.masking import NOTHING, SpanMasking
from supernets.hubert.targets import TargetCache
from supernets.tasks.waves import SAMPLE_RATE, Wave, normalised


def lengths(inputs: MaskedSpeech) -> torch.Tensor:
    if inputs.padding_BS is None:
        return torch.full((len(inputs),), inputs.wave_BS.shape[1])
    return (~inputs.padding_BS).sum(1)


def rows(data: SpeechBatches, step: int) -> list[bytes]:
    """Returns the clips of a batch without their padding."""
    inputs, _ = data.batch(step)
    return [row[:samples].numpy().tobytes()
            for row, samples in zip(inputs.wave_BS, lengths(inputs), strict=True)]


def test_every_epoch_has_every_clip_once(tmp_path: Path) -> None:
    waves = clips(30)
    data = batches(tmp_path, waves=waves)
    steps = data.checked_steps_per_epoch()
    wanted = sorted(normalised(wave).tobytes() for wave in waves)
    epochs = [[rows(data, epoch * steps + step) for step in range(steps)] for epoch in range(2)]
    for epoch in epochs:
        assert sorted(clip for batch in epoch for clip in batch) == wanted
    assert sorted(map(sorted, epochs[0])) != sorted(map(sorted, epochs[1]))  # not order alone


def test_batches_last_about_equally_long_with_little_padding(tmp_path: Path) -> None:
    data = batches(tmp_path, waves=clips(60), batch_seconds=4.0)
    seconds, padding = [], []
    for step in range(3 * data.steps_per_epoch):
        inputs, _ = data.batch(step)
        seconds.append(inputs.wave_BS.numel() / SAMPLE_RATE)
        padding.append(1 - float(lengths(inputs).sum()) / inputs.wave_BS.numel())
    assert max(seconds) <= 1.1 * 4.0
    assert np.median(seconds) >= 3.0
    assert np.mean(padding) < 0.12


def test_a_batch_depends_on_seed_and_step_alone(tmp_path: Path) -> None:
    one, same, other = batches(tmp_path), batches(tmp_path), batches(tmp_path, seed=4)
    for step in (5, 0):
        inputs, targets = one.batch(step)
        again, again_targets = same.batch(step)
        assert torch.equal(inputs.wave_BS, again.wave_BS)
        assert torch.equal(inputs.mask_BT, again.mask_BT)
        assert torch.equal(targets, again_targets)
    assert rows(one, 0) != rows(other, 0)


def test_masks_change_from_epoch_to_epoch(tmp_path: Path) -> None:
    data = batches(tmp_path, waves=clips(1))
    masks = {data.batch(step)[0].mask_BT.numpy().tobytes() for step in range(5)}
    assert len(masks) == 5


def test_masked_frames_have_targets_and_are_no_padding(tmp_path: Path) -> None:
    waves = clips(12)
    data, cache = batches(tmp_path, waves=waves), cached(tmp_path / "targets", waves)
    known = {normalised(wave).tobytes(): cache[index] for index, wave in enumerate(waves)}
    for step in range(data.steps_per_epoch):
        inputs, targets = data.batch(step)
        frames = targets.shape[1]
        assert targets.shape[2] == DIM
        assert inputs.mask_BT.shape == targets.shape[:2]
        keep = kept_frames(tiny_config(), lengths(inputs), frames)
        assert not (inputs.mask_BT & ~keep).any()
        for clip, target, kept in zip(rows(data, step), targets, keep, strict=True):
            own = int(kept.sum())
            assert abs(own - len(known[clip])) <= 1
            np.testing.assert_array_equal(target[:own], known[clip][:own].astype(np.float32))


def test_a_frame_that_the_teacher_lacks_is_not_masked(tmp_path: Path) -> None:
    waves = [wave[:6400] for wave in clips(4)]  # 19 frames of the network, 20 of 320
    targets = TargetCache(tmp_path, FilterTeacher(fewer=2)).prepare(waves)
    data = SpeechBatches(config=tiny_config(), waves=waves, targets=targets, batch_seconds=3.0,
                         seed=0)
    masks = torch.cat([data.batch(step)[0].mask_BT for step in range(30)])
    assert masks.shape[1] == 19 == len(targets[0]) + 1
    assert masks[:, :18].any(0).all()
    assert not masks[:, 18].any()


def test_two_frames_fewer_are_an_error_that_names_both(tmp_path: Path) -> None:
    waves = [wave[:6400] for wave in clips(2)]
    targets = TargetCache(tmp_path, FilterTeacher(fewer=3)).prepare(waves)
    data = SpeechBatches(config=tiny_config(), waves=waves, targets=targets, batch_seconds=3.0,
                         seed=0)
    with pytest.raises(InputError, match="has 19 frames in hubert-tiny/1 and 17 in the teacher"):
        data.batch(0)


def test_known_lengths_spare_reading(tmp_path: Path) -> None:
    class Unread(list[Wave]):
        def __getitem__(self, clip: int) -> Wave:  # type: ignore[override]
            read.append(clip)
            return super().__getitem__(clip)

        def __iter__(self) -> Iterator[Wave]:
            return (self[clip] for clip in range(len(self)))

    read: list[int] = []
    waves = clips(12)
    wanted = batches(tmp_path, waves=waves)
    found = batches(tmp_path, waves=Unread(waves), targets=cached(tmp_path, waves),
                    samples=np.array([len(wave) for wave in waves]))
    assert not read
    assert rows(found, 1) == rows(wanted, 1)
    assert 0 < len(read) < 12


def test_equal_lengths_need_no_padding(tmp_path: Path) -> None:
    data = batches(tmp_path, waves=[wave[:6400] for wave in clips(4)])
    inputs, _ = data.batch(0)
    assert inputs.padding_BS is None
    assert len(inputs[1::2]) == 2
    assert torch.equal(inputs[1::2].mask_BT, inputs.mask_BT[1::2])


def test_all_frames_that_both_have_are_learnt_and_none_is_hidden(tmp_path: Path) -> None:
    waves = [clips(4)[0][:6400], clips(4)[1][:5000]]  # 19 and 15 frames of the network
    targets = TargetCache(tmp_path, FilterTeacher(fewer=1)).prepare(waves)
    data = SpeechBatches(config=tiny_config(), waves=waves, targets=targets, batch_seconds=3.0,
                         seed=0, learn="all")
    inputs, _ = data.batch(0)
    assert not inputs.mask_BT.any()
    assert inputs.learnt_BT.shape == (2, 19)
    assert sorted(inputs.learnt_BT.sum(1).tolist()) == [14, 19]  # the teacher has 14 and 19
    hidden = SpeechBatches(config=tiny_config(), waves=waves, targets=targets, batch_seconds=3.0,
                           seed=0, learn="all", masking=SpanMasking(prob=0.3, length=2))
    inputs, _ = hidden.batch(0)
    assert 0 < int(inputs.mask_BT.sum()) < int(inputs.learnt_BT.sum())
    assert not (inputs.mask_BT & ~inputs.learnt_BT).any()


def test_frames_must_be_named_and_some_must_be_learnt(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="learn 'some' is none of masked, all"):
        batches(tmp_path, learn="some")
    with pytest.raises(InputError, match="none is masked; mask some, or learn all"):
        batches(tmp_path, masking=NOTHING)


def test_identity_knows_all_that_decides_the_batches(tmp_path: Path) -> None:
    kinds = [batches(tmp_path), batches(tmp_path, seed=4), batches(tmp_path, batch_seconds=2.5),
             batches(tmp_path, waves=clips(11)), batches(tmp_path, waves=clips(12, seed=1)),
             batches(tmp_path, learn="all")]
    assert len({str(data.identity()) for data in kinds}) == len(kinds)
    assert kinds[0].identity() == batches(tmp_path).identity()


def test_what_cannot_be_a_batch(tmp_path: Path) -> None:
    waves: list[Wave] = clips(2)
    with pytest.raises(DataError, match=r"a clip lasts 0\.\d+ s, longer than a batch of 0\.3 s"):
        batches(tmp_path, batch_seconds=0.3)
    with pytest.raises(InputError, match="batches of 0 s"):
        batches(tmp_path, batch_seconds=0)
    with pytest.raises(InputError, match="1 targets for 2 clips"):
        batches(tmp_path, waves=waves, targets=cached(tmp_path, waves[:1]))
    with pytest.raises(DataError, match=r"clip 1, 0\.07 s: a clip of 2 frames is too short"):
        batches(tmp_path, waves=[waves[0], waves[1][:1200]])
    with pytest.raises(DataError, match="no clips to train on"):
        SpeechBatches(config=tiny_config(), waves=[], targets=cached(tmp_path, []),
                      batch_seconds=1, seed=0).checked_steps_per_epoch()
