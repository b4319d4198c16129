"""The host profile against its gates: two profiles of this machine, with different networks.

    python tests/benchmarks/bench_profile.py
"""

import time
from typing import Any

import numpy as np
from _report import write_report

from hardware_profiles.host import profile_host
from hardware_profiles.profile import HardwareProfile
from supernets.mobilenet.blocks import build_vocabulary
from supernets.mobilenet.config import build_space
from supernets.mobilenet.presets import FMNIST

SEEDS = (0, 1)
GATES = {"spearman": 0.97, "in10": 0.98, "in5": 0.90, "abs_bias": 0.02}


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


def main() -> None:
    """Measures, prints and writes the report."""
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


if __name__ == "__main__":
    main()
