"""Costs of a million random architectures of the shipped space, in seconds of CPU.

    python tests/benchmarks/bench_costs.py
"""

import statistics
import time
from collections.abc import Callable, Mapping

import numpy as np
from _report import write_report

from hardware_profiles.host import HostConfig, profile_host
from hardware_profiles.profile import MeasureProtocol
from hardware_profiles.table import LatencyTable
from nas.core.costs import ClosedFormCosts
from nas.core.protocols import CostModel
from supernets.mobilenet.blocks import build_vocabulary
from supernets.mobilenet.config import build_space
from supernets.mobilenet.presets import FMNIST

SEED = 0
COUNT = 1_000_000
REPEATS = 5
TARGET_S = 1.0

SPACE = build_space(FMNIST)


def closed_forms() -> CostModel:
    """Returns params and MACs from block graphs."""
    vocabulary = build_vocabulary(FMNIST, SPACE)
    return ClosedFormCosts(vocabulary.blocks, vocabulary.block_ids)


def latency() -> CostModel:
    """Returns the table of a profile of this machine; short runs: its values do not matter."""
    vocabulary = build_vocabulary(FMNIST, SPACE)
    short = HostConfig(calib_nets=10, test_nets=10, protocol=MeasureProtocol(
        warm_up=1, runs=5, passes=2, max_passes=2))
    profile = profile_host(SPACE, vocabulary.blocks, vocabulary.block_ids, seed=SEED, config=short)
    return LatencyTable(profile, vocabulary.blocks, vocabulary.block_ids)


# Metric → the model that gives it.
MODELS: Mapping[str, Callable[[], CostModel]] = {
    "params": closed_forms,
    "macs": closed_forms,
    "activation_bytes": closed_forms,
    "latency_ms": latency,
}


def main() -> None:
    """Measures, prints and writes the report."""
    codes = SPACE.sample_codes(COUNT, np.random.default_rng(SEED))
    figures = {}
    for metric, make in MODELS.items():
        model = make()
        model.predict(metric, codes[:1])  # the block table is made once for each model
        seconds = []
        for _ in range(REPEATS):
            start = time.process_time()
            values = model.predict(metric, codes).value
            seconds.append(time.process_time() - start)
        figures[metric] = {"cpu_s": statistics.median(seconds), "cpu_s_each": seconds,
                           "target_s": TARGET_S, "median_value": float(np.median(values))}
        print(f"{metric}: {figures[metric]['cpu_s']:.3f} s for {COUNT:,} codes")
    print(write_report("costs", {"codes": COUNT, "metrics": figures}, seed=SEED))


if __name__ == "__main__":
    main()
