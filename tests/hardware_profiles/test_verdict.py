"""The rules of `judge` on made-up errors: they pass what is right and can fail."""

import numpy as np
import pytest

from hardware_profiles.calibrate import INTERVAL, quality
from hardware_profiles.profile import Calibration
from hardware_profiles.verdict import MAX_NETS, inside_needed, judge
from nas.core.costs import Estimate
from nas.core.errors import ProfileError

HELD_OUT, FRESH = 60, 40


def truth(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.uniform(1.0, 3.0, count)


def stated(rng: np.random.Generator, spread: float, held_out: int = HELD_OUT) -> Calibration:
    """What a profile says whose predictions miss by a normal error of this spread."""
    predicted = truth(rng, held_out)
    measured = predicted * (1 + spread * rng.standard_normal(held_out))
    low, high = np.quantile(measured / predicted, INTERVAL)
    return Calibration(model="affine_blocks", coefficients={"own_ms": 1.0},
                       empty_ms=0, calib_count=40,
                       test_count=held_out, held_out=quality(predicted, measured),
                       lower_ratio=low, upper_ratio=high, baselines={})


def check(seed: int, *, slower: float = 0.0, spread: float = 0.02, now: float | None = None):
    rng = np.random.default_rng(seed)
    profile = stated(rng, spread)
    value = truth(rng, FRESH)
    error = (spread if now is None else now) * rng.standard_normal(FRESH)
    estimate = Estimate(value, value * profile.lower_ratio, value * profile.upper_ratio, "measured")
    return judge(estimate, value * (1 + slower) * (1 + error), stated=profile)


def rejected(count: int = 150, **what: float) -> float:
    return sum(not check(seed, **what).ok for seed in range(count)) / count


def test_a_profile_that_is_right_is_rarely_rejected():
    assert rejected(400) <= 0.02  # 1 % for each rule, and the rules agree often


@pytest.mark.parametrize("spread", [0.005, 0.05])
def test_that_holds_whatever_the_size_of_the_error(spread):
    assert rejected(spread=spread) <= 0.03


@pytest.mark.parametrize("slower", [0.08, -0.08])
def test_a_machine_that_became_slower_or_faster_is_seen(slower):
    assert rejected(slower=slower) >= 0.99


def test_predictions_that_are_right_on_average_alone_are_seen():
    assert rejected(now=0.08) >= 0.95
    found = next(found for found in (check(seed, now=0.08) for seed in range(50))
                 if not found.ok)
    assert "within the stated interval" in found.problems[0]


def test_a_small_error_everywhere_in_a_sharp_profile_is_the_intervals_business():
    # 2 % off is within the tolerance of the bias, and yet four times the stated spread.
    found = check(0, slower=0.02, spread=0.005)
    assert len(found.problems) == 1
    assert found.inside < found.inside_needed


def test_both_rules_can_be_broken_at_once():
    found = check(0, slower=0.3)
    assert len(found.problems) == 2
    assert "off by -2" in found.problems[1]
    assert found.inside == 0


def test_the_number_needed_is_that_of_the_simulation():
    rng = np.random.default_rng(0)
    held_out = np.sort(rng.random((20_000, HELD_OUT)), axis=1)
    fresh = rng.random((20_000, FRESH))
    low, high = (np.quantile(held_out, q, axis=1)[:, None] for q in INTERVAL)
    inside = ((low <= fresh) & (fresh <= high)).sum(axis=1)
    needed = inside_needed(FRESH, held_out=HELD_OUT)
    assert (inside < needed).mean() <= 0.01
    assert (inside < needed + 3).mean() > 0.01


@pytest.mark.parametrize("held_out", [4, 20, 21, 60, 1000])
def test_more_held_out_networks_allow_a_sharper_bound(held_out):
    assert 0 <= inside_needed(FRESH, held_out=held_out) <= inside_needed(FRESH, held_out=10_000)


@pytest.mark.parametrize(("fresh", "held_out", "message"), [
    (3, 60, "--nets 3"), (MAX_NETS + 1, 60, "4 to 1000"), (40, 3, "over 3 held-out")])
def test_numbers_that_allow_no_verdict_are_errors(fresh, held_out, message):
    rng = np.random.default_rng(0)
    value = truth(rng, fresh)
    with pytest.raises(ProfileError, match=message):
        judge(Estimate(value, value, value, "measured"), value,
              stated=stated(rng, 0.02, held_out))
