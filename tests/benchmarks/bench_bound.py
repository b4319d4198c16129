"""Does a search with a latency bound keep it? Ten winners, exported and measured.

Bounds run from tight to loose over the latencies of the space; each search has a seed of its own.
A winner is measured once, as the exported file, by the search itself.

    python tests/benchmarks/bench_bound.py --work DIR
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from _report import write_report

from hardware_profiles.table import LatencyTable
from nas.pipeline.compose import device_profile, load_supernet
from nas.pipeline.config import SearchConfig
from nas.pipeline.device import keep_freed_memory
from nas.pipeline.events import silent
from nas.pipeline.search import run_search

SUPERNET = "mobilenet-fmnist"
SHARES = np.linspace(0.05, 0.95, 10)  # of random networks that keep the bound
BUDGET = 16
NOISE = 1.05  # what a single measurement may be off
GATE = 0.95


def bounds() -> list[float]:
    """Returns one bound a search, in ms."""
    supernet = load_supernet(SUPERNET)
    profile = device_profile(SearchConfig(supernet=SUPERNET), supernet, watch=silent)
    table = LatencyTable(profile, supernet.vocabulary, supernet.block_ids)
    codes = supernet.space.sample_codes(10_000, np.random.default_rng(0))
    return [float(bound) for bound in np.quantile(table.predict("latency_ms", codes).upper, SHARES)]


def main() -> None:
    """Runs the searches and writes the report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True)
    folder: Path = parser.parse_args().work
    keep_freed_memory()
    rows: list[dict[str, Any]] = []
    for seed, bound in enumerate(bounds()):
        best = run_search(SearchConfig(supernet=SUPERNET, max_latency_ms=bound, budget=BUDGET,
                                       seed=seed, out=folder / f"run-{seed}")).payload["best"]
        rows.append({"seed": seed, "bound_ms": bound, "digest": best["digest"],
                     "predicted_ms": best["metrics"]["latency_ms"],
                     "measured_ms": best["measured_latency_ms"],
                     "measured_over_bound": best["measured_latency_ms"] / bound})
        print(rows[-1], flush=True)
    ratios = np.array([row["measured_over_bound"] for row in rows])
    kept = float((ratios <= NOISE).mean())
    strictly = float((ratios <= 1.0).mean())
    print(f"kept within {NOISE - 1:.0%} noise by {kept:.0%}, strictly by {strictly:.0%}")
    print(write_report("bound", {
        "budget": BUDGET, "gate": GATE, "noise": NOISE, "kept": kept,
        "kept_strictly": strictly, "rows": rows}, seed=0))


if __name__ == "__main__":
    main()
