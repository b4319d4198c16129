"""What elasticity costs: a training step of supernet(x, arch) against one of extract(arch)(x).

Forward and backward, batch 128, one thread, channels last, training mode. The two run in turns and
the CPU time of each turn is compared with that of its neighbour, so that a busy machine slows both.

    python tests/benchmarks/bench_elastic.py [--rounds 200]
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from _report import write_report
from torch import nn

from nas.core.arch import Arch
from nas.core.costs import ClosedFormCosts
from supernets.mobilenet.presets import FMNIST
from supernets.mobilenet.supernet import MobileNetSupernet
from supernets.tasks.image_classification import ImageClassification

SEED = 0
BATCH = 128
TARGETS = {"largest": 1.05, "median": 1.10}  # of the median of paired ratios


def make_supernet() -> MobileNetSupernet:
    """Returns the shipped supernet with initial weights, in training mode."""
    task = ImageClassification(labels=tuple("0123456789"), input_shape=FMNIST.input_shape,
                               mean=0.286, std=0.353, splits={})
    torch.manual_seed(SEED)
    return MobileNetSupernet(FMNIST, task).to(memory_format=torch.channels_last).train()


def median_arch(net: MobileNetSupernet, *, among: int = 10_001) -> Arch:
    """Returns the random architecture whose MACs are the median of a sample."""
    codes = net.space.sample_codes(among, np.random.default_rng(SEED))
    order = np.argsort(macs(net, codes), kind="stable")
    return net.space.decode(codes[order[among // 2]][None])[0]


def macs(net: MobileNetSupernet, codes: Any) -> Any:
    """Returns the MACs of codes, (N,)."""
    return ClosedFormCosts(net.vocabulary, net.block_ids).predict("macs", codes).value


def measure(net: MobileNetSupernet, arch: Arch, *, rounds: int) -> dict[str, Any]:
    """Returns CPU times of both steps, in ms, and the median of their paired ratios."""
    module = net.extract(arch).to(memory_format=torch.channels_last)
    generator = torch.Generator().manual_seed(SEED)
    x = torch.randn(BATCH, *FMNIST.input_shape, generator=generator)
    x = torch.empty_like(x, memory_format=torch.channels_last).copy_(x)

    def elastic() -> float:
        return step(net, lambda: net(x, arch))

    def extracted() -> float:
        return step(module, lambda: module(x))

    for _ in range(5):
        elastic()
        extracted()
    pairs = []
    for index in range(rounds):
        if index % 2:
            plain, ours = extracted(), elastic()
        else:
            ours, plain = elastic(), extracted()
        pairs.append((ours, plain))
    ratios = sorted(ours / plain for ours, plain in pairs)
    return {
        "digest": arch.digest, "macs": int(macs(net, net.space.encode([arch]))[0]),
        "elastic_ms": 1e3 * statistics.median(ours for ours, _ in pairs),
        "extracted_ms": 1e3 * statistics.median(plain for _, plain in pairs),
        "ratio": statistics.median(ratios),
        "ratio_quartiles": [ratios[rounds // 4], ratios[3 * rounds // 4]], "rounds": rounds,
    }


def step(model: nn.Module, run: Callable[[], torch.Tensor]) -> float:
    """Returns the CPU seconds of one forward and backward pass."""
    model.zero_grad(set_to_none=True)
    start = time.process_time()
    run().square().mean().backward()
    return time.process_time() - start


def main() -> None:
    """Measures, prints and writes the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    net = make_supernet()
    archs = {"largest": net.space.extreme(largest=True), "median": median_arch(net)}
    figures = {}
    for name, arch in archs.items():
        figures[name] = {**measure(net, arch, rounds=rounds), "target": TARGETS[name]}
        print(f"{name}: {figures[name]['ratio']:.3f}× (target ≤{TARGETS[name]:.2f}×)")
    print(write_report("elastic", {"batch": BATCH, "threads": 1, **figures}, seed=SEED))


if __name__ == "__main__":
    main()
