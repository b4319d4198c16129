"""Batches of clips: like lengths meet, padding stands behind, nothing is left out."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from speech_folders import PATTERN, write_tones

from nas.core.errors import DataError, InputError
from supernets.tasks.audio_batches import bucketed, clip_batches, padded
from supernets.tasks.audio_clips import open_clips

RATE = 16_000


@pytest.mark.parametrize("seed", range(5))
def test_buckets_hold_every_clip_once_and_are_short_enough(seed: int) -> None:
    rng = np.random.default_rng(seed)
    samples = rng.integers(400, 5 * RATE, 200)
    batches = bucketed(samples, batch_seconds=20.0)
    assert sorted(np.concatenate(batches)) == list(range(200))
    assert all(len(batch) * samples[batch].max() <= 20 * RATE for batch in batches)
    in_order = samples[np.concatenate(batches)]
    assert (np.diff(in_order) >= 0).all()
    padding = sum(len(batch) * samples[batch].max() for batch in batches) / samples.sum() - 1
    assert padding < 0.1
    # No batch could have taken the first clip of the next one.
    for batch, following in pairwise(batches):
        assert (len(batch) + 1) * samples[following[0]] > 20 * RATE


def test_buckets_of_little() -> None:
    assert bucketed(np.array([], dtype=np.int64), batch_seconds=1.0) == []
    assert [batch.tolist() for batch in bucketed(np.array([RATE]), batch_seconds=1.0)] == [[0]]
    with pytest.raises(DataError, match=r"lasts 1.00 s, longer than a batch of 0.5 s"):
        bucketed(np.array([RATE]), batch_seconds=0.5)
    for seconds in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="must last longer"):
            bucketed(np.array([RATE]), batch_seconds=seconds)


def test_padding_stands_behind_the_clip() -> None:
    waves = [np.ones(3, np.float32), np.full(5, 2.0, np.float32)]
    batch = padded(waves)
    assert (batch.wave_BS.dtype, batch.padding_mask_BS.dtype) == (torch.float32, torch.bool)
    assert batch.wave_BS.tolist() == [[1, 1, 1, 0, 0], [2] * 5]
    assert batch.padding_mask_BS.tolist() == [[False] * 3 + [True] * 2, [False] * 5]
    assert len(batch) == 2
    with pytest.raises(InputError, match="needs a clip"):
        padded([])


@pytest.mark.parametrize("normalise", [False, True])
def test_batches_are_the_clips(tmp_path: Path, normalise: bool) -> None:
    clips, _ = open_clips(write_tones(tmp_path, takes=1), PATTERN)
    seen = []
    for batch, positions in clip_batches(clips, normalise=normalise, batch_seconds=0.6):
        assert batch.wave_BS.shape == batch.padding_mask_BS.shape
        assert batch.wave_BS[batch.padding_mask_BS].eq(0).all()
        for row, position in enumerate(positions):
            found = batch.wave_BS[row][~batch.padding_mask_BS[row]].numpy()
            wave = clips[int(position)]
            if normalise:
                assert abs(found.mean()) < 1e-5
                assert found.std() == pytest.approx(1.0, abs=1e-3)
                wave = (wave - wave.mean()) / wave.std()
            np.testing.assert_allclose(found, wave, atol=1e-4)
            seen.append(position)
    assert sorted(seen) == list(range(len(clips)))
