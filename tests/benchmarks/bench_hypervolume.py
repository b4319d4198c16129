"""Is the search better than chance? Evolution against random search, early exits and budget equal.

Both search the shipped supernet for low error and low latency, for ten seeds, once with half of
the space beyond the latency bound and once without a bound. What a network's validation gives is
kept under --work, so a stopped benchmark goes on, and a network is validated once for all.

    python tests/benchmarks/bench_hypervolume.py --work DIR
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _report import write_report

from hardware_profiles.profile import HardwareProfile
from hardware_profiles.profile_file import profile_bytes, read_profile
from hardware_profiles.table import LatencyTable
from nas.core.arch import Arch
from nas.core.pareto import hypervolume
from nas.core.problem import minimized
from nas.core.protocols import Evaluator, Supernet
from nas.core.trial import Outcome
from nas.core.types import FloatArray
from nas.pipeline.compose import Parts, compose, device_profile, load_supernet
from nas.pipeline.config import SearchConfig
from nas.pipeline.device import keep_freed_memory, one_thread
from nas.pipeline.events import silent
from nas.search.driver import drive
from nas.search.ledger import open_ledger

BUDGETS = (32, 64, 128)
SEEDS = range(10)
SETTINGS = {"bounded": 0.5, "unbounded": 1.0}  # share of random networks within the bound
SUPERNET = "mobilenet-fmnist"
# Worse than any network: the shipped weights' smallest has an error of about 9 %.
REFERENCE_ERROR_PERCENT = 12.0
SLOWEST = 1.05  # the reference latency over the bound's, or over the largest network's
RESAMPLES = 10_000
BATCH_SIZE = 8


class Kept:
    """An evaluator whose answers outlive the process, by digest; one JSON line each."""

    def __init__(self, evaluate: Evaluator, path: Path) -> None:
        self._evaluate = evaluate
        self._path = path
        lines = path.read_text().splitlines() if path.is_file() else []
        self._found: dict[str, dict[str, float]] = dict(map(json.loads, lines))

    def __call__(self, arch: Arch) -> Mapping[str, float]:
        """Returns the metrics of an architecture."""
        if arch.digest not in self._found:
            self._found[arch.digest] = dict(self._evaluate(arch))
            with self._path.open("a") as file:
                file.write(json.dumps([arch.digest, self._found[arch.digest]]) + "\n")
        return self._found[arch.digest]


def kept_profile(supernet: Supernet, folder: Path) -> HardwareProfile:
    """Returns the profile of this machine that the first run of this benchmark used."""
    path = folder / "profile.json"
    if not path.is_file():
        config = SearchConfig(supernet=SUPERNET)
        path.write_bytes(profile_bytes(device_profile(config, supernet, watch=silent)))
    return read_profile(path)


def values(parts: Parts, outcomes: Sequence[Outcome]) -> FloatArray:
    """Returns error and latency of every outcome, (N, 2)."""
    failed = [outcome.error for outcome in outcomes if not outcome.ok]
    if failed:
        raise SystemExit(f"{len(failed)} networks failed, the first with: {failed[0]}")
    return minimized(parts.problem.objectives, [outcome.metrics for outcome in outcomes])


def searched(parts: Parts, config: SearchConfig, evaluate: Evaluator) -> FloatArray:
    """Returns the objectives of all that a search validated, (budget, 2), in its order."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = open_ledger(Path(folder) / "ledger", space=parts.problem.space,
                             objectives=parts.problem.objectives, identity=config.identity())
        return values(parts, drive(parts.searcher, parts.executor, evaluate, ledger,
                                   budget=config.budget, batch_size=config.ask))


def interval(sample: FloatArray, statistic: Callable[..., FloatArray]) -> list[float]:
    """Returns the 95 % bootstrap percentile interval of a statistic of a sample."""
    rng = np.random.default_rng(0)
    drawn = rng.choice(sample, size=(RESAMPLES, len(sample)))
    return [float(edge) for edge in np.quantile(statistic(drawn, axis=1), (0.025, 0.975))]


def compared(evolution: FloatArray, chance: FloatArray) -> dict[str, Any]:
    """Returns one budget's row from the hypervolumes by seed, (seeds,) each."""
    ratio = evolution / chance
    return {"evolution": evolution.tolist(), "random": chance.tolist(),
            "higher_in": int((evolution > chance).sum()), "of": len(ratio),
            "median_ratio": float(np.median(ratio)), "interval_95": interval(ratio, np.median)}


def setting(share: float, supernet: Supernet, profile: HardwareProfile,
            folder: Path) -> dict[str, Any]:
    """Returns the comparison for one bound."""
    table = LatencyTable(profile, supernet.vocabulary, supernet.block_ids)
    drawn = supernet.space.sample_codes(10_000, np.random.default_rng(0))
    largest = supernet.space.encode([supernet.space.extreme(largest=True)])
    bound = (float(np.quantile(table.predict("latency_ms", drawn).upper, share)) if share < 1
             else None)
    slowest = bound or float(table.predict("latency_ms", largest).value[0])
    reference = np.array([REFERENCE_ERROR_PERCENT, SLOWEST * slowest])
    volumes: dict[tuple[str, int], list[float]] = {}
    for seed in SEEDS:
        runs = [("evolution", budget) for budget in BUDGETS] + [("random", max(BUDGETS))]
        for name, budget in runs:
            config = SearchConfig(supernet=SUPERNET, searcher=name, budget=budget, seed=seed,
                                  ask=BATCH_SIZE, max_latency_ms=bound)
            parts = compose(config, watch=silent, profile=profile)
            found = searched(parts, config, Kept(parts.evaluate, folder / "validated.jsonl"))
            if (found >= reference).any():
                raise SystemExit(f"a network is beyond the reference point {reference.tolist()}")
            # What random search tries first does not depend on how much it may try.
            for size in BUDGETS if name == "random" else (budget,):
                volumes.setdefault((name, size), []).append(hypervolume(found[:size], reference))
        print(f"  seed {seed}: " + ", ".join(
            f"{size}: {volumes['evolution', size][-1] / volumes['random', size][-1]:.4f}"
            for size in BUDGETS), flush=True)
    return {"max_latency_ms": bound, "share_within_bound": share,
            "reference": {"error_percent": reference[0], "latency_ms": reference[1]},
            "budgets": {str(size): compared(np.array(volumes["evolution", size]),
                                            np.array(volumes["random", size]))
                        for size in BUDGETS}}


def main() -> None:
    """Runs both settings and writes the report after each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True)
    folder: Path = parser.parse_args().work
    folder.mkdir(parents=True, exist_ok=True)
    keep_freed_memory()
    supernet = load_supernet(SUPERNET)
    profile = kept_profile(supernet, folder)
    found: dict[str, Any] = {}
    with one_thread():
        for name, share in SETTINGS.items():
            print(name, flush=True)
            found[name] = setting(share, supernet, profile, folder)
            for size, row in found[name]["budgets"].items():
                print(f"budget {size}: higher in {row['higher_in']} of {row['of']}, median ratio "
                      f"{row['median_ratio']:.4f} {row['interval_95']}", flush=True)
            write_report("hypervolume", {"searchers": ["evolution", "random"], **found},
                         seed=SEEDS[0])


if __name__ == "__main__":
    main()
