"""The statistics of masked spans."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.core.errors import InputError
from supernets.hubert.masking import SpanMasking


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def mean_share(frames: int, clips: int) -> float:
    return float(np.mean([SpanMasking()([frames] * clips, rng(seed)).mean()
                          for seed in range(60)]))


@pytest.mark.parametrize("frames", [250, 375, 500])
def test_the_published_share_of_frames_is_masked(frames: int) -> None:
    assert mean_share(frames, 8) == pytest.approx(0.45, abs=0.025)


def test_one_clip_has_the_share_that_follows_from_its_starts() -> None:
    # A frame stays where none of the 10 starts before it was drawn, each with .065.
    assert mean_share(500, 1) == pytest.approx(1 - (1 - 0.065)**10, abs=0.01)


@given(frames=st.lists(st.integers(6, 400), min_size=1, max_size=6), seed=st.integers(0, 99))
def test_clips_have_equally_many_and_padding_none(frames: list[int], seed: int) -> None:
    mask = SpanMasking()(frames, rng(seed))
    assert mask.shape == (len(frames), max(frames))
    assert len(set(mask.sum(1))) == 1
    assert mask.sum(1)[0] >= 2
    for row, count in zip(mask, frames, strict=True):
        assert not row[count:].any()


@given(frames=st.integers(40, 400), seed=st.integers(0, 99))
def test_a_clip_alone_is_masked_in_spans_of_ten_or_more(frames: int, seed: int) -> None:
    (mask,) = SpanMasking()([frames], rng(seed))
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask, [0]]).astype(int)))
    lengths = edges[1::2] - edges[::2]
    assert lengths.min() >= 10
    assert lengths.sum() <= 10 * max(2, int(0.65 * frames / 10) + 1)


def test_spans_lie_where_the_generator_says() -> None:
    one, same, other = (SpanMasking()([100, 120], rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_every_frame_is_masked_at_times() -> None:
    shares = np.mean([SpanMasking()([60], rng(seed))[0] for seed in range(300)], axis=0)
    assert shares.min() > 0.03


def test_at_least_two_spans() -> None:
    rare = SpanMasking(prob=0.01, length=4)
    counts = {int(rare([200], rng(seed)).sum()) for seed in range(40)}
    assert max(counts) == 8
    assert min(counts) >= 5  # distinct starts


def test_too_short_clips_are_refused() -> None:
    SpanMasking().check(4)
    with pytest.raises(InputError, match="3 frames is too short for 2 masked spans"):
        SpanMasking().check(3)
    with pytest.raises(InputError, match="too short"):
        SpanMasking()([50, 3], rng())


@pytest.mark.parametrize("wrong", [{"prob": 0.0}, {"prob": 1.1}, {"length": 0}, {"min_spans": 0}])
def test_settings_out_of_range(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError):
        SpanMasking(**wrong)
