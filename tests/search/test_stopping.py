"""Rules that end a search before its budget."""

from collections.abc import Sequence

import pytest

from nas.core.arch import Arch
from nas.core.errors import InputError
from nas.core.problem import Objective
from nas.core.trial import Outcome, Trial
from nas.search.stopping import REFERENCE_FROM, any_of, patience, target, time_limit

OBJECTIVES = (Objective("error", "%"), Objective("speed", "1/s", "maximize"))


def outcomes(points: Sequence[tuple[float, float] | None], *, stage: str = "validation"
             ) -> list[Outcome]:
    """Outcomes of (error, speed), failed where there is none."""
    trials = [Trial(number, Arch("toy/1", (("a", number),))) for number in range(len(points))]
    return [Outcome(trial, error="RuntimeError: no") if point is None else
            Outcome(trial, {"error": point[0], "speed": point[1]}, stage)
            for trial, point in zip(trials, points, strict=True)]


FIRST = [(10.0 + number, 1.0 + number) for number in range(REFERENCE_FROM)]


def test_patience_counts_full_validations_since_the_last_gain() -> None:
    rule = patience(3, OBJECTIVES)
    better, worse = (5.0, 5.0), (12.0, 1.0)
    assert rule(outcomes([*FIRST, better, worse, worse])) is None
    reason = rule(outcomes([*FIRST, better, worse, worse, worse]))
    assert reason is not None
    assert "last 3 full validations" in reason
    assert rule(outcomes([*FIRST, worse, worse, better])) is None
    assert rule(outcomes([*FIRST, better, worse, worse, None])) is None


def test_patience_does_not_count_what_was_cut_short() -> None:
    rule = patience(2, OBJECTIVES)
    full, part = outcomes([*FIRST, (5.0, 5.0)]), outcomes([(1.0, 9.0)] * 5, stage="partial")
    assert rule([*full, *part]) is None


def test_a_gain_of_less_than_a_thousandth_is_none() -> None:
    rule = patience(2, OBJECTIVES)
    before = [*FIRST, (5.0, 9.0)]
    assert rule(outcomes([*before, (4.9999, 9.0), (4.9998, 9.0)])) is not None
    assert rule(outcomes([*before, (4.9, 9.0), (4.8, 9.0)])) is None


def test_what_is_beyond_the_first_validations_is_no_gain() -> None:
    # So the reference point cannot move with every new extreme.
    rule = patience(2, OBJECTIVES)
    assert rule(outcomes([*FIRST, (40.0, 0.1), (50.0, 0.01)])) is not None


def test_patience_waits_for_those_that_fix_the_reference_point() -> None:
    rule = patience(1, OBJECTIVES)
    same = [(10.0, 1.0)] * (REFERENCE_FROM + 1)
    assert rule(outcomes(same[:-1])) is None
    assert rule(outcomes(same)) is not None


def test_time_limit_counts_from_when_it_was_made() -> None:
    now = [100.0]
    rule = time_limit(5.0, lambda: now[0])
    now[0] = 104.9
    assert rule([]) is None
    now[0] = 105.0
    assert rule([]) == "the time limit of 5 s is over"


def test_target_needs_one_network_that_meets_all() -> None:
    rule = target({"error": 8.0, "speed": 2.0})
    apart = [(7.0, 3.0), (9.0, 1.0)]
    assert rule(outcomes([*apart, None])) is None
    found = outcomes([*apart, (8.0, 2.0)])
    reason = rule(found)
    assert reason == (f"network {found[2].trial.arch.digest} meets error ≤ 8, speed ≤ 2")
    assert rule(outcomes([(8.0, 2.0)], stage="partial")) is None
    assert target({"size": 3.0})(found) is None


def test_any_of_gives_the_first_reason() -> None:
    low, high = target({"error": 1.0}), target({"error": 100.0})
    found = outcomes([(5.0, 1.0)])
    assert any_of(low, high)(found) == high(found)
    assert any_of(low)(found) is None
    assert any_of()(found) is None


@pytest.mark.parametrize("make", [
    lambda: patience(0, OBJECTIVES), lambda: time_limit(0.0, lambda: 0.0),
    lambda: time_limit(float("nan"), lambda: 0.0), lambda: target({})])
def test_rules_that_make_no_sense_are_refused(make: object) -> None:
    assert callable(make)
    with pytest.raises(InputError):
        make()
