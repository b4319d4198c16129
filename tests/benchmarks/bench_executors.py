"""Executors: what several workers are worth, and whether anything that dies changes a ledger.

Validation is timed in rounds: in each, every executor validates the same architectures of the
shipped supernet, which no round had before, one executor after the other, in an order that turns
from round to round. Ratios are of one round, for other programs share the machine.

    python tests/benchmarks/bench_executors.py [PART …]
"""

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _report import FOLDER, write_report

sys.path.insert(0, str(Path(__file__).parents[1]))  # execution_evaluators, in workers, too

from execution_evaluators import Marked, Sleeping, Toy, search, trials

from nas.core.protocols import Executor
from nas.core.resources import Resources
from nas.core.trial import Trial
from nas.evaluation.inherited import InheritedEvaluator
from nas.execution.process import ProcessExecutor
from nas.execution.ray_executor import RayExecutor
from nas.execution.serial import SerialExecutor
from nas.pipeline.compose import load_supernet
from nas.pipeline.device import keep_freed_memory
from nas.search.ledger import Ledger, ledger_equal

SEED = 0
WORKERS, SLEEPS = 8, 64
SEEDS = range(5)
WORKER_KILLS, DRIVER_KILLS = 10, 5
MAKERS: Mapping[str, Callable[[Resources], Executor]] = {
    "process": ProcessExecutor, "ray": RayExecutor}


def main() -> None:
    """Runs all parts, or those named, and writes the report; or one search, to be killed."""
    names = sys.argv[1:]
    if names and names[0] in MAKERS:
        run_to_be_killed(*names)
        return
    parts = {part.__name__: part for part in (equal_ledgers, killed_workers, killed_drivers,
                                              lost_node, sleeping, validation, two_threads)}
    path = FOLDER / "executors.json"
    figures = json.loads(path.read_text())["figures"] if names and path.is_file() else {}
    for name in names or parts:
        figures[name] = parts[name]()
        print(name, figures[name], flush=True)
        write_report("executors", figures, seed=SEED)


def sleeping() -> dict[str, Any]:
    """Throughput with an evaluation that sleeps for a second, relative to the ideal."""
    import ray

    ray.init(address="local", num_cpus=WORKERS, include_dashboard=False, log_to_driver=False)
    found = {}
    for name, make in MAKERS.items():
        executor = make(Resources(workers=WORKERS))
        evaluate = Sleeping(1.0)
        list(executor.run(evaluate, trials(WORKERS)))  # warm
        ratios = []
        for _ in range(3):
            started = time.monotonic()
            batch = [Trial(number, trials(1)[0].arch) for number in range(SLEEPS)]
            assert len(list(executor.run(evaluate, batch))) == SLEEPS
            ratios.append(SLEEPS / WORKERS / (time.monotonic() - started))
        executor.close()
        found[name] = {"of_ideal": summary(ratios)}
    ray.shutdown()
    return {"workers": WORKERS, "seconds_each": 1.0, "trials": SLEEPS, **found}


def validation() -> dict[str, Any]:
    """Real validations: how many times as fast two workers are as one, a thread each."""
    return paired(("serial_1_thread", "process_2_workers", "ray_2_workers"), rounds=8,
                  per_round=4, base="serial_1_thread")


def two_threads() -> dict[str, Any]:
    """The same with two threads in one process, in rounds of its own: see the load average.

    Where other programs take the cores, each of the two waits for the other, spinning.
    """
    return paired(("serial_2_threads", "serial_1_thread", "process_2_workers", "ray_2_workers"),
                  rounds=3, per_round=2, base="serial_2_threads")


def paired(names: Sequence[str], *, rounds: int, per_round: int, base: str) -> dict[str, Any]:
    """Times setups in turn on the same architectures, after one round that is not counted."""
    keep_freed_memory()  # as `nas search` does, and as workers have it: else they would gain by it
    supernet = load_supernet("mobilenet-fmnist")
    codes = supernet.space.sample_codes(rounds * per_round, np.random.default_rng(SEED))
    archs = supernet.space.decode(supernet.space.canonical_codes(codes))
    warm = [supernet.space.extreme(largest=largest) for largest in (True, False)]
    executors = {name: MAKERS.get(name.partition("_")[0], SerialExecutor)(
        Resources(workers=2 if name.endswith("workers") else 1)) for name in names}
    evaluators = {name: InheritedEvaluator(supernet) for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    loads, equal = [], True
    for number in range(-1, rounds):
        some = archs[number * per_round:][:per_round] if number >= 0 else warm
        batch = [Trial(i, arch) for i, arch in enumerate(some)]
        errors = {}
        for turn in range(len(names)):
            name = names[(number + turn) % len(names)]
            torch.set_num_threads(2 if name == "serial_2_threads" else 1)
            started = time.monotonic()
            outcomes = list(executors[name].run(evaluators[name], batch))
            if number >= 0:
                seconds[name].append(time.monotonic() - started)
            errors[name] = sorted((o.trial.id, o.metrics["error"]) for o in outcomes)
        equal &= all(errors[name] == errors["serial_1_thread"] for name in names)
        loads.append(round(os.getloadavg()[0], 1))
        print("round", number, {name: taken[-1:] for name, taken in seconds.items()}, flush=True)
    torch.set_num_threads(1)
    for executor in executors.values():
        executor.close()

    def ratio(over: str, name: str) -> dict[str, float]:
        return summary([b / a for a, b in zip(seconds[name], seconds[over], strict=True)])

    return {"rounds": rounds, "validations_per_round": per_round, "load_averages": loads,
            "all_errors_equal": equal,
            "seconds_per_validation": {name: round(statistics.median(taken) / per_round, 3)
                                       for name, taken in seconds.items()},
            f"times_as_fast_as_{base}": {name: ratio(base, name) for name in names if name != base},
            "ray_times_as_fast_as_process": ratio("process_2_workers", "ray_2_workers")}


def equal_ledgers() -> dict[str, Any]:
    """Ledgers of executors with two workers against serial ones."""
    found = {}
    for name, make in MAKERS.items():
        executor = make(Resources(workers=2))
        with tempfile.TemporaryDirectory() as folder:
            found[name] = sum(ledger_equal(
                reference(Path(folder), seed),
                search(executor, Path(folder) / f"{seed}.journal", seed=seed, evaluate=Toy(0.05)))
                for seed in SEEDS)
        executor.close()
    return {"seeds": len(SEEDS), "equal": found}


def killed_workers() -> dict[str, Any]:
    """In each run one worker is killed at a random moment."""
    rng = np.random.default_rng(SEED)
    found: dict[str, Any] = {}
    for name, make in MAKERS.items():
        executor = make(Resources(workers=2))
        equal = kills = 0
        moments = []
        for seed in range(WORKER_KILLS):
            with tempfile.TemporaryDirectory() as root:
                expected = reference(Path(root), seed)
                moment = float(rng.uniform(0.0, 2.0))
                pids = Path(root) / "pids"
                pids.mkdir()
                struck: list[int] = []
                killer = threading.Thread(target=strike, args=(moment, pids, struck))
                killer.start()
                ledger = search(executor, Path(root) / "found.journal", seed=seed,
                                evaluate=Marked(0.4, pids))
                killer.join()
                equal += ledger_equal(expected, ledger)
                kills += len(struck)
                moments.append(round(moment, 2))
        executor.close()
        found[name] = {"kills": kills, "equal": equal, "seconds_after_first_trial": moments}
    return {"runs": WORKER_KILLS, **found}


def strike(moment: float, folder: Path, struck: list[int]) -> None:
    """Kills one of the processes that evaluate, some seconds after the first trial has begun."""
    wait_for(lambda: any(folder.iterdir()))
    time.sleep(moment)
    pid = int(min(folder.iterdir()).name)
    os.kill(pid, signal.SIGKILL)
    struck.append(pid)


def killed_drivers() -> dict[str, Any]:
    """In each run the process that searches is killed, and another goes on with its ledger."""
    rng = np.random.default_rng(SEED)
    found: dict[str, Any] = {}
    for name in MAKERS:
        equal, there = 0, []
        for seed in range(DRIVER_KILLS):
            with tempfile.TemporaryDirectory() as root:
                storage, pids = Path(root) / "found.journal", Path(root) / "pids"
                pids.mkdir()
                command = [sys.executable, __file__, name, str(storage), str(pids), str(seed)]
                driver = subprocess.Popen(command)
                wait_for(lambda folder=pids: any(folder.iterdir()))
                time.sleep(float(rng.uniform(0.0, 2.0)))
                driver.kill()
                driver.wait()
                there.append(storage.read_text().count('"nas:trial_id"')
                             if storage.exists() else 0)
                subprocess.run(command, check=True)
                equal += ledger_equal(reference(Path(root), seed), search(
                    SerialExecutor(), storage, seed=seed, evaluate=Never()))
        found[name] = {"equal": equal, "trials_in_the_ledger_when_killed": there}
    return {"runs": DRIVER_KILLS, **found}


class Never:
    """An evaluation that is not needed."""

    def __call__(self, arch: Any) -> Mapping[str, float]:
        """Ends the script."""
        sys.exit(f"BROKEN: {arch} is missing in a finished ledger")


def run_to_be_killed(name: str, storage: str, pids: str, seed: str) -> None:
    """Searches with two workers, or goes on with what the storage has."""
    executor = MAKERS[name](Resources(workers=2))
    search(executor, Path(storage), seed=int(seed), evaluate=Marked(0.4, Path(pids)))
    executor.close()


def lost_node() -> dict[str, Any]:
    """A cluster of two machines, both on this one; one of them is lost during the search."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True,
                      head_node_args={"num_cpus": 1, "include_dashboard": False})
    node = cluster.add_node(num_cpus=1)
    executor = RayExecutor(Resources(workers=2, address=cluster.address))
    with tempfile.TemporaryDirectory() as root:
        pids = Path(root) / "pids"
        pids.mkdir()

        def lose() -> None:
            wait_for(lambda: len(list(pids.iterdir())) == 2)
            time.sleep(0.7)
            cluster.remove_node(node, allow_graceful=False)

        loser = threading.Thread(target=lose)
        loser.start()
        found = search(executor, Path(root) / "found.journal", seed=SEED,
                       evaluate=Marked(1.0, pids))
        loser.join()
        equal = ledger_equal(reference(Path(root), SEED), found)
    executor.close()
    cluster.shutdown()
    return {"nodes": 2, "lost": 1, "equal": equal}


def reference(folder: Path, seed: int) -> Ledger:
    """Returns the serial ledger of a seed."""
    return search(SerialExecutor(), folder / f"serial-{seed}.journal", seed=seed, evaluate=Toy())


def wait_for(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    """Waits; ends the script if it is in vain."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            sys.exit("BROKEN: nothing happened")
        time.sleep(0.01)


def summary(values: Sequence[float]) -> dict[str, float]:
    """Returns median and extremes."""
    return {"median": round(statistics.median(values), 3), "least": round(min(values), 3),
            "most": round(max(values), 3)}


if __name__ == "__main__":
    main()
