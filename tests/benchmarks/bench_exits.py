"""What do proxy and surrogate exits save? Validations to the front of a search without them.

Every search has the same seed, budget and bound; a network is validated once for all searches and
kept under --work, with its score, so a stopped benchmark goes on.

    python tests/benchmarks/bench_exits.py --work DIR [--exits synflow surrogate …]
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from _report import write_report
from bench_hypervolume import REFERENCE_ERROR_PERCENT, SLOWEST, Kept, interval, kept_profile, values

from hardware_profiles.profile import HardwareProfile
from hardware_profiles.table import LatencyTable
from nas.core.pareto import hypervolume
from nas.core.protocols import Supernet
from nas.core.types import FloatArray
from nas.pipeline.compose import compose, load_supernet
from nas.pipeline.config import SearchConfig
from nas.pipeline.device import keep_freed_memory, one_thread
from nas.pipeline.events import silent
from nas.search.driver import drive
from nas.search.ledger import open_ledger

SUPERNET = "mobilenet-fmnist"
BUDGET = 64
BATCH_SIZE = 8
SEEDS = range(5)


def options(exits: str) -> dict[str, Any]:
    """Returns the search options of names joined by +; ``none`` has none."""
    names = [name for name in exits.split("+") if name != "none"]
    return {"proxy": tuple(name for name in names if name != "surrogate"),
            "surrogate": "surrogate" in names}


def curve(found: FloatArray, reference: FloatArray) -> FloatArray:
    """Returns the hypervolume after each validation, (budget,)."""
    return np.array([hypervolume(found[:count + 1], reference) for count in range(len(found))])


def reference_point(supernet: Supernet, profile: HardwareProfile) -> FloatArray:
    """Returns error and latency that every network is better than."""
    table = LatencyTable(profile, supernet.vocabulary, supernet.block_ids)
    largest = supernet.space.encode([supernet.space.extreme(largest=True)])
    slowest = float(table.predict("latency_ms", largest).value[0])
    return np.array([REFERENCE_ERROR_PERCENT, SLOWEST * slowest])


def run(exits: str, seed: int, supernet: Supernet, folder: Path) -> tuple[FloatArray, list[Any]]:
    """Returns the objectives of one search in its order, (budget, 2), and what its exits found."""
    config = SearchConfig(supernet=SUPERNET, searcher="evolution", budget=BUDGET, seed=seed,
                          ask=BATCH_SIZE, **options(exits))
    parts = compose(config, watch=silent, profile=kept_profile(supernet, folder))
    evaluate = Kept(parts.evaluate, folder / "validated.jsonl")
    with tempfile.TemporaryDirectory() as place:
        ledger = open_ledger(Path(place) / "ledger", space=parts.problem.space,
                             objectives=parts.problem.objectives, identity=config.identity())
        outcomes = drive(parts.searcher, parts.executor, evaluate, ledger, budget=BUDGET,
                         batch_size=config.ask, gate=parts.gate)
    report = parts.gate.report() if parts.gate else []
    return values(parts, outcomes), [
        {**found, "left": parts.searcher.counts[found["name"]]} for found in report]


def needed(gained: FloatArray, goal: float) -> int | None:
    """Returns the validations until a curve reaches the goal, None if it never does."""
    reached = np.flatnonzero(gained >= goal)
    return int(reached[0]) + 1 if reached.size else None


def main() -> None:
    """Runs every kind of exits for every seed and writes the report after each kind."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--exits", nargs="+", default=["surrogate", "gradsign", "naswot"])
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    keep_freed_memory()
    supernet = load_supernet(SUPERNET)
    figures: dict[str, Any] = {"budget": BUDGET, "seeds": len(SEEDS)}
    plain: list[FloatArray] = []
    reference = reference_point(supernet, kept_profile(supernet, given.work))
    with one_thread():
        for exits in ("none", *given.exits):
            rows = []
            for seed in SEEDS:
                found, learnt = run(exits, seed, supernet, given.work)
                gained = curve(found, reference)
                if exits == "none":
                    plain.append(gained)
                goal = plain[seed][-1]
                rows.append({"seed": seed, "hypervolume": float(gained[-1]),
                             "over_plain": float(gained[-1] / goal),
                             "needed": needed(gained, goal),
                             "plain_needed": needed(plain[seed], goal), "exits": learnt})
                print(exits, rows[-1], flush=True)
            ratio = np.array([row["over_plain"] for row in rows])
            figures[exits] = {"seeds": rows, "median_over_plain": float(np.median(ratio)),
                              "interval_95": interval(ratio, np.median),
                              "reached_in": sum(row["needed"] is not None for row in rows)}
            print(write_report("exits", figures, seed=SEEDS[0]))


if __name__ == "__main__":
    main()
