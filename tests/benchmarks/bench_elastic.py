"""What elasticity costs: a training step of supernet(x, arch) against one of extract(arch)(x).

Forward and backward, one thread, channels last, training mode: the shipped supernet's networks,
batch 128, and timm models of each family. The two run in turns and the CPU time of each turn is
compared with that of its neighbour, so that a busy machine slows both.

    python tests/benchmarks/bench_elastic.py [--rounds 200] [--only NAME …]
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import timm
import torch
from _report import FOLDER, write_report
from torch import Tensor, nn

from nas.core.arch import Arch
from nas.core.costs import ClosedFormCosts
from supernets.mobilenet.presets import FMNIST
from supernets.mobilenet.supernet import MobileNetSupernet
from supernets.tasks.image_classification import ImageClassification
from supernets.timm.elastic import Elastic
from supernets.timm.families import describe_model
from supernets.timm.supernet import TimmSupernet

SEED = 0
SHIPPED = "mobilenet-fmnist"
# timm's models by name: images a batch, their side.
TIMM = {"mobilenetv3_large_100": (64, 96), "resnet18": (64, 64), "vit_tiny_patch16_224": (16, 224),
        "convnext_atto": (32, 96)}
TARGETS = {"largest": 1.05, "median": 1.10}  # of the median of paired ratios


Net = MobileNetSupernet | TimmSupernet


def make_case(name: str) -> tuple[Net, Tensor]:
    """Returns a supernet with initial weights, in training mode, and a batch for it."""
    torch.manual_seed(SEED)
    batch, side = TIMM.get(name, (128, 28))
    shape = FMNIST.input_shape if name == SHIPPED else (3, side, side)
    task = ImageClassification(labels=tuple("0123456789"), input_shape=shape, mean=0.286,
                               std=0.353, splits={})
    if name == SHIPPED:
        net: Net = MobileNetSupernet(FMNIST, task)
    else:
        model = timm.create_model(name, num_classes=10)
        net = TimmSupernet(model, Elastic(f"timm:{name}", describe_model(model)), task)
    x = torch.randn(batch, *shape, generator=torch.Generator().manual_seed(SEED))
    x = torch.empty_like(x, memory_format=torch.channels_last).copy_(x)
    return net.to(memory_format=torch.channels_last).train(), x


def median_arch(net: Net, *, among: int = 10_001) -> Arch:
    """Returns the random architecture whose MACs are the median of a sample."""
    codes = net.space.sample_codes(among, np.random.default_rng(SEED))
    order = np.argsort(macs(net, codes), kind="stable")
    return net.space.decode(codes[order[among // 2]][None])[0]


def macs(net: Net, codes: Any) -> Any:
    """Returns the MACs of codes, (N,)."""
    return ClosedFormCosts(net.vocabulary, net.block_ids).predict("macs", codes).value


def measure(net: Net, arch: Arch, x: Tensor, *, rounds: int) -> dict[str, Any]:
    """Returns CPU times of both steps, in ms, and the median of their paired ratios."""
    module = net.extract(arch).to(memory_format=torch.channels_last)

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
    """Measures, prints and writes the report after each supernet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--only", nargs="+", default=[SHIPPED, *TIMM],
                        help="what the report has of the others stays")
    given = parser.parse_args()
    torch.set_num_threads(1)
    path = FOLDER / "elastic.json"
    figures = json.loads(path.read_text())["figures"] if path.is_file() else {}
    for name in given.only:
        net, x = make_case(name)
        archs = {"largest": net.space.extreme(largest=True), "median": median_arch(net)}
        figures[name] = {"input": list(x.shape), "threads": 1}
        for size, arch in archs.items():
            row = measure(net, arch, x, rounds=given.rounds)
            figures[name][size] = {**row, "target": TARGETS[size]}
            print(f"{name} {size}: {row['ratio']:.3f}× (target ≤{TARGETS[size]:.2f}×)", flush=True)
        write_report("elastic", figures, seed=SEED)


if __name__ == "__main__":
    main()
