"""Few-shot profiles on configurations of this machine that the fit does not know.

    python tests/benchmarks/bench_few_shot.py --work FOLDER

Some 300 networks of each configuration are measured once, into FOLDER; every fit is made from a
few of them and checked on others. Run again, the script only analyses what FOLDER holds.

Two questions: how good is what `--few-shot N` does (networks chosen from thousands, checked on
random ones), and would another number or choice of networks be better (chosen from the measured
ones, several random splits)?
"""

import argparse
import itertools
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from _few_shot_timings import CONFIGURATIONS, Timings, timings
from _report import write_report

from hardware_profiles.calibrate import quality
from hardware_profiles.coverage import choose_rows, whitened
from hardware_profiles.features import network_features
from hardware_profiles.few_shot import assemble_few_shot, plan_few_shot
from hardware_profiles.few_shot_features import feature_sets
from hardware_profiles.host import host_device
from hardware_profiles.plan import draw_networks
from hardware_profiles.profile import HardwareProfile
from hardware_profiles.table import METRIC, LatencyTable
from nas.core.errors import ProfileError
from nas.core.rng import derive_rng
from nas.core.types import IntArray

GATES = {"networks": 20, "spearman": 0.97, "in10": 0.93}
RANDOM_NETS, HELD_OUT = 240, 80
NETS, METHODS = (10, 20, 40), ("d_optimal", "farthest_point", "random")
SEEDS, SPLITS = (0, 1, 2), range(4)


def fit_and_check(of: Timings, fitted: IntArray, tested: IntArray,
                  prior: HardwareProfile | None) -> dict[str, Any]:
    """Returns what a few-shot profile of some networks is worth on others."""
    profile = assemble_few_shot(
        of.space, of.vocabulary.blocks, of.vocabulary.block_ids, of.plan(fitted),
        of.measurement(fitted), device=host_device(), runtime=of.configuration.runtime,
        protocol=of.configuration.protocol, seed=0, prior=prior)
    table = LatencyTable(profile, of.vocabulary.blocks, of.vocabulary.block_ids)
    estimate, measured = table.predict(METRIC, tested), of.latency_ms(tested)
    inside = (estimate.lower <= measured) & (measured <= estimate.upper)
    found = quality(estimate.value, measured).model_dump()
    return {**found, "interval_covers": float(inside.mean()),
            "interval_width": profile.calibration.upper_ratio - profile.calibration.lower_ratio,
            "stated_mape": profile.calibration.held_out.mape, "model": profile.calibration.model}


def as_shipped(of: Timings, prior: HardwareProfile | None) -> list[dict[str, Any]]:
    """Returns how the plan of `--few-shot` does, one row a number of networks and seed."""
    rows = []
    for (nets, seed), codes in planned(of).items():
        chosen = {tuple(row) for row in codes.tolist()}
        others = [row for row in random_nets(of).tolist() if tuple(row) not in chosen]
        tested = np.array(others, dtype=codes.dtype)
        rows.append({"networks": nets, "seed": seed, "tested": len(tested),
                     **fit_and_check(of, codes, tested, prior)})
    return rows


def resampled(of: Timings, prior: HardwareProfile | None) -> list[dict[str, Any]]:
    """Returns the mean and worst of each number and choice of networks over the splits."""
    names = sorted({name for names in feature_sets(of.vocabulary.blocks).values()
                    for name in names})
    found = defaultdict(list)
    for split in SPLITS:
        rng = derive_rng(split, "split")
        codes = random_nets(of)
        codes = np.concatenate([codes[:2], codes[2 + rng.permutation(len(codes) - 2)]])
        pool, tested = codes[:-HELD_OUT], codes[-HELD_OUT:]
        points = whitened(network_features(names, of.vocabulary.blocks,
                                           of.vocabulary.block_ids(pool)))
        for nets, method in itertools.product(NETS, METHODS):
            rows = choose_rows(points, nets, method=method, first=(0, 1), rng=rng)
            try:
                found[nets, method].append(fit_and_check(of, pool[rows], tested, prior))
            except ProfileError as error:
                print(f"{of.name}, {nets} {method}, split {split}: {error}")
                found[nets, method].append(None)
    return [{"networks": nets, "choice": method, **summary(rows)}
            for (nets, method), rows in found.items()]


def summary(rows: Iterable[dict[str, Any] | None]) -> dict[str, Any]:
    """Returns mean and worst over repetitions, and how many of them a fit refused."""
    rows = list(rows)
    done = [row for row in rows if row is not None]
    mean = {key: float(np.mean([row[key] for row in done]))
            for key in ("mape", "in10", "in5", "spearman", "interval_covers", "interval_width")}
    return {"repetitions": len(rows), "refused": len(rows) - len(done), **mean,
            "worst_in10": min(row["in10"] for row in done),
            "worst_spearman": min(row["spearman"] for row in done)}


def planned(of: Timings) -> dict[tuple[int, int], IntArray]:
    """Returns the codes that `--few-shot` measures, by number of networks and seed."""
    return {(nets, seed): plan_few_shot(of.space, of.vocabulary.blocks, of.vocabulary.block_ids,
                                        nets=nets, seed=seed).codes
            for nets, seed in itertools.product(NETS, SEEDS)}


def random_nets(of: Timings) -> IntArray:
    """Returns the codes of the smallest, the largest, and random networks."""
    return draw_networks(of.space, RANDOM_NETS, 1)


def main() -> None:
    """Reads the option, measures what is missing, writes the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--measure-only", action="store_true", help="analyse nothing")
    options = parser.parse_args()
    work = options.work
    work.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Any] = {}
    for name, configuration in CONFIGURATIONS.items():
        of = timings(name, work)
        priors = {"alone": None}
        if configuration.prior:
            priors["with_prior"] = timings(configuration.prior, work).full_profile()
        of.of(np.concatenate([random_nets(of), *planned(of).values()]))  # at once: less drift
        measured = of.latency_ms(random_nets(of))
        if options.measure_only:
            continue
        figures[name] = {"fastest_ms": measured.min(), "slowest_ms": measured.max(),
                         "prior": configuration.prior}
        for label, prior in priors.items():
            shipped = as_shipped(of, prior)
            figures[name][label] = {"as_shipped": shipped, "resampled": resampled(of, prior)}
            for nets in NETS:
                rows = summary(row for row in shipped if row["networks"] == nets)
                print(f"{name}, {label}, {nets} networks: Spearman {rows['spearman']:.4f} (worst "
                      f"{rows['worst_spearman']:.4f}), within 10 % {rows['in10']:.1%} (worst "
                      f"{rows['worst_in10']:.1%}), interval covers {rows['interval_covers']:.1%}",
                      flush=True)
    if options.measure_only:
        return
    print(write_report("few_shot", {"gates": GATES, "configurations": figures}, seed=SEEDS[0]))


if __name__ == "__main__":
    main()
