"""The shipped supernet: accuracy on all 10,000 held-out images, and extract ≡ forward.

Inherited weights; batch norm recalibrated on train_calib. The closed forms are compared with counts
on each extracted module.

    python tests/benchmarks/bench_shipped.py
"""

import itertools
from typing import Any

import numpy as np
import torch
from _report import write_report

from nas.core.arch import Arch
from nas.core.costs import ClosedFormCosts
from nas.evaluation.efficiency import count_activation_bytes, count_macs, count_params
from nas.pipeline.compose import load_supernet
from nas.pipeline.device import one_thread
from supernets.mobilenet.supernet import MobileNetSupernet

SEED = 0
NETWORKS = 200
MEMORY_NETWORKS = 20  # each is exported for this count, which takes a second
TARGETS = {"largest": 91.5, "smallest": 88.5}


def accuracy(net: MobileNetSupernet, arch: Arch) -> float:
    """Returns the top-1 accuracy in % on the search and test images together."""
    module = net.recalibrated(arch, net.task.batches("train_calib"))
    images = itertools.chain(net.task.batches("search"), net.task.batches("test"))
    return 100.0 - net.task.metrics(module, images)["error"]


def equality(net: MobileNetSupernet) -> dict[str, Any]:
    """Returns the largest difference of logits and how many counts agree."""
    costs = ClosedFormCosts(net.vocabulary, net.block_ids)
    codes = net.space.sample_codes(NETWORKS, np.random.default_rng(SEED))
    x, _ = next(iter(net.task.batches("search")))
    found: dict[str, Any] = {"networks": NETWORKS, "max_abs_diff": 0.0, "params_exact": 0,
                             "macs_exact": 0, "activation_bytes_exact": 0,
                             "activation_bytes_networks": MEMORY_NETWORKS}
    for row, arch in enumerate(net.space.decode(codes)):
        module = net.extract(arch)
        with torch.no_grad():
            difference = float((net(x, arch) - module(x)).abs().max())
        found["max_abs_diff"] = max(found["max_abs_diff"], difference)
        counted = {"params": count_params(module), "macs": count_macs(module, x)}
        if row < MEMORY_NETWORKS:
            counted["activation_bytes"] = count_activation_bytes(module, x)
        for metric, count in counted.items():
            predicted = costs.predict(metric, codes[row:row + 1]).value[0]
            found[f"{metric}_exact"] += int(predicted == count)
    return found


def main() -> None:
    """Measures, prints and writes the report."""
    net = load_supernet("mobilenet-fmnist")
    assert isinstance(net, MobileNetSupernet)
    with one_thread():
        figures: dict[str, Any] = {"accuracy": {}}
        for name, largest in (("largest", True), ("smallest", False)):
            found = accuracy(net, net.space.extreme(largest=largest))
            figures["accuracy"][name] = {"percent": found, "target": TARGETS[name]}
            print(f"{name}: {found:.2f} % on 10,000 images (target ≥ {TARGETS[name]} %)")
        figures["equality"] = equality(net)
    print(figures["equality"])
    print(write_report("shipped", figures, seed=SEED))


if __name__ == "__main__":
    main()
