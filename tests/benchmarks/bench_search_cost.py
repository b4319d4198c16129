"""What do searcher and ledger cost, beside the evaluations?

Each of our searchers runs 10,000 trials of the shipped supernet's space through the driver into
the default ledger, batches of 8 (LINAS also of 4, the default), with an evaluation that costs next
to nothing and is not counted.
Then Optuna's samplers through the adapter, ledger included, against plain `study.ask` and `tell` on
SQLite over the same parameters; and the non-dominated sort against pymoo's.
All figures are CPU time of one thread. Plain Optuna on SQLite waits for the disk longer than it
computes: set TMPDIR to a folder in memory, as for the report, which only favours SQLite.

    python tests/benchmarks/bench_search_cost.py [--only NAME …]
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from _report import FOLDER, write_report
from pymoo.functions import is_compiled
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from nas.core.arch import Arch
from nas.core.pareto import sort_fronts
from nas.core.problem import Objective, Problem
from nas.core.protocols import Screening
from nas.core.trial import Outcome
from nas.core.types import FloatArray, IntArray
from nas.execution.serial import SerialExecutor
from nas.pipeline.device import one_thread
from nas.pipeline.knowledge import make_predictor
from nas.search.driver import drive
from nas.search.factory import make_searcher
from nas.search.ledger import open_ledger
from nas.search.optuna_space import SuggestedSpace
from nas.search.quiet import quiet
from supernets.mobilenet.config import build_space
from supernets.mobilenet.presets import FMNIST

# Name in the report → searcher and size of its batches.
OURS = {name: (name, 8) for name in ("random", "evolution", "nsga2", "local", "linas")} | {
    "linas by 4": ("linas", 4)}
MARKS = (1000, 2500, 5000, 10_000)
TRIALS, POPULATION = 300, 40
SAMPLERS: Mapping[str, Callable[[], optuna.samplers.BaseSampler]] = {
    "optuna-tpe": lambda: optuna.samplers.TPESampler(seed=0),
    "optuna-nsga2": lambda: optuna.samplers.NSGAIISampler(seed=0, population_size=POPULATION)}
REPEATS = 9

SPACE = build_space(FMNIST)
OBJECTIVES = (Objective("error", "%"), Objective("latency_ms", "ms"))
_WEIGHTS = np.random.default_rng(0).random((2, len(SPACE.genes)))


def measured(codes: IntArray) -> FloatArray:
    """Returns two objectives that disagree, (N, 2): large networks are good and slow."""
    size = (SPACE.active(codes) * (codes + 1)) @ _WEIGHTS.T
    return np.stack([1000 / size[:, 0], size[:, 1]], axis=1)


class Evaluate:
    """An evaluation that keeps count of its own CPU time."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self, arch: Arch) -> Mapping[str, float]:
        """Returns the objectives."""
        start = time.process_time()
        error, latency = measured(SPACE.encode([arch]))[0].tolist()
        self.seconds += time.process_time() - start
        return {"error": error, "latency_ms": latency}


def problem() -> Problem:
    """Returns a problem whose early exit lets about two thirds pass; latency is known."""
    bound = float(np.quantile(measured(SPACE.sample_codes(4000, np.random.default_rng(1)))[:, 1],
                              0.66))

    def screen(codes: IntArray) -> Screening:
        passed = measured(codes)[:, 1] <= bound
        return Screening(passed, {"latency": int((~passed).sum())})

    return Problem(space=SPACE, objectives=OBJECTIVES, screen=screen, seed=0,
                   known={"latency_ms": lambda codes: measured(codes)[:, 1]},
                   predictor=make_predictor)


def run(name: str, budget: int, marks: Sequence[int], folder: Path, *, batch_size: int = 8,
        **options: int) -> dict[str, Any]:
    """Returns ms of CPU per trial, overall and between marks, of searcher and ledger together."""
    evaluate = Evaluate()
    spent: list[float] = []

    def on_outcome(outcome: Outcome) -> None:
        if outcome.trial.id + 1 in marks:
            spent.append(time.process_time() - begin - evaluate.seconds)

    begin, wall = time.process_time(), time.perf_counter()
    given = problem()
    ledger = open_ledger(folder / f"{name}.journal", space=SPACE, objectives=OBJECTIVES,
                         identity={"searcher": name})
    searcher = make_searcher(name, given, budget=budget, options=options)
    drive(searcher, SerialExecutor(), evaluate, ledger, budget=budget, batch_size=batch_size,
          on_outcome=on_outcome)
    edges = [0.0, *spent]
    counts = [0, *marks]
    between = {str(counts[i + 1]): 1000 * (edges[i + 1] - edges[i]) / (counts[i + 1] - counts[i])
               for i in range(len(marks))}
    return {"trials": budget, "batch_size": batch_size,
            "cpu_ms_per_trial": 1000 * spent[-1] / budget, "cpu_ms_per_trial_up_to": between,
            "counts": dict(searcher.counts),
            "wall_s": time.perf_counter() - wall}


def plain(make: Callable[[], optuna.samplers.BaseSampler], budget: int, folder: Path) -> float:
    """Returns ms of CPU per trial of Optuna's own loop on SQLite, evaluation left out."""
    begin, evaluation = time.process_time(), 0.0
    with quiet():
        sampler = make()
        study = optuna.create_study(storage=f"sqlite:///{folder / 'study.db'}", sampler=sampler,
                                    directions=["minimize", "minimize"])
        suggested = SuggestedSpace(SPACE, sampler)
        for _ in range(budget):
            trial = study.ask()
            codes = suggested.suggest(trial)
            start = time.process_time()
            values = measured(codes)[0].tolist()
            evaluation += time.process_time() - start
            study.tell(trial, values)
    return 1000 * (time.process_time() - begin - evaluation) / budget


def against_plain(name: str, folder: Path) -> dict[str, Any]:
    """Returns what a sampler costs through the adapter and plainly on SQLite."""
    options = {"population": POPULATION} if name == "optuna-nsga2" else {}
    ours = run(name, TRIALS, (TRIALS,), folder, **options)
    theirs = plain(SAMPLERS[name], TRIALS, folder)
    return {"trials": TRIALS, "adapter_and_ledger_cpu_ms_per_trial": ours["cpu_ms_per_trial"],
            "counts": ours["counts"], "sqlite_cpu_ms_per_trial": theirs,
            "times_cheaper": theirs / ours["cpu_ms_per_trial"],
            # Plainly, a sampler's repeats are trials; through the adapter it is asked again.
            "times_cheaper_per_candidate":
                theirs * ours["counts"]["sampled"] / TRIALS / ours["cpu_ms_per_trial"]}


def point_sets() -> dict[str, FloatArray]:
    """Returns sets of 10,000 points by name."""
    rng = np.random.default_rng(0)
    sphere = np.abs(rng.normal(size=(10_000, 3)))
    sphere /= np.linalg.norm(sphere, axis=1)[:, None]
    return {"uniform, 3 objectives": rng.random((10_000, 3)),
            "uniform, 2 objectives": rng.random((10_000, 2)),
            "DTLZ2-like, few fronts": sphere * (1 + 0.02 * rng.random((10_000, 1))),
            "DTLZ2-like, one front": sphere,
            "many fronts": rng.random((10_000, 1)) + 0.003 * rng.random((10_000, 3))}


def sorting() -> dict[str, Any]:
    """Returns ms of both sorts, medians of runs in turn."""
    found: dict[str, Any] = {"pymoo_is_compiled": bool(is_compiled())}
    for name, values in point_sets().items():
        times: dict[str, list[float]] = {"ours_ms": [], "pymoo_ms": []}
        for _ in range(REPEATS):
            for key, sort in (("ours_ms", sort_fronts), ("pymoo_ms", NonDominatedSorting().do)):
                begin = time.process_time()
                fronts = sort(values)
                times[key].append(1000 * (time.process_time() - begin))
        row = {key: statistics.median(sample) for key, sample in times.items()}
        found[name] = {"fronts": len(fronts), **row, "ratio": row["ours_ms"] / row["pymoo_ms"]}
    return found


def main() -> None:
    """Runs what is asked for and writes the report after each part."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="+", default=[*OURS, *SAMPLERS, "sorting"],
                        help="searchers, or sorting; what the report has of the others stays")
    path = FOLDER / "search_cost.json"
    found: dict[str, Any] = (json.loads(path.read_text())["figures"] if path.is_file() else
                             {"space": SPACE.id, "genes": len(SPACE.genes),
                              "ours": {}, "optuna": {}, "sorting": {}})
    with one_thread():
        for name in parser.parse_args().only:
            with tempfile.TemporaryDirectory() as folder:
                if name == "sorting":
                    found["sorting"] = sorting()
                elif name in SAMPLERS:
                    found["optuna"][name] = against_plain(name, Path(folder))
                else:
                    searcher, batch_size = OURS[name]
                    found["ours"][name] = run(searcher, MARKS[-1], MARKS, Path(folder),
                                              batch_size=batch_size)
            shown = found["sorting"] if name == "sorting" else {**found["ours"],
                                                                **found["optuna"]}[name]
            print(name, json.dumps(shown, indent=1), flush=True)
            write_report("search_cost", found, seed=0)


if __name__ == "__main__":
    main()
