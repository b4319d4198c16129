"""Two processes on one PostgreSQL study, and what a trial costs in each kind of ledger.

Writes ``docs/benchmarks/join.json``. The search is early-exit evolution over 20 genes; the
evaluator sleeps and then gives numbers made from the digest. Takes some minutes.
"""

import argparse
import itertools
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from _report import write_report
from postgres import Server, server

from nas.core.arch import Arch
from nas.core.problem import Objective, Problem
from nas.core.protocols import Screening
from nas.core.space import Gene, GeneSpace
from nas.core.trial import Outcome, Trial
from nas.execution.serial import SerialExecutor
from nas.search.driver import drive
from nas.search.evolution import EarlyExitEvolution
from nas.search.ledger import Ledger, ledger_equal, open_ledger
from nas.search.sharing import Joining

SPACE = GeneSpace("bench/1", tuple(Gene(f"g{i}", (1, 2, 3, 4)) for i in range(20)))
OBJECTIVES = (Objective("error", "%"), Objective("latency_ms", "ms"))
SEED = 0
TRIALS = 500
BATCH = 8
SLEEPS_MS = (5, 200)


def ledger(storage: Path | str) -> Ledger:
    return open_ledger(storage, space=SPACE, objectives=OBJECTIVES, identity={"seed": SEED})


def search(storage: Path | str, log: Path, *, sleep_s: float, join: Joining | None,
           dies_at: int | None = None) -> None:
    """Does the whole search, and notes what it evaluates."""
    calls = itertools.count()

    def evaluate(arch: Arch) -> Mapping[str, float]:
        with log.open("a") as file:
            file.write(f"{os.getpid()} {arch.digest}\n")
        if next(calls) == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(sleep_s)
        number = int(arch.digest, 16)
        return {"error": number % 101 / 3, "latency_ms": 1.0 + number % 37}

    problem = Problem(space=SPACE, objectives=OBJECTIVES, seed=SEED,
                      screen=lambda codes: Screening(np.ones(len(codes), dtype=np.bool_), {}))
    drive(EarlyExitEvolution(problem, budget=TRIALS), SerialExecutor(), evaluate, ledger(storage),
          budget=TRIALS, batch_size=BATCH, join=join)


def together(*works: Callable[[], None]) -> tuple[float, list[int | None]]:
    """Returns the wall time and the exit codes of processes that start at the same time."""
    context = multiprocessing.get_context("fork")
    started = [context.Process(target=work) for work in works]
    began = time.perf_counter()
    for process in started:
        process.start()
    for process in started:
        process.join()
    return time.perf_counter() - began, [process.exitcode for process in started]


def evaluated(log: Path) -> tuple[int, Counter[str]]:
    lines = [line.split() for line in log.read_text().splitlines()]
    return len(Counter(digest for _, digest in lines)), Counter(pid for pid, _ in lines)


def sharing(postgres: Server, folder: Path, sleep_ms: int) -> dict[str, Any]:
    """Measures one process, two, and two of which one is killed."""
    one, two, killed = (postgres.create(f"{name}_{sleep_ms}") for name in ("one", "two", "killed"))
    for url in (one, two, killed):
        ledger(url)  # its tables are there before the clock runs
    logs = [folder / f"{name}_{sleep_ms}" for name in ("one", "two", "killed")]
    options = {"sleep_s": sleep_ms / 1e3}
    one_s, _ = together(lambda: search(one, logs[0], join=None, **options))
    two_s, codes = together(*2 * [lambda: search(two, logs[1], join=Joining(), **options)])
    killed_s, killed_codes = together(
        lambda: search(killed, logs[2], join=Joining(), dies_at=TRIALS // 5, **options),
        lambda: search(killed, logs[2], join=Joining(), **options))
    (distinct, shares), (distinct_killed, shares_killed) = map(evaluated, logs[1:])
    return {
        "evaluation_ms": sleep_ms, "trials": TRIALS, "exit_codes": codes,
        "one_process_s": round(one_s, 2), "two_processes_s": round(two_s, 2),
        "speed_up": round(one_s / two_s, 3),
        "evaluated_by": sorted(shares.values()),
        "digests_evaluated_twice": sum(shares.values()) - distinct,
        "ledger_equal_to_one_process": ledger_equal(ledger(two), ledger(one)),
        "one_killed": {
            "exit_codes": killed_codes, "seconds": round(killed_s, 2),
            "evaluated_by": sorted(shares_killed.values()),
            "evaluations_lost_with_it": sum(shares_killed.values()) - distinct_killed,
            "trials_in_ledger": len(ledger(killed).outcomes()),
            "ledger_equal_to_one_process": ledger_equal(ledger(killed), ledger(one))},
    }


def recording(storage: Path | str, marks: tuple[int, ...]) -> dict[str, Any]:
    """Measures `Ledger.record` around each number of trials, and reading all at the end."""
    target = ledger(storage)
    archs = SPACE.decode(SPACE.sample_codes(marks[-1], np.random.default_rng(SEED)))
    wall_s, cpu_s = [], []
    for number, arch in enumerate(archs):
        outcome = Outcome(Trial(number, arch), {"error": number / 3, "latency_ms": 1.0})
        batch = {"first": number - BATCH + 1, "counts": {"sampled": number}}
        began = time.perf_counter(), time.process_time()
        target.record(outcome, batch=batch if number % BATCH == BATCH - 1 else None)
        wall_s.append(time.perf_counter() - began[0])
        cpu_s.append(time.process_time() - began[1])
    began = time.perf_counter(), time.process_time()
    assert len(ledger(storage).outcomes()) == marks[-1]
    return {
        "mean_ms_of_all": round(1e3 * float(np.mean(wall_s)), 2),
        "at": {str(mark): {  # of the 500 trials before it
            "median_ms": round(1e3 * float(np.median(wall_s[mark - 500:mark])), 2),
            "cpu_ms": round(1e3 * float(np.mean(cpu_s[mark - 500:mark])), 2)} for mark in marks},
        "open_and_read_all_s": round(time.perf_counter() - began[0], 2),
        "open_and_read_all_cpu_s": round(time.process_time() - began[1], 2),
    }


def main() -> None:
    """Measures and writes the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.parse_args()
    with suppress(KeyboardInterrupt), tempfile.TemporaryDirectory() as name, server() as postgres:
        folder = Path(name)
        figures = {
            "note": "PostgreSQL on the same machine, its fsync off; journal and SQLite on its disk "
                    "with fsync. 20 genes, batches of 8. Where the load average is above the "
                    "number of cores, other work slowed each statement and times mean little.",
            "load_average_before": round(os.getloadavg()[0], 1),
            "record": {
                "journal": recording(folder / "study.journal", (1000, 5000, 10_000)),
                "sqlite": recording(f"sqlite:///{folder / 'study.db'}", (1000,)),
                "postgresql": recording(postgres.create("record"), (1000,))},
            "sharing": [sharing(postgres, folder, sleep_ms) for sleep_ms in SLEEPS_MS],
        }
        print(write_report("join", figures, seed=SEED).read_text())


if __name__ == "__main__":
    main()
