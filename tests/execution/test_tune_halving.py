"""`FrontHalving`: no cluster is needed to know what it would stop."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from ray.tune.schedulers import ASHAScheduler

from nas.execution.tune_halving import EPOCH, FIRST, FrontHalving, report

EPOCHS = 9
Values = list[tuple[int, int]]
values = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=20)


def told(scheduler: Any, name: str, results: Sequence[dict[str, Any]]) -> list[str]:
    """Reports of one trial until it is stopped."""
    trial = SimpleNamespace(trial_id=name)
    scheduler.on_trial_add(None, trial)
    decisions = []
    for result in results:
        decisions.append(scheduler.on_trial_result(None, trial, result))
        if decisions[-1] == "STOP":
            break
    return decisions


def constant(found: Sequence[float]) -> list[dict[str, Any]]:
    return [report(epoch, found) for epoch in range(1, EPOCHS + 1)]


def make() -> FrontHalving:
    return FrontHalving(epochs=EPOCHS, reduction=3.0)


@given(values)
def test_with_one_objective_it_is_asha(found: Values) -> None:
    ours, theirs = make(), ASHAScheduler(time_attr=EPOCH, metric=FIRST, mode="min", max_t=EPOCHS,
                                         grace_period=1, reduction_factor=3.0)
    for index, (error, _) in enumerate(found):
        results = constant([error])
        assert told(ours, str(index), results) == told(theirs, str(index), results)


@given(values)
def test_only_what_is_dominated_is_stopped_early(found: Values) -> None:
    scheduler = make()
    for index, mine in enumerate(found):
        decisions = told(scheduler, str(index), constant(mine))
        if len(decisions) < EPOCHS:
            assert any(a <= mine[0] and b <= mine[1] and (a, b) != mine for a, b in found[:index])


def test_it_stops_at_rungs_what_is_worse_in_everything() -> None:
    scheduler = make()
    assert len(told(scheduler, "a", constant([1, 1]))) == EPOCHS
    assert len(told(scheduler, "b", constant([2, 2]))) == 1
    assert len(told(scheduler, "c", constant([2, 0]))) == EPOCHS  # better in one
    fading = [report(epoch, [0.5 * epoch, 2]) for epoch in range(1, EPOCHS + 1)]
    assert len(told(scheduler, "d", fading)) == 3  # the rungs are at 1, 3 and 9


def test_what_it_recalls_counts_as_seen() -> None:
    scheduler = make()
    scheduler.recall("before", [[1, 1]] * EPOCHS)
    assert len(told(scheduler, "b", constant([2, 2]))) == 1
    assert len(told(scheduler, "c", constant([1, 1]))) == EPOCHS


def test_a_trial_that_reports_again_after_its_worker_died_is_not_its_own_rival() -> None:
    scheduler = make()
    trial: Any = SimpleNamespace(trial_id="a")
    scheduler.on_trial_add(trial, trial)
    for _ in range(2):
        for result in constant([1, 1])[:4]:
            assert scheduler.on_trial_result(None, trial, result) == "CONTINUE"


def test_a_failed_training_decides_nothing() -> None:
    assert told(make(), "a", [{"nas_error": "no"}]) == ["CONTINUE"]
