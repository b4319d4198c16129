"""Do zero-cost proxies rank the networks of the shipped supernet as validation does?

200 random networks with inherited weights against every proxy, once on fresh weights and once on
the inherited ones; over all sizes, and at equal multiply-adds, which is what an early exit needs.
A stopped benchmark goes on where it was.

    python tests/benchmarks/bench_rank.py --work DIR
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from _report import write_report

from nas.evaluation.proxy_scores import Weights
from nas.evaluation.trust import measure_trust
from nas.pipeline.device import keep_freed_memory
from nas.pipeline.events import Event
from nas.pipeline.rank import RankRequest, rank
from nas.pipeline.rank_store import FOUND, TRUTH
from predictors.registry import PROXIES

NETWORKS = 200
COST = "macs"
ALL = tuple(entry.name for entry in PROXIES.builtin)
# On trained weights too, those that read weights or data and are cheap enough for an early exit.
AGAIN = ("gradsign", "grad_norm", "snip", "fisher", "synflow", "naswot", "zico", "macs")


def watch(event: Event) -> None:
    """Prints progress now and then."""
    if event.done % 20 == 0:
        print(f"{event.done} of {event.total}", flush=True)


def columns(folder: Path) -> dict[str, dict[str, float]]:
    """Returns by column and network what a ranking found."""
    found: dict[str, dict[str, float]] = {}
    for line in (folder / FOUND).read_text().splitlines():
        network, column, value, _, _ = json.loads(line)
        found.setdefault(column, {})[network] = np.nan if value is None else value
    return found


def ranked(weights: Weights, folder: Path, against: str, proxies: tuple[str, ...]
           ) -> dict[str, Any]:
    """Returns each proxy's row, with the correlation at equal cost."""
    payload = rank(RankRequest(proxies=proxies, n=NETWORKS, against=against, weights=weights,
                               out=folder), watch=watch).payload
    return {row["name"]: dict(row) for row in payload["proxies"]}


def at_equal_cost(scores: dict[str, float], truth: dict[str, float],
                  cost: dict[str, float]) -> dict[str, float] | None:
    """Returns the partial rank correlation of one proxy with its 90 % interval."""
    there = [name for name, value in scores.items() if not np.isnan(value)]
    found = measure_trust(np.array([scores[name] for name in there]),
                          np.array([truth[name] for name in there]),
                          np.array([[cost[name]] for name in there]), confidence=0.9)
    if found is None or found.at_equal_cost is None:
        return None
    return {"value": found.at_equal_cost, "low": found.low, "high": found.high}


def main() -> None:
    """Ranks twice and writes the report after each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True)
    work: Path = parser.parse_args().work
    keep_freed_memory()
    figures: dict[str, Any] = {"networks": NETWORKS, "cost": COST}
    labels = work / "labels.csv"
    truth: dict[str, float] = {}
    choices: tuple[tuple[Weights, tuple[str, ...]], ...] = (("fresh", ALL), ("inherited", AGAIN))
    for weights, proxies in choices:
        folder = work / weights
        rows = ranked(weights, folder, str(labels) if truth else "validation", proxies)
        found = columns(folder)
        truth = truth or found[TRUTH]
        labels.write_text("digest,value\n" + "".join(
            f"{name},{value!r}\n" for name, value in truth.items()))
        for name, row in rows.items():
            row["at_equal_cost"] = at_equal_cost(found[name], truth, found[COST])
            print(f"{weights} {name}: ρ {row['spearman']:.3f}, at equal {COST} "
                  f"{row['at_equal_cost']}, {row['seconds_per_arch']:.3f} s", flush=True)
        figures[weights] = rows
        print(write_report("rank", figures, seed=0))


if __name__ == "__main__":
    main()
