"""How many validations do searchers need on NAS-Bench-201? Ours, pymoo's, Optuna's; three devices.

Every run is kept under --work, so a stopped benchmark goes on. V1: latency is known only once an
architecture is evaluated; V2: beforehand, as from a latency table.

    python tests/benchmarks/bench_searchers.py --work DIR [--only linas evolution] [--seeds 20]
"""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _peers import PEERS
from _report import FOLDER, write_report
from _tabular import TARGETS, Benchmark, benchmarks, until
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from nas.core.problem import minimized
from nas.core.types import FloatArray
from nas.execution.serial import SerialExecutor
from nas.pipeline.config import SearchConfig
from nas.search.factory import make_searcher
from supernets.nasbench201.space import SPACE

DEFAULTS = SearchConfig()  # the searchers' settings are those of the shipped supernet's searches
OURS = ("linas", "evolution", "nsga2", "local", "random", "optuna-tpe", "optuna-nsga2",
        "optuna-nsga3", "optuna-qmc")
SAME_FOR_BOTH = (*OURS[1:], *PEERS)  # make nothing of a latency that is known
CAP = 1000
CAPS = {"linas": 400}
MARKS = (32, 64, 128, 256)


def ours(name: str, bench: Benchmark, seed: int, *, known: bool, cap: int,
         ask: int) -> FloatArray:
    """Returns the objectives of what one of our searchers evaluates, (≤ cap, 2)."""
    problem = bench.problem(seed, latency_known=known)
    searcher = make_searcher(name, problem, budget=DEFAULTS.budget)
    found = np.empty((0, 2))
    while len(found) < cap:
        batch = list(SerialExecutor().run(bench.evaluate, searcher.ask(ask)))
        if not batch:
            break
        searcher.tell(batch)
        found = np.concatenate([found, minimized(problem.objectives,
                                                 [outcome.metrics for outcome in batch])])
        if until(bench.curve(found), TARGETS[-1]) is not None and len(found) >= MARKS[2]:
            break
    return found[:cap]


class Kept:
    """Curves by (searcher, device, variant, seed), one JSON line each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = path.read_text().splitlines() if path.is_file() else []
        self.runs: dict[tuple[str, str, str, int], dict[str, Any]] = {}
        for line in lines:
            row = json.loads(line)
            self.runs[tuple(row["key"])] = row

    def add(self, key: tuple[str, str, str, int], curve: FloatArray, cpu_s: float) -> None:
        """Keeps one run."""
        self.runs[key] = {"key": key, "curve": [round(share, 5) for share in curve.tolist()],
                          "cpu_s": round(cpu_s, 2)}
        with self._path.open("a") as file:
            file.write(json.dumps(self.runs[key]) + "\n")


def run(name: str, bench: Benchmark, seed: int, variant: str, ask: int) -> FloatArray:
    """Returns the hypervolume's share after each evaluation of one run."""
    cap = CAPS.get(name, CAP)
    found = (PEERS[name](SPACE, bench.values, cap, seed) if name in PEERS
             else ours(name, bench, seed, known=variant == "V2", cap=cap, ask=ask))
    return bench.curve(found)


def row(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns what the report says of one searcher on one problem."""
    out: dict[str, Any] = {"seeds": len(runs),
                           "cpu_s_per_run": float(np.median([one["cpu_s"] for one in runs])),
                           "networks": [min(len(one["curve"]) for one in runs),
                                        max(len(one["curve"]) for one in runs)]}
    for target in TARGETS:
        counts = [until(one["curve"], target) for one in runs]
        arrived = [np.inf if count is None else count for count in counts]
        quartiles = [None if np.isinf(q) else float(q)
                     for q in np.quantile(arrived, (0.25, 0.5, 0.75), method="inverted_cdf")]
        out[f"to_{target:.0%}"] = {"median": quartiles[1], "quartiles": quartiles[::2],
                                   "arrived": sum(count is not None for count in counts),
                                   "last": None if None in counts else max(counts)}
    for mark in MARKS:
        shares = [one["curve"][min(mark, len(one["curve"])) - 1] for one in runs
                  if len(one["curve"]) >= mark]
        if shares:
            out[f"share_at_{mark}"] = float(np.median(shares))
    return out


def draw(kept: Kept, device: str, names: Sequence[str], path: Path) -> None:
    """Draws median curves of what is missing of the hypervolume, with quartiles."""
    figure = Figure(figsize=(7.2, 4.4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_prop_cycle(color=["black", *colormaps["tab20"].colors[::2],
                               *colormaps["tab20"].colors[1::2]])
    for name in names:
        variant = "V2" if name not in SAME_FOR_BOTH else "V1"
        curves = [one["curve"] for key, one in kept.runs.items() if key[:3] == (
            name, device, variant)]
        if not curves:
            continue
        length = max(map(len, curves))
        filled = np.array([[*curve, *[curve[-1]] * (length - len(curve))] for curve in curves])
        low, middle, high = 100 * (1 - np.quantile(filled, (0.75, 0.5, 0.25), axis=0))
        xs = np.arange(1, length + 1)
        line, = axes.plot(xs, middle, label=name, linewidth=1.6)
        axes.fill_between(xs, low, high, alpha=0.15, color=line.get_color(), linewidth=0)
    axes.set(xscale="log", yscale="log", xlim=(8, CAP), ylim=(0.2, 60), xlabel="validations",
             ylabel="missing of the true front's hypervolume [%]")
    axes.axhline(1.0, color="#9aa5b1", linewidth=0.8, linestyle="--")
    axes.set_title(f"NAS-Bench-201 on {device}: median and quartiles", fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, ncols=2)
    figure.savefig(path)


def main() -> None:
    """Runs what is missing and writes the report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--only", nargs="+", default=[*OURS, *PEERS])
    parser.add_argument("--variants", nargs="+", default=["V1", "V2"])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--ask", type=int, default=DEFAULTS.ask, help="trials at once, of ours")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    kept = Kept(options.work / "searchers.jsonl")
    problems = benchmarks()
    for seed in range(options.seeds):
        for name in options.only:
            for variant in options.variants:
                if variant == "V2" and name in SAME_FOR_BOTH:
                    continue
                for device, bench in problems.items():
                    key = (name, device, variant, seed)
                    if key not in kept.runs:
                        start = time.process_time()
                        curve = run(name, bench, seed, variant, options.ask)
                        kept.add(key, curve, time.process_time() - start)
        print(f"seed {seed} done", flush=True)
    figures: dict[str, Any] = {"targets": TARGETS, "caps": {"all": CAP, **CAPS},
                               "ask": options.ask, "budget_option": DEFAULTS.budget}
    for name in [*OURS, *PEERS]:
        for variant in ("V1", "V2"):
            for device in problems:
                runs = [one for key, one in kept.runs.items() if key[:3] == (name, device, variant)]
                if runs:
                    figures.setdefault(variant, {}).setdefault(name, {})[device] = row(runs)
                    print(variant, name, device, figures[variant][name][device]["to_99%"])
    write_report("searchers", figures, seed=0)
    draw(kept, "raspi", [*OURS, *PEERS], FOLDER / "searchers.png")


if __name__ == "__main__":
    main()
