"""Which searcher finds most on the shipped supernet? Hypervolume at 32, 64 and 128 validations.

A network is validated once for all runs and kept under --work, so a stopped benchmark goes on.

    python tests/benchmarks/bench_search_shipped.py --work DIR [--only linas evolution random]
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from _report import write_report
from bench_exits import curve, reference_point
from bench_hypervolume import Kept, interval, kept_profile, searched

from nas.core.types import FloatArray
from nas.pipeline.compose import compose, load_supernet
from nas.pipeline.config import SearchConfig
from nas.pipeline.device import keep_freed_memory, one_thread
from nas.pipeline.events import silent

SUPERNET = "mobilenet-fmnist"
SEARCHERS = ("linas", "evolution", "random")
BUDGETS = (32, 64, 128)
SEEDS = range(5)


def row(volumes: dict[str, list[FloatArray]], size: int) -> dict[str, Any]:
    """Returns one budget's hypervolumes by searcher, and each one's ratio to random search's."""
    at = {name: np.array([one[size - 1] for one in curves]) for name, curves in volumes.items()}
    seeds = min(map(len, at.values()))
    out: dict[str, Any] = {"seeds": seeds}
    for name, found in at.items():
        ratio = found[:seeds] / at["random"][:seeds]
        out[name] = {"hypervolume": found.tolist(), "median": float(np.median(found)),
                     "ratio_to_random": float(np.median(ratio)),
                     "interval_95": interval(ratio, np.median)}
    return out


def main() -> None:
    """Runs every searcher with every seed; the report is written after each seed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--only", nargs="+", default=list(SEARCHERS))
    parser.add_argument("--budget", type=int, default=max(BUDGETS))
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    keep_freed_memory()
    supernet = load_supernet(SUPERNET)
    profile = kept_profile(supernet, options.work)
    reference = reference_point(supernet, profile)
    volumes: dict[str, list[FloatArray]] = {name: [] for name in options.only}
    with one_thread():
        for seed in SEEDS:
            for name in options.only:
                config = SearchConfig(supernet=SUPERNET, searcher=name, budget=options.budget,
                                      seed=seed)
                parts = compose(config, watch=silent, profile=profile, supernet=supernet)
                kept = Kept(parts.evaluate, options.work / "validated.jsonl")
                volumes[name].append(curve(searched(parts, config, kept), reference))
            figures = {str(size): row(volumes, size) for size in BUDGETS if size <= options.budget}
            print(f"seed {seed}", {size: {name: one[name]["ratio_to_random"]
                                          for name in options.only}
                                   for size, one in figures.items()}, flush=True)
            write_report("search_shipped", {"reference": reference.tolist(),
                                            "budget_option": options.budget, **figures}, seed=0)


if __name__ == "__main__":
    main()
