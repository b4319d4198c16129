"""Profiles of this machine against their gates, in the configurations that the issue names.

    python tests/benchmarks/bench_profile.py                        every configuration
    python tests/benchmarks/bench_profile.py --only int8            one; the others stay as they are
    nas profile run --json > early.json                             then, an hour later:
    python tests/benchmarks/bench_profile.py --against early.json   does the machine repeat?
"""

import argparse
import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from _report import FOLDER, write_report

from hardware_profiles.host import HostConfig, profile_host
from hardware_profiles.identity import generator_hash, require_space
from hardware_profiles.profile import HardwareProfile
from hardware_profiles.profile_file import read_profile, write_profile
from hardware_profiles.validity import REPEAT_DIFFERENCE, REPEAT_SPEARMAN
from supernets.mobilenet.blocks import build_vocabulary
from supernets.mobilenet.config import MobileNetConfig, at_resolution, build_space
from supernets.mobilenet.presets import FMNIST

SEED = 0
GATES = {"spearman": 0.97, "in10": 0.98, "in5": 0.90, "abs_bias": 0.02}
REPEATS = {"spearman": REPEAT_SPEARMAN, "difference": REPEAT_DIFFERENCE}  # of the networks
REPEAT_GATE = 0.03  # median difference of two profiles an hour apart
CONFIGURATIONS = {
    "fp32": (FMNIST, HostConfig()),
    "int8": (FMNIST, HostConfig(precision="int8")),
    "224px": (at_resolution(FMNIST, 224), HostConfig()),
    "224px-2threads": (at_resolution(FMNIST, 224), HostConfig(threads=2)),
}


def measure(family: MobileNetConfig, config: HostConfig,
            seed: int = SEED) -> tuple[HardwareProfile, dict[str, Any]]:
    """Returns a profile and what it says of itself."""
    space = build_space(family)
    vocabulary = build_vocabulary(family, space)
    started, cpu = time.monotonic(), time.process_time()
    profile = profile_host(space, vocabulary.blocks, vocabulary.block_ids, seed=seed,
                           config=config)
    fit = profile.calibration
    peaks = [net.timing.peak_bytes for net in profile.subnets]
    return profile, {
        "date": datetime.now(UTC).date().isoformat(), "wall_s": time.monotonic() - started,
        "cpu_s": time.process_time() - cpu, "space": profile.space,
        "runtime": profile.runtime.model_dump(),
        "protocol": profile.protocol.model_dump() if profile.protocol else None,
        "blocks": len(profile.entries), "held_out_networks": fit.test_count,
        "latency_ms": [float(np.quantile([net.timing.latency_ms for net in profile.subnets], q))
                       for q in (0.0, 0.5, 1.0)],
        "peak_bytes": [min(peaks), max(peaks)] if None not in peaks else None,
        "model": fit.model, "held_out": fit.held_out.model_dump(),
        "baselines": {name: quality.model_dump() for name, quality in fit.baselines.items()},
        "cross_validation": {name: quality.model_dump()
                             for name, quality in fit.cross_validation.items()},
        "validity": profile.validity.model_dump(exclude={"ops"})}


def missed(found: Mapping[str, Any]) -> list[str]:
    """Returns the gates that a configuration misses."""
    held_out, validity = found["held_out"], found["validity"]
    reached = {**{name: held_out[name] for name in ("spearman", "in10", "in5")},
               "abs_bias": -abs(held_out["bias"])}
    short = [name for name, value in reached.items()
             if value < (GATES[name] if name != "abs_bias" else -GATES[name])]
    if validity["repeat_spearman"] < REPEATS["spearman"] or (
            validity["repeat_difference"] > REPEATS["difference"]):
        short.append("repeatability")
    return short


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
    late, found = measure(FMNIST, HostConfig(), seed)
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


def gates(names: list[str], keep: Path | None) -> None:
    """Measures configurations, prints them and merges them into the report."""
    path = FOLDER / "profile.json"
    figures = json.loads(path.read_text())["figures"] if path.is_file() else {}
    configurations = dict(figures.get("configurations", {}))
    for name in names:
        profile, found = measure(*CONFIGURATIONS[name])
        configurations[name] = {**found, "missed": missed(found)}
        if keep:
            write_profile(profile, keep / f"{name}.json")
        held_out, validity = found["held_out"], found["validity"]
        print(f"{name}: {found['model']}, Spearman {held_out['spearman']:.4f}, MAPE "
              f"{held_out['mape']:.2%}, bias {held_out['bias']:+.2%}, ±5 % {held_out['in5']:.0%}, "
              f"±10 % {held_out['in10']:.0%}; repeats {validity['repeat_spearman']:.4f}, "
              f"{validity['repeat_difference']:.2%}; wall/CPU {validity['wall_over_cpu']:.2f}; "
              f"{found['wall_s']:.0f} s; misses: {', '.join(missed(found)) or 'none'}", flush=True)
        print(write_report("profile", {"gates": GATES, "repeats": REPEATS,
                                       "configurations": configurations}, seed=SEED))


def main() -> None:
    """Reads the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", type=Path, metavar="FILE", help="an earlier profile")
    parser.add_argument("--only", choices=CONFIGURATIONS, help="one configuration")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="for the profiles themselves")
    options = parser.parse_args()
    if options.against:
        compare(read_profile(options.against))
    else:
        gates([options.only] if options.only else list(CONFIGURATIONS), options.keep)


if __name__ == "__main__":
    main()
