"""The host profile against its gates.

    python tests/benchmarks/bench_profile.py                        two profiles, other networks
    nas profile run --json > early.json                             then, an hour later:
    python tests/benchmarks/bench_profile.py --against early.json   does the machine repeat?
"""

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from _report import write_report

from hardware_profiles.host import profile_host
from hardware_profiles.identity import generator_hash, require_space
from hardware_profiles.profile import HardwareProfile
from hardware_profiles.profile_file import read_profile
from supernets.mobilenet.blocks import build_vocabulary
from supernets.mobilenet.config import build_space
from supernets.mobilenet.presets import FMNIST

SEEDS = (0, 1)
GATES = {"spearman": 0.97, "in10": 0.98, "in5": 0.90, "abs_bias": 0.02}
REPEAT_GATE = 0.03  # median difference of two profiles an hour apart


def measure(seed: int) -> tuple[HardwareProfile, dict[str, Any]]:
    """Returns a profile and what it says of itself."""
    space = build_space(FMNIST)
    vocabulary = build_vocabulary(FMNIST, space)
    started = time.monotonic()
    profile = profile_host(space, vocabulary.blocks, vocabulary.block_ids, seed=seed)
    fit = profile.calibration
    return profile, {
        "wall_s": time.monotonic() - started, "blocks": len(profile.entries),
        "held_out_networks": fit.test_count, "held_out": fit.held_out.model_dump(),
        "baselines": {name: quality.model_dump() for name, quality in fit.baselines.items()},
        "validity": profile.validity.model_dump(exclude={"ops"})}


def differences(first: Mapping[str, float], second: Mapping[str, float]) -> dict[str, float]:
    """Returns how far the latencies of what both measured are apart, as shares of the first."""
    common = sorted(first.keys() & second.keys())
    change = np.array([second[key] / first[key] - 1.0 for key in common])
    return {"count": len(common), "median_abs": float(np.median(np.abs(change))),
            "p95_abs": float(np.quantile(np.abs(change), 0.95)), "median": float(np.median(change))}


def block_ms(profile: HardwareProfile) -> dict[str, float]:
    """Returns each block's latency by its key."""
    return {entry.key: entry.timing.latency_ms for entry in profile.entries}


def net_ms(profile: HardwareProfile) -> dict[str, float]:
    """Returns each whole network's latency by its digest."""
    return {net.digest: net.timing.latency_ms for net in profile.subnets}


def compare(early: HardwareProfile) -> None:
    """Measures anew with the seed of an earlier profile, so the same networks, and compares."""
    space = build_space(FMNIST)
    require_space(early, space=space.id,
                  generator=generator_hash(space, build_vocabulary(FMNIST, space).blocks))
    seed = int(early.provenance["seed"])
    late, found = measure(seed)
    if early.key != late.key:
        raise SystemExit(f"{early.id} is of another machine or runtime than {late.id}")
    hours = (late.created - early.created).total_seconds() / 3600
    blocks = differences(block_ms(early), block_ms(late))
    nets = differences(net_ms(early), net_ms(late))
    print(f"{hours:.2f} h apart, median difference: blocks {blocks['median_abs']:.2%} of "
          f"{blocks['count']}, networks {nets['median_abs']:.2%} of {nets['count']}")
    print(write_report("profile_repeat", {
        "gate": REPEAT_GATE, "hours_apart": hours, "blocks": blocks, "networks": nets,
        "early": {"created": early.created.isoformat(),
                  "held_out": early.calibration.held_out.model_dump(),
                  "validity": early.validity.model_dump(exclude={"ops"})},
        "late": found}, seed=seed))


def gates() -> None:
    """Measures two profiles with different networks, prints and writes the report."""
    profiles, figures = [], []
    for seed in SEEDS:
        profile, found = measure(seed)
        profiles.append(profile)
        figures.append(found)
        print(f"seed {seed}: {found['held_out']} in {found['wall_s']:.0f} s")
    first, second = (np.array([entry.timing.latency_ms for entry in profile.entries])
                     for profile in profiles)
    repeat = float(np.median(np.abs(first / second - 1.0)))
    print(f"blocks, one profile against the other: median difference {repeat:.2%}")
    print(write_report("profile", {"gates": GATES, "profiles": figures,
                                   "block_median_difference": repeat}, seed=SEEDS[0]))


def main() -> None:
    """Reads the option."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", type=Path, metavar="FILE", help="an earlier profile")
    against = parser.parse_args().against
    if against:
        compare(read_profile(against))
    else:
        gates()


if __name__ == "__main__":
    main()
