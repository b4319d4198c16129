"""A searched front of `var-fmnist` against VARiant's equidistant subnets.

One search with three objectives (cross-entropy of held-out token maps, predicted latency of this
machine, bytes of key-value caches). For each of some members of VARiant's family, the best network
of the front by cross-entropy that is no slower, and the best that takes no more bytes. Each of them
makes 2,000 images for each of three seeds. Cross-entropy is of the split that was searched on and
of the test split.

    python tests/benchmarks/bench_var_front.py --run DIR [--searcher linas]
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _report import write_report
from _var import SAMPLES, SEEDS, Bench

from nas.core.arch import Arch, make_arch
from nas.pipeline.compose import compose
from nas.pipeline.config import make_config
from nas.pipeline.device import keep_freed_memory
from nas.pipeline.events import silent
from nas.pipeline.search import run_search
from supernets.var.presets import FMNIST
from supernets.var.space import build_space, variant_arch

SPACE = build_space(FMNIST)
MEMBERS = {f"N={bridge} d={depth}": variant_arch(FMNIST, bridge=bridge, depth=depth)
           for bridge, depth in ((4, 2), (3, 2), (2, 2))}
LIMITS = {"no slower": "latency_ms", "no more cache": "kv_bytes"}


def searched(run: Path, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the points of a finished search's front; searches where there is none."""
    if not (run / "pareto.json").exists():
        run_search(make_config({**settings, "out": run}))
    points: list[dict[str, Any]] = json.loads((run / "pareto.json").read_text())["pareto"]
    return points


def best_within(points: list[dict[str, Any]], metric: str, limit: float) -> dict[str, Any]:
    """Returns the point of the least error whose cost is within a member's."""
    return min((point for point in points if point["metrics"][metric] <= limit * (1 + 1e-9)),
               key=lambda point: point["metrics"]["error"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True, help="run folder, made if absent")
    parser.add_argument("--searcher", default="evolution")
    parser.add_argument("--budget", type=int, default=40)
    args = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    settings = {"supernet": "var-fmnist", "device": "host", "searcher": args.searcher,
                "objectives": ("error", "latency_ms", "kv_bytes"), "budget": args.budget, "seed": 0}
    points = searched(args.run, settings)
    parts = compose(make_config({**settings, "out": args.run}), watch=silent)
    bench = Bench()
    made: dict[str, dict[str, Any]] = {}

    def figures(arch: Arch) -> dict[str, Any]:
        if arch.digest not in made:
            made[arch.digest] = {"digest": arch.digest, "arch": arch.as_dict(),
                                 **{name: parts.evaluate(arch)[name] for name in
                                    ("error", "latency_ms", "kv_bytes")},
                                 "test_error": bench.validated(arch)["error"],
                                 **bench.figures(arch)}
        return made[arch.digest]

    rows = []
    for name, member in MEMBERS.items():
        own = figures(member)
        row: dict[str, Any] = {"member": name, "equidistant": own}
        for what, metric in LIMITS.items():
            point = best_within(points, metric, own[metric])
            found = figures(make_arch(SPACE, point["arch"]))
            row[what] = found
            row[f"{what}: difference"] = {
                "error": round(found["error"] - own["error"], 3),
                "test_error": round(found["test_error"] - own["test_error"], 3),
                "fid": round(found["fid_mean"] - own["fid_mean"], 3),
                "fid_of_seeds": list(np.round(np.subtract(found["fid"], own["fid"]), 3))}
        rows.append(row)
    print(write_report("var_front", {
        "samples": SAMPLES, "seeds": SEEDS, "searcher": args.searcher, "budget": args.budget,
        "space": SPACE.size, "front": points, "configurations": len(made), "rows": rows},
        seed=0))


if __name__ == "__main__":
    main()
