"""Is it worth validating on a fifth of the images first? On the shipped supernet, at equal cost.

How well the first images rank networks as all of them do: over random networks, and among those
near the front, which is where a search has to choose; networks and their full errors come from the
table that `bench_subnets.py` made. Then searches of one budget with and without the cascade, with
halving in use whatever it is worth as well as under the rule that asks for a rank correlation
first; MACs stand for latency, so that the figures do not depend on this machine. What a validation
gives is kept under --work, so a stopped benchmark goes on.

    python tests/benchmarks/bench_cascade.py --work DIR --seeds 5
"""

import argparse
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from _report import write_report
from bench_subnets import SUPERNET, read

from nas.core.arch import Arch
from nas.core.costs import ClosedFormCosts
from nas.core.pareto import hypervolume, sort_fronts
from nas.core.problem import Objective, Problem, minimized
from nas.core.protocols import Executor, Screening, Supernet
from nas.core.trial import Outcome
from nas.core.types import FloatArray, IntArray
from nas.evaluation.first_images import FirstImages
from nas.evaluation.halving import Halving, HalvingConfig
from nas.evaluation.inherited import InheritedEvaluator
from nas.evaluation.trust import measure_trust
from nas.execution.serial import SerialExecutor
from nas.pipeline.compare_figures import interval
from nas.pipeline.compose import CASCADE_SHARE, load_supernet
from nas.pipeline.device import keep_freed_memory, one_thread
from nas.search.evolution import EarlyExitEvolution

BUDGET, ASK = 64, 8
NETWORKS = 100  # of each kind in the correlation
FRONTS = 3  # of the table, that are near the front
OBJECTIVES = (Objective("error", "%"), Objective("macs", "MAC"))
REFERENCE = np.array([12.0, 6e6])  # worse than any network of the space
ALWAYS, NEVER = HalvingConfig(least=-0.999), HalvingConfig(pairs=10**9)
WAYS = {"plain": (None, ASK), "cascade": (HalvingConfig(), 3 * ASK),
        "cascade in use from 24 pairs on": (ALWAYS, 3 * ASK),
        "plain, batches of the cascade": (NEVER, 3 * ASK)}


class Kept:
    """Answers that outlive the process, by digest, with the CPU seconds they took."""

    def __init__(self, inner: Any, path: Path) -> None:
        self._inner = inner
        self._path = path
        lines = path.read_text().splitlines() if path.is_file() else []
        self._found: dict[str, tuple[dict[str, float], float]] = {
            digest: (metrics, seconds) for digest, metrics, seconds in map(json.loads, lines)}
        for name in ("images", "of", "cost"):
            setattr(self, name, getattr(inner, name, None))

    def __call__(self, arch: Arch) -> Mapping[str, float]:
        """Returns the metrics of an architecture."""
        if arch.digest not in self._found:
            started = time.process_time()
            metrics = dict(self._inner(arch))
            self._found[arch.digest] = metrics, time.process_time() - started
            with self._path.open("a") as file:
                file.write(json.dumps([arch.digest, *self._found[arch.digest]]) + "\n")
        return self._found[arch.digest][0]

    @property
    def seconds(self) -> float:
        """The median of what one took."""
        return float(np.median([seconds for _, seconds in self._found.values()]))


def correlation(codes: IntArray, values: FloatArray, supernet: Supernet,
                first: Kept) -> dict[str, Any]:
    """Returns how well the first images rank networks whose (error, MACs) (N, 2) are known."""
    part = np.array([first(arch)["error"] for arch in supernet.space.decode(codes)])
    trust = measure_trust(-part, -values[:, 0], values[:, 1:], confidence=0.95)
    assert trust is not None
    return {"networks": trust.pairs, "spearman": trust.spearman,
            "at_equal_macs": trust.at_equal_cost, "ci95": [trust.low, trust.high],
            "sd_of_difference_points": float((part - values[:, 0]).std()),
            "sd_of_error_points": float(values[:, 0].std())}


def searched(supernet: Supernet, full: Kept, first: Kept, config: HalvingConfig | None,
             ask: int, seed: int) -> tuple[float, dict[str, float]]:
    """Returns the hypervolume of a search, and how many validations of which kind it made."""
    problem = Problem(space=supernet.space, objectives=OBJECTIVES, seed=seed, screen=_all_pass)
    searcher = EarlyExitEvolution(problem, budget=BUDGET)
    executor: Executor = SerialExecutor()
    if config is not None:
        executor = Halving(executor, first, objectives=OBJECTIVES, known=["macs"], config=config)
    outcomes: list[Outcome] = []
    while True:
        left = BUDGET - sum(outcome.cost for outcome in outcomes)
        price = executor.cost if isinstance(executor, Halving) else float
        n = next((n for n in range(ask, 0, -1) if price(n) <= left + 1e-9), 0)
        if not n:
            break
        if isinstance(executor, Halving):
            executor.recall([])
        batch = sorted(executor.run(full, searcher.ask(n)), key=lambda o: o.trial.id)
        searcher.tell(batch)
        outcomes += batch
    final = minimized(OBJECTIVES, [outcome.metrics for outcome in outcomes if outcome.final])
    return hypervolume(final, REFERENCE), {
        "full": len(final), "partial": len(outcomes) - len(final),
        "cost": sum(outcome.cost for outcome in outcomes)}


def _all_pass(codes: IntArray) -> Screening:
    return Screening(np.ones(len(codes), dtype=np.bool_), {})


def compared(supernet: Supernet, full: Kept, first: Kept,
             seeds: int) -> Iterator[dict[str, Any]]:
    """Yields after each seed each way's hypervolumes, and their ratios to the plain way's."""
    volumes: dict[str, list[float]] = {name: [] for name in WAYS}
    counts: dict[str, list[dict[str, float]]] = {name: [] for name in WAYS}
    for seed in range(seeds):
        for name, (config, ask) in WAYS.items():
            volume, count = searched(supernet, full, first, config, ask, seed)
            volumes[name].append(volume)
            counts[name].append(count)
        print(f"seed {seed}: " + ", ".join(f"{name} {row[-1] / volumes['plain'][-1]:.4f}"
                                           for name, row in volumes.items()), flush=True)
        yield {name: _row(volumes[name], counts[name], volumes["plain"]) for name in WAYS}


def _row(volumes: list[float], counts: list[dict[str, float]],
         plain: list[float]) -> dict[str, Any]:
    ratio = np.array(volumes) / np.array(plain)
    return {"hypervolume": volumes, "validations": counts,
            "median_ratio_to_plain": float(np.median(ratio)), "ci95": interval(ratio),
            "higher_in": int((ratio > 1).sum()), "of": len(ratio)}


def main() -> None:
    """Measures both and writes the report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    keep_freed_memory()
    supernet = load_supernet(SUPERNET)
    closed = ClosedFormCosts(supernet.vocabulary, supernet.block_ids)
    plain, begun = (InheritedEvaluator(supernet, cost_models=[closed], metrics=["macs"])
                    for _ in range(2))
    first = Kept(FirstImages(begun, share=CASCADE_SHARE), options.work / "first.jsonl")
    full = Kept(plain, options.work / "full.jsonl")
    codes, values = read()
    near = np.concatenate(sort_fronts(values)[:FRONTS])[:NETWORKS]
    with one_thread():
        figures: dict[str, Any] = {
            "images": first.images, "of": first.of, "cost_in_full_validations": first.cost,
            "random": correlation(codes[:NETWORKS], values[:NETWORKS], supernet, first),
            "near_front": correlation(codes[near], values[near], supernet, first),
            "budget": BUDGET, "reference": REFERENCE.tolist()}
        print(figures, flush=True)
        for rows in compared(supernet, full, first, options.seeds):
            write_report("cascade", {
                **figures, "searches": rows, "cpu_seconds": {
                    "first_images": first.seconds, "all_images": full.seconds}}, seed=0)


if __name__ == "__main__":
    main()
