"""How many images batch norm needs: errors of subnets by the number of calibration images.

Sixteen random networks of the shipped supernet and its two ends; for each number of images of
``train_calib``, the error on the search split relative to that with all of them. Writes
``docs/benchmarks/recalibration.json``. Takes some minutes.
"""

import statistics
from itertools import islice
from typing import Any

import numpy as np
from _report import write_report

from nas.pipeline.compose import load_supernet
from nas.pipeline.device import keep_freed_memory, one_thread

NETWORKS = 16
SEED = 0
BATCHES = (1, 2, 4, 8)  # of 128 images; all are 16


def main() -> None:
    """Measures and writes the report."""
    supernet = load_supernet("mobilenet-fmnist")
    rng = np.random.default_rng(SEED)
    archs = [*(supernet.space.extreme(largest=end) for end in (True, False)),
             *(supernet.space.sample(rng) for _ in range(NETWORKS))]
    keep_freed_memory()
    rows: dict[str, Any] = {}
    with one_thread():
        def errors(count: int | None) -> list[float]:
            return [float(supernet.task.metrics(
                supernet.recalibrated(arch, islice(supernet.task.batches("train_calib"), count)),
                supernet.task.batches("search"))["error"]) for arch in archs]

        best = errors(None)
        for count in BATCHES:
            apart = [found - all_of_them for found, all_of_them in
                     zip(errors(count), best, strict=True)]
            rows[str(128 * count)] = {
                "mean_points_more": round(statistics.mean(apart), 3),
                "largest_absolute_points": round(max(map(abs, apart)), 3)}
            print(128 * count, rows[str(128 * count)], flush=True)
    write_report("recalibration", {"networks": len(archs), "all_images": 2048,
                                   "error_against_all_images": rows}, seed=SEED)


if __name__ == "__main__":
    main()
