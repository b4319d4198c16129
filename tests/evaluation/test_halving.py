"""Successive halving around an executor: who goes on, what it costs, what it learns, resume."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from nas.core.arch import Arch
from nas.core.errors import InputError
from nas.core.problem import Objective
from nas.core.trial import Outcome, Trial
from nas.evaluation.first_images import FirstImages
from nas.evaluation.halving import Halving, HalvingConfig
from nas.evaluation.inherited import InheritedEvaluator
from nas.execution.serial import SerialExecutor

OBJECTIVES = (Objective("error", "%"), Objective("latency_ms", "ms"))
BATCH = 9


class Noisy:
    """A lower rung that sees the error with noise."""

    images, of, cost = 100, 500, 0.25

    def __init__(self, noise: float) -> None:
        self.noise = noise
        self.asked: list[Arch] = []

    def __call__(self, arch: Arch) -> dict[str, float]:
        self.asked.append(arch)
        number = arch.as_dict()["a"]
        if number % 50 == 49:
            raise RuntimeError("out of memory")
        error, latency = truth(number)
        return {"error": error + self.noise * float(rng(number).normal()), "latency_ms": latency}


def rng(number: int) -> np.random.Generator:
    return np.random.default_rng(number)


def truth(number: int) -> tuple[float, float]:
    error, latency = rng(1000 + number).uniform(1, 2, size=2).tolist()
    return error, latency


def full(arch: Arch) -> dict[str, float]:
    error, latency = truth(arch.as_dict()["a"])
    return {"error": error, "latency_ms": latency}


def halving(noise: float, **options: float) -> Halving:
    return Halving(SerialExecutor(), Noisy(noise), objectives=OBJECTIVES, known=["latency_ms"],
                   config=HalvingConfig(**options))


def batch(start: int, count: int = BATCH) -> list[Trial]:
    return [Trial(n, Arch("toy/1", (("a", n),))) for n in range(start, start + count)]


def run(executor: Halving, batches: int) -> list[list[Outcome]]:
    found = []
    for index in range(batches):
        executor.recall([])
        found.append(sorted(executor.run(full, batch(index * BATCH)), key=lambda o: o.trial.id))
    return found


def test_every_trial_is_validated_in_full_until_there_are_enough_pairs() -> None:
    executor = halving(0.0)
    found = run(executor, 4)
    assert [all(o.final for o in outcomes) for outcomes in found] == [True, True, True, False]
    for outcome in found[0]:
        assert outcome.metrics["error_100"] == outcome.metrics["error"]
        assert outcome.cost == 1.0


def test_a_third_goes_on_and_the_others_cost_a_part() -> None:
    executor = halving(0.0)
    last = run(executor, 4)[-1]
    assert sum(o.final for o in last) == 3
    parts = [o for o in last if not o.final]
    assert {(o.stage, o.cost) for o in parts} == {("partial", 0.25)}
    assert all("error_100" not in o.metrics for o in parts)
    # None that goes on is dominated by one that does not.
    for kept in (o.metrics for o in last if o.final):
        assert not any(o.metrics["error"] <= kept["error_100"]
                       and o.metrics["latency_ms"] <= kept["latency_ms"] for o in parts)


def test_the_price_is_the_most_that_a_batch_costs() -> None:
    executor = halving(0.0)
    assert executor.cost(BATCH) == BATCH
    for outcomes in run(executor, 3):
        assert sum(o.cost for o in outcomes) == BATCH
    assert executor.cost(BATCH) == 3 + 6 * 0.25
    executor.recall([])
    outcomes = list(executor.run(full, batch(3 * BATCH)))
    assert sum(o.cost for o in outcomes) <= 3 + 6 * 0.25
    assert all(executor.cost(n) <= executor.cost(n + 1) for n in range(1, 30))


def test_a_rung_that_does_not_rank_is_not_used() -> None:
    executor = halving(10.0)
    assert all(o.final for outcomes in run(executor, 5) for o in outcomes)
    report = executor.report()
    assert report["open"] is False
    assert report["trust"]["pairs"] == 45
    assert report["trust"]["low"] < 0.5


def test_it_is_left_off_again_once_the_rung_stops_ranking() -> None:
    executor = halving(0.0)
    run(executor, 4)
    assert executor.open
    executor._partial.noise = 20.0  # type: ignore[attr-defined]
    found = run(executor, 30)
    assert not executor.open
    assert all(o.final for o in found[-1] if o.ok)


def test_what_fails_in_the_lower_rung_costs_no_more() -> None:
    executor = halving(0.0)
    executor.recall([])
    failed, = (o for o in executor.run(full, batch(45)) if not o.ok)
    assert failed.trial.id == 49
    assert (failed.cost, failed.error) == (0.25, "RuntimeError: out of memory")


@pytest.mark.parametrize("cut", range(BATCH))
@pytest.mark.parametrize("order", [1, -1])
def test_a_batch_half_done_by_an_earlier_process_ends_as_if_it_had_not_been(
        cut: int, order: int) -> None:
    whole = run(halving(0.3, least=-0.5), 5)
    again = halving(0.3, least=-0.5)
    for outcomes in whole[:4]:
        assert again.cost(BATCH) >= sum(o.cost for o in outcomes)
        again.recall(outcomes)
    there = sorted(whole[4][::order][:cut], key=lambda o: o.trial.id)
    again.recall(there)
    known = {o.trial.id for o in there}
    rest = list(again.run(full, [t for t in batch(4 * BATCH) if t.id not in known]))
    assert sorted([*there, *rest], key=lambda o: o.trial.id) == whole[4]
    assert again.report()["trust"]["pairs"] == sum(o.final for b in whole for o in b)


def test_everything_known_leaves_nothing_to_shorten() -> None:
    with pytest.raises(InputError, match="every objective is known"):
        Halving(SerialExecutor(), Noisy(0.0), objectives=OBJECTIVES[1:], known=["latency_ms"])


@pytest.mark.parametrize("options", [{"eta": 1}, {"pairs": 0}, {"least": 1.0}, {"confidence": 0.0}])
def test_options_out_of_range(options: dict[str, float]) -> None:
    with pytest.raises(InputError, match="out of range"):
        HalvingConfig(**options)  # type: ignore[arg-type]


@pytest.fixture
def archs(tiny_supernet: object) -> Sequence[Arch]:
    space = tiny_supernet.space  # type: ignore[attr-defined]
    return list(space.decode(space.sample_codes(6, rng(2))))


def test_a_full_validation_is_the_same_whether_it_was_begun_or_not(
        make_tiny_supernet: Callable, tiny_task: object, archs: Sequence[Arch]) -> None:
    supernet = make_tiny_supernet(tiny_task)
    plain, begun = InheritedEvaluator(supernet), InheritedEvaluator(supernet)
    first = FirstImages(begun, share=0.5)
    parts = [first(arch)["error"] for arch in archs]
    wholes = [begun(arch) for arch in archs]
    assert wholes == [plain(arch) for arch in archs]
    assert parts != [whole["error"] for whole in wholes]
    assert [first(arch)["error"] for arch in archs] == parts


def test_what_was_begun_is_not_computed_again(make_tiny_supernet: Callable, tiny_task: object,
                                              archs: Sequence[Arch]) -> None:
    supernet = make_tiny_supernet(tiny_task)
    evaluate = InheritedEvaluator(supernet)
    seen = []
    inner = evaluate._network

    def watched(arch: Arch) -> object:
        network = inner(arch)
        network.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
        return network

    evaluate._network = watched  # type: ignore[method-assign, assignment]
    first = FirstImages(evaluate, share=0.5)
    first(archs[0])
    assert seen == [32, 32]
    evaluate(archs[0])
    assert seen == [32, 32, 16]


def test_first_images_are_whole_batches_and_the_cost_counts_calibration(
        tiny_supernet: object) -> None:
    evaluate = InheritedEvaluator(tiny_supernet)  # type: ignore[arg-type]
    first = FirstImages(evaluate, share=0.2)
    assert (first.images, first.of) == (32, 80)
    assert first.cost == (64 + 32) / (64 + 80)
    with pytest.raises(InputError, match="cannot be divided"):
        FirstImages(evaluate, share=1.0)
