"""`TuneExecutor` on one Ray of two cores, shared by the module."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from epoch_evaluators import SPACE, ToyTraining

from nas.core.arch import Arch, make_arch
from nas.core.errors import InputError
from nas.core.problem import Objective
from nas.core.resources import Resources
from nas.core.trial import Outcome, Trial
from nas.execution.ray_cluster import connect, disconnect
from nas.execution.registry import EXECUTORS
from nas.execution.tune_executor import TuneExecutor


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """Executors find it and leave it running."""
    import ray

    connection = connect(Resources(workers=2), 1)
    assert connection.own
    yield ray
    disconnect(connection)


def network(a: int, kind: str = "good") -> Arch:
    return make_arch(SPACE, {"a": a, "kind": kind})


def run(evaluate: ToyTraining, archs: list[Arch], **resources: Any) -> list[Outcome]:
    executor = TuneExecutor(Resources(**{"workers": 1, **resources}))
    trials = [Trial(10 + index, arch) for index, arch in enumerate(archs)]
    outcomes = sorted(executor.run(evaluate, trials), key=lambda outcome: outcome.trial.id)
    executor.close()
    assert [outcome.trial for outcome in outcomes] == trials
    assert not (evaluate.folder / "tune").exists()
    return outcomes


@pytest.mark.usefixtures("ray")
def test_bad_ones_are_stopped_early_and_know_what_they_cost(tmp_path: Path) -> None:
    evaluate = ToyTraining(tmp_path)
    archs = [network(a) for a in (2, 5, 7, 1)]
    outcomes = run(evaluate, archs)
    assert [outcome.stage for outcome in outcomes] == ["validation", "partial", "partial",
                                                       "validation"]
    for outcome, done in zip(outcomes, (3, 1, 1, 3), strict=True):
        assert outcome.cost == done / 3
        assert outcome.metrics == evaluate.histories()[outcome.trial.arch.digest][-1]
        assert evaluate.trained(outcome.trial.arch) == done
        assert type(outcome.metrics["size"]) is int
    # The next batch is held against this one, and what is known already costs nothing.
    again = run(evaluate, [network(9), network(2)])
    assert [(outcome.stage, outcome.cost) for outcome in again] == [("partial", 1 / 3),
                                                                   ("validation", 1.0)]
    assert evaluate.trained(network(2)) == 3


@pytest.mark.usefixtures("ray")
def test_failures_are_outcomes_and_a_dead_worker_is_replaced(
        tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    # The objectives disagree, so that nothing is stopped early.
    evaluate = ToyTraining(tmp_path, total_epochs=2,
                           objectives=(Objective("error", "%"), Objective("size", "1")))
    archs = [network(4, "raises"), network(3, "dies once"), network(2, "dies"), network(1)]
    outcomes = run(evaluate, archs, workers=2, attempts=2)
    assert outcomes[0].error == "ValueError: first line second line"
    assert outcomes[1].ok
    assert evaluate.trained(network(3, "dies once")) <= 2  # it went on from its first epoch
    assert outcomes[2].error is not None
    assert "died 2 times" in outcomes[2].error
    assert outcomes[3].final
    assert capfd.readouterr().out == ""


@pytest.mark.usefixtures("ray")
def test_nobody_waits_for_what_is_no_longer_wanted(tmp_path: Path) -> None:
    executor = TuneExecutor(Resources(workers=2))
    trials = [Trial(0, network(1)), Trial(1, network(2, "stuck"))]
    # The objectives disagree: the stuck one is not stopped early, whichever reports first.
    evaluate = ToyTraining(tmp_path, total_epochs=2,
                           objectives=(Objective("error", "%"), Objective("size", "1")))
    outcomes = executor.run(evaluate, trials)
    assert next(outcomes).trial.id == 0
    outcomes.close()  # type: ignore[attr-defined]
    assert not (tmp_path / "tune").exists()  # and it was not waited for, which takes an hour
    executor.close()


def test_it_runs_trainings_alone() -> None:
    with pytest.raises(InputError, match="use it with --evaluation trained"):
        list(TuneExecutor().run(lambda _: {"error": 1.0}, [Trial(0, network(1))]))


@pytest.mark.parametrize("reduction", [1.0, 0.0, float("nan")])
def test_reduction_must_reduce(reduction: float) -> None:
    with pytest.raises(InputError, match="more than 1"):
        TuneExecutor(reduction=reduction)


def test_it_is_registered() -> None:
    assert EXECUTORS.get("tune").resolve() is TuneExecutor
