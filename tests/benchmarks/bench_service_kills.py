"""SIGKILL of the server or of a worker at random moments of a job, and what comes of the job.

Each of the jobs is killed once, at a random moment of the time that it takes unkilled; one more is
killed whenever it has come further since the last time. After the kill of the server it is started
again, as a supervisor would. In the end each job's ledger and front must be those of the same
search that nothing has disturbed, run by the command line.

    python tests/benchmarks/bench_service_kills.py [KILLS] [--no-report]
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from _report import write_report
from _service import PATIENCE_S, Service, environment

from nas.pipeline.compose import load_supernet
from nas.pipeline.run_dir import RunDir
from nas.search.ledger import Ledger, ledger_equal, read_ledger

SEED = 0
NO_REPORT = "--no-report"
KILLS = 10
BUDGET = 12
SEARCHES: tuple[Mapping[str, Any], ...] = (
    {"seed": 1}, {"seed": 2, "searcher": "evolution"},
    {"seed": 3, "executor": "process", "workers": 2}, {"seed": 4, "searcher": "optuna-tpe"},
    {"seed": 5, "max_macs": 1_500_000})


def main() -> None:
    """Kills, compares, prints and writes the report."""
    options = [argument for argument in sys.argv[1:] if argument != NO_REPORT]
    kills = int(options[0]) if options else KILLS
    rng = np.random.default_rng(SEED)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        cache = root / "cache"
        uninterrupted(root, cache, 0, name="warm-up")  # measures the profile
        expected = [uninterrupted(root, cache, number) for number in range(len(SEARCHES))]
        service = Service(root / "data", cache)
        service.start()
        rows = []
        for number in range(kills):
            rows.append(one_kill(service, expected, number, rng))
            print(json.dumps(rows[-1]), flush=True)
        chain = killed_again_and_again(service, expected[0], kills)
        print(json.dumps(chain), flush=True)
        service.stop()
    figures = {"budget": BUDGET, "kills": rows, "one_job_killed_again_and_again": chain,
               "equal": sum(row["equal"] for row in rows) + int(chain["equal"])}
    if NO_REPORT not in sys.argv:
        print(write_report("service_kills", figures, seed=SEED))
    if not all(row["equal"] for row in (*rows, chain)):
        raise SystemExit("a job differs from the search that nothing disturbed")


def uninterrupted(root: Path, cache: Path, number: int, *, name: str = "expected") -> Path:
    """Runs a search by the command line and returns its folder."""
    folder = root / f"{name}-{number}"
    options = [part for name, value in {"budget": BUDGET, **SEARCHES[number]}.items()
               for part in (f"--{name.replace('_', '-')}", str(value))]
    subprocess.run([str(Path(sys.executable).with_name("nas")), "search", *options, "--out",
                    str(folder)], env=environment(cache), check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    return folder


def one_kill(service: Service, expected: list[Path], number: int,
             rng: np.random.Generator) -> dict[str, Any]:
    """Runs one job with one kill."""
    which = number % len(SEARCHES)
    victim = "server" if number % 2 else "worker"
    job = service.submit("search", {"budget": BUDGET, **SEARCHES[which]})
    service.wait(job, states=("running", "failed"))
    after_s = float(rng.uniform(0.2, 1.0) * duration_s(expected[which]))
    time.sleep(after_s)
    state, validated = service.job(job), service.validated(job)
    strike(service, victim)
    found = service.wait(job)
    return {"search": which, "victim": victim, "after_s": round(after_s, 2),
            "state_at_kill": state["state"], "validations_at_kill": validated,
            "state": found["state"], "ran_s": round(found["ran_s"], 1),
            "equal": equal(service.data / "jobs" / job / "run", expected[which])}


def killed_again_and_again(service: Service, expected: Path, most: int) -> dict[str, Any]:
    """Runs one job that is killed after each new validation, in turn server and worker."""
    job = service.submit("search", {"budget": BUDGET, **SEARCHES[0]})
    kills, seen = 0, 0
    while kills < most:
        found = service.wait_for_more(job, seen)
        if found["state"] not in ("queued", "running"):
            break
        seen = service.validated(job)
        strike(service, "server" if kills % 2 else "worker")
        kills += 1
    found = service.wait(job)
    return {"kills": kills, "state": found["state"], "ran_s": round(found["ran_s"], 1),
            "equal": equal(service.data / "jobs" / job / "run", expected)}


def strike(service: Service, victim: str) -> None:
    """Kills the server, and starts it again, or the worker."""
    if victim == "server":
        service.kill()
        service.start()
        return
    before = service.workers()
    for worker in before:
        os.kill(worker, signal.SIGKILL)
    end = time.monotonic() + PATIENCE_S
    while not set(service.workers()) - set(before):
        if time.monotonic() > end:
            raise RuntimeError("the worker was not started again")
        time.sleep(0.1)


def duration_s(folder: Path) -> float:
    """Returns how long an undisturbed search took."""
    return float(json.loads((folder / "pareto.json").read_text())["wall_s"])


def equal(run: Path, expected: Path) -> bool:
    """Whether two runs have one ledger and one front."""
    fronts = [json.loads((folder / "pareto.json").read_text())["pareto"]
              for folder in (run, expected)]
    return fronts[0] == fronts[1] and ledger_equal(ledger(run), ledger(expected))


def ledger(run: Path) -> Ledger:
    """Returns the ledger of a run folder."""
    folder, config, _ = RunDir.open(run)
    storage, study = folder.ledger(config)
    return read_ledger(storage, space=load_supernet(config.supernet).space,
                       objectives=config.objective_values(), study_name=study)


if __name__ == "__main__":
    main()
