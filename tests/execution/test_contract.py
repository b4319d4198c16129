"""What every executor promises; a new one takes part through its registry line."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from execution_evaluators import (
    Deadly,
    DyingAsItLoads,
    Heavy,
    Interrupting,
    Marked,
    Plain,
    Slow,
    Threads,
    Toy,
    Unloadable,
    Unpicklable,
    Unusable,
    Variables,
    kill_at_random,
    search,
    trials,
)

from nas.core.errors import InputError, NasError
from nas.core.protocols import Executor
from nas.execution.registry import EXECUTORS
from nas.execution.serial import SerialExecutor
from nas.search.ledger import ledger_equal

MakeExecutor = Callable[..., Executor]

ENTRIES = [entry for entry in EXECUTORS.builtin if entry.name != "tune"]  # trains, and nothing else
NAMES = [entry.name for entry in ENTRIES]
PARALLEL = [entry.name for entry in ENTRIES if entry.info["parallel"]]

for_all = pytest.mark.parametrize("name", NAMES)
for_parallel = pytest.mark.parametrize("name", PARALLEL)


@for_all
def test_each_trial_has_one_outcome_that_is_the_serial_one(make_executor: MakeExecutor,
                                                           name: str) -> None:
    executor, evaluate = make_executor(name), Plain()
    outcomes = sorted(executor.run(evaluate, trials(5)), key=lambda outcome: outcome.trial.id)
    expected = list(SerialExecutor().run(evaluate, trials(5)))
    assert [outcome.trial for outcome in outcomes] == trials(5)
    assert [outcome.error for outcome in outcomes] == [
        None, None, "ValueError: first line second line", "RuntimeError", None]
    for found, wanted in zip(outcomes, expected, strict=True):
        assert found.metrics.get("error") == wanted.metrics.get("error")
        assert (found.stage, found.cost) == (wanted.stage, wanted.cost)
    assert list(executor.run(evaluate, [])) == []


@for_all
def test_metrics_that_are_no_numbers_are_for_the_driver_to_judge(
        make_executor: MakeExecutor, tmp_path: Path, name: str) -> None:
    ledgers = [search(executor, tmp_path / f"{number}.journal", seed=0, evaluate=Unusable())
               for number, executor in enumerate((SerialExecutor(), make_executor(name)))]
    assert ledger_equal(*ledgers)
    errors = {str(outcome.error) for outcome in ledgers[1].outcomes()}
    assert any("gave nan as 'error'" in error for error in errors)
    assert any("gave no 'speed'" in error for error in errors)


@for_parallel
def test_metrics_that_cannot_be_sent_are_a_failure(make_executor: MakeExecutor,
                                                   name: str) -> None:
    outcome, = make_executor(name).run(Plain(), trials(6)[5:])
    assert "the metrics cannot be sent back" in (outcome.error or "")


@for_all
def test_many_batches_are_run_by_the_same_workers(make_executor: MakeExecutor,
                                                  name: str) -> None:
    executor, evaluate = make_executor(name), Plain()
    pids = {outcome.metrics["pid"] for _ in range(5)
            for outcome in executor.run(evaluate, trials(2))}
    assert len(pids) <= (1 if name == "serial" else 2)
    assert (os.getpid() in pids) == (name == "serial")


@for_all
def test_evaluators_take_turns(make_executor: MakeExecutor, name: str) -> None:
    # As the rungs of successive halving do.
    executor, rungs = make_executor(name), [Plain(), Toy(), Threads()]
    pids = set()
    for _ in range(2):
        pids |= {outcome.metrics["pid"] for outcome in executor.run(rungs[0], trials(2))}
        assert all("KeyError" in str(o.error) for o in executor.run(rungs[1], trials(2)))
        assert [o.ok for o in executor.run(rungs[2], trials(2))] == [True, True]
    assert len(pids) <= 2
    # More of them than workers keep.
    for _ in range(6):
        assert all(outcome.ok for outcome in executor.run(Plain(), trials(2)))


@for_all
def test_closed_twice_and_used_again(make_executor: MakeExecutor, name: str) -> None:
    executor, evaluate = make_executor(name), Plain()
    executor.close()
    for _ in range(2):
        assert len(list(executor.run(evaluate, trials(2)))) == 2
        executor.close()
        executor.close()


@for_all
def test_interrupted_evaluation_passes_through(make_executor: MakeExecutor, name: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        list(make_executor(name).run(Interrupting(), trials(4)))


@for_all
@pytest.mark.parametrize("seed", range(5))
def test_the_ledger_is_the_serial_one(make_executor: MakeExecutor, tmp_path: Path, name: str,
                                      seed: int) -> None:
    ledgers = [search(executor, tmp_path / f"{number}.journal", seed=seed, evaluate=Toy(0.01))
               for number, executor in enumerate((SerialExecutor(), make_executor(name)))]
    assert ledger_equal(*ledgers)
    assert ledgers[0].batches() == ledgers[1].batches()
    assert len(ledgers[1].outcomes()) == 24


@for_parallel
def test_outcomes_come_as_they_finish(make_executor: MakeExecutor, tmp_path: Path,
                                      name: str) -> None:
    executor = make_executor(name)
    assert len(list(executor.run(Plain(), trials(2)))) == 2
    evaluate = Slow(tmp_path, {0: 2.0})
    assert [outcome.trial.id for outcome in executor.run(evaluate, trials(4))][-1] == 0


@for_parallel
def test_trials_wait_here_not_at_the_workers(make_executor: MakeExecutor, tmp_path: Path,
                                             name: str) -> None:
    outcomes = make_executor(name).run(Slow(tmp_path, {}), trials(30))
    next(outcomes)
    time.sleep(0.3)
    assert len(list(tmp_path.iterdir())) <= 6  # a few, for two workers
    outcomes.close()  # type: ignore[attr-defined]


@for_parallel
def test_run_that_is_given_up_leaves_nothing_to_the_next(make_executor: MakeExecutor,
                                                         tmp_path: Path, name: str) -> None:
    executor, evaluate = make_executor(name), Slow(tmp_path, {1: 60.0})
    for outcome in executor.run(evaluate, trials(3)):
        assert outcome.trial.id != 1
        if (tmp_path / "1").exists():
            break
    again = trials(40)[30:34]
    found = [outcome.trial for outcome in executor.run(evaluate, again)]
    assert sorted(found, key=lambda trial: trial.id) == again


@for_parallel
def test_trial_whose_worker_dies_runs_again_and_at_last_fails(
        make_executor: MakeExecutor, tmp_path: Path, name: str) -> None:
    executor = make_executor(name, attempts=2)
    evaluate = Deadly(tmp_path, {1: 1, 3: 2})
    outcomes = sorted(executor.run(evaluate, trials(5)), key=lambda outcome: outcome.trial.id)
    assert [outcome.trial for outcome in outcomes] == trials(5)
    assert [outcome.metrics.get("error") for outcome in outcomes] == [0.0, 1.0, 2.0, None, 4.0]
    error = outcomes[3].error or ""
    assert error.startswith("WorkerDied: the worker of attempt 2 of 2 died: ")
    assert "\n" not in error
    assert len(error) < 200
    if name == "process":
        assert "exit code 7" in error


@for_parallel
def test_worker_killed_between_batches_costs_no_attempt(make_executor: MakeExecutor,
                                                        name: str) -> None:
    executor, evaluate = make_executor(name, attempts=1), Plain()
    for _ in range(2):
        for outcome in executor.run(evaluate, trials(2)):
            os.kill(int(outcome.metrics["pid"]), 0)
        pids = {int(o.metrics["pid"]) for o in executor.run(evaluate, trials(2))}
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.2)
        assert [outcome.error for outcome in executor.run(evaluate, trials(2))] == [None, None]


@for_parallel
def test_bad_evaluators_are_named_and_do_no_harm(make_executor: MakeExecutor,
                                                 name: str) -> None:
    executor = make_executor(name, attempts=1)
    with pytest.raises(InputError, match=r"evaluator \(Unpicklable\) cannot be sent to workers "
                                         r"\(TypeError: cannot pickle a lock\); make"):
        list(executor.run(Unpicklable(), trials(2)))
    with pytest.raises(InputError, match="ModuleNotFoundError: no module of that name"):
        list(executor.run(Unloadable(), trials(2)))
    with pytest.raises(NasError, match=r"workers in a row died as they started, .*memory"):
        list(executor.run(DyingAsItLoads(), trials(2)))
    assert len(list(executor.run(Plain(), trials(2)))) == 2


@for_parallel
def test_arrays_lie_in_memory_once_for_all_workers(make_executor: MakeExecutor,
                                                   name: str) -> None:
    numbers = np.ones(2**25)  # 256 MiB; a worker has less by itself
    found = list(make_executor(name).run(Heavy(numbers), trials(4)))
    assert [outcome.metrics["error"] for outcome in found] == [2.0**25] * 4
    assert max(outcome.metrics["own"] for outcome in found) < numbers.nbytes


@for_parallel
def test_workers_compute_with_one_thread(make_executor: MakeExecutor, name: str) -> None:
    # As `one_thread` has it in this process: other numbers of threads may round otherwise.
    for outcome in make_executor(name).run(Variables(), trials(2)):
        assert outcome.metrics["error"] == 1.0


@for_parallel
def test_workers_compute_with_as_many_threads_as_asked(make_executor: MakeExecutor,
                                                       name: str) -> None:
    outcome, = make_executor(name, threads=2, workers=1).run(Threads(), trials(1))
    assert outcome.metrics == {"error": 2.0}


@pytest.mark.slow
@for_parallel
@pytest.mark.parametrize("seed", range(3))
def test_workers_killed_at_random_moments_change_nothing(
        make_executor: MakeExecutor, tmp_path: Path, name: str, seed: int) -> None:
    serial = search(SerialExecutor(), tmp_path / "serial.journal", seed=seed, evaluate=Toy())
    evaluate = Marked(slow_s=0.2, folder=tmp_path / "pids")
    evaluate.folder.mkdir()
    stop, kills = threading.Event(), []
    killer = threading.Thread(target=lambda: kills.append(
        kill_at_random(evaluate.folder, seed, stop, every_s=0.5)))
    killer.start()
    try:
        found = search(make_executor(name, attempts=50), tmp_path / "found.journal", seed=seed,
                       evaluate=evaluate)
    finally:
        stop.set()
        killer.join()
    assert kills[0] > 0
    assert ledger_equal(serial, found)
