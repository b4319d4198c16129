"""What sharing weights costs: three networks with inherited weights against the same trained alone.

Alone means: the same code, images, augmentation, epochs and learning rate, but every step trains
this one network on the labels. Each finished training is a row of the result file, and rows that
are there are not trained again; a stopped training goes on from its checkpoint.

    python tests/benchmarks/bench_alone.py --data /usr/share/datasets/fashion-mnist --work DIR
"""

import argparse
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from _report import FOLDER, write_report

from nas.core.arch import Arch
from nas.core.costs import ClosedFormCosts
from nas.core.space import GeneSpace
from nas.pipeline.compose import load_supernet
from nas.pipeline.device import keep_freed_memory, one_thread
from supernets.mobilenet.supernet import MobileNetSupernet
from supernets.tasks.idx import read_split
from supernets.tasks.image_classification import ImageClassification, LabelledImages
from supernets.training.data import Augmentation, TrainingData
from supernets.training.trainer import TrainConfig, Trainer

EPOCHS = 32
SEEDS = (0, 1)
MEDIAN_OF = 10_001
NAMES = ("smallest", "median", "largest")


@dataclass(frozen=True, slots=True)
class Alone:
    """The sampling rule that trains one architecture and no other."""

    arch: Arch
    teaches: ClassVar[bool] = False

    def __call__(self, space: GeneSpace, rng: np.random.Generator, step: int, /) -> Sequence[Arch]:
        """Returns the one architecture."""
        del space, rng, step
        return [self.arch]


def networks(net: MobileNetSupernet) -> dict[str, Arch]:
    """Returns the smallest, the median of a random sample by MACs, and the largest."""
    codes = net.space.sample_codes(MEDIAN_OF, np.random.default_rng(0))
    macs = ClosedFormCosts(net.vocabulary, net.block_ids).predict("macs", codes).value
    middle = codes[np.argsort(macs, kind="stable")[MEDIAN_OF // 2]]
    return {"smallest": net.space.extreme(largest=False),
            "median": net.space.decode(middle[None])[0],
            "largest": net.space.extreme(largest=True)}


def accuracy(net: MobileNetSupernet, arch: Arch) -> float:
    """Returns the top-1 accuracy in % on all 10,000 held-out images."""
    module = net.recalibrated(arch, net.task.batches("train_calib"))
    images = itertools.chain(net.task.batches("search"), net.task.batches("test"))
    return 100.0 - float(net.task.metrics(module, images)["error"])


def train_alone(shipped: MobileNetSupernet, arch: Arch, images: LabelledImages, seed: int,
                work: Path) -> float:
    """Returns the accuracy of an architecture trained alone."""
    task = shipped.task
    assert isinstance(task, ImageClassification)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = MobileNetSupernet(shipped.config, task).to(memory_format=torch.channels_last)
    Trainer(supernet=net, task=task, rule=Alone(arch),
            data=TrainingData(task=task, data=images, batch_size=128, seed=seed,
                              augmentation=Augmentation()),
            config=TrainConfig(epochs=EPOCHS, learning_rate=0.3, seed=seed),
            checkpoint=work / f"{arch.digest}-{seed}.pt",
            on_epoch=lambda epoch: print(f"  epoch {epoch} of {EPOCHS}", flush=True)).run()
    return accuracy(net, arch)


def main() -> None:
    """Trains what is missing, cheapest first, and writes the report after each network."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    arguments = parser.parse_args()
    shipped = load_supernet("mobilenet-fmnist")
    assert isinstance(shipped, MobileNetSupernet)
    images = LabelledImages(*read_split(arguments.data, "train"))
    keep_freed_memory()
    path = FOLDER / "alone.json"
    rows: list[dict[str, Any]] = (json.loads(path.read_text())["figures"]["rows"]
                                  if path.is_file() else [])
    archs = networks(shipped)
    with one_thread():
        for name, seed in itertools.product(NAMES, SEEDS):
            if any((row["network"], row["seed"]) == (name, seed) for row in rows):
                continue
            print(f"{name}, seed {seed}", flush=True)
            alone = train_alone(shipped, archs[name], images, seed, arguments.work)
            inherited = accuracy(shipped, archs[name])
            rows.append({"network": name, "seed": seed, "digest": archs[name].digest,
                         "alone_percent": alone, "inherited_percent": inherited,
                         "inherited_minus_alone": inherited - alone})
            print(rows[-1], flush=True)
            mean = float(np.mean([row["inherited_minus_alone"] for row in rows]))
            write_report("alone", {"epochs": EPOCHS, "rows": rows, "mean_difference": mean,
                                   "complete": len(rows) == len(NAMES) * len(SEEDS)}, seed=0)


if __name__ == "__main__":
    main()
