"""What sharing weights costs and whether it ranks: three sampling rules against training alone.

The mobilenet family on 20,000 images of Fashion-MNIST. Supernets are trained by the sandwich rule,
by one whose small networks learn from labels, too, at a higher rate, by uniform sampling and by
single paths, for equal CPU time: each rule's epochs are as many as fit into the time of the
sandwich's ten. Eight networks from the smallest to the largest are trained alone for ten epochs,
too. Inherited accuracies, batch norms recalibrated, are compared with those, and their order by
Kendall's τ; two seeds of everything. All accuracies are on the 10,000 held-out images. Finished
trainings are kept in the work folder, and stopped ones go on there. Writes
``docs/benchmarks/sharing.json``. Takes about three hours of one core; `--only sandwich 1` makes a
part of it, for a second one.

    python tests/benchmarks/bench_sharing.py --data /usr/share/datasets/fashion-mnist --work DIR
"""

import argparse
import contextlib
import itertools
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _report import write_report
from bench_alone import Alone
from scipy.stats import kendalltau

from nas.core.arch import Arch
from nas.core.costs import ClosedFormCosts
from nas.pipeline.compose import load_supernet
from nas.pipeline.device import keep_freed_memory, one_thread
from supernets.mobilenet.supernet import MobileNetSupernet
from supernets.tasks.idx import read_split
from supernets.tasks.image_classification import ImageClassification, LabelledImages
from supernets.training.data import Augmentation, TrainingData
from supernets.training.sampling import SamplingRule, Sandwich, SinglePath, Uniform
from supernets.training.trainer import TrainConfig, Trainer

IMAGES, EPOCHS, BATCH, NETWORKS = 20_000, 10, 128, 8
TIMED_STEPS = 12
SEEDS = (0, 1)
CONFIG = TrainConfig(epochs=EPOCHS, learning_rate=0.3, checkpoint_s=60.0)
RULES: dict[str, SamplingRule] = {"sandwich": Sandwich(), "sandwich-labels": Sandwich(),
                                  "uniform": Uniform(count=4), "single-path": SinglePath()}
LABELS = {"learning_rate": 0.9, "teaching": 0.5}  # of sandwich-labels


@dataclass(frozen=True)
class Bench:
    """The data, the space, and the folder of finished trainings."""

    base: MobileNetSupernet
    images: LabelledImages
    work: Path

    @property
    def task(self) -> ImageClassification:
        """Of the shipped supernet: its search and test images are the held-out ones."""
        assert isinstance(self.base.task, ImageClassification)
        return self.base.task

    def trainer(self, rule: SamplingRule, seed: int, epochs: int, name: str) -> Trainer:
        """Returns the training of a new supernet."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = MobileNetSupernet(self.base.config, self.task)
        return Trainer(
            supernet=net.to(memory_format=torch.channels_last), task=self.task, rule=rule,
            data=TrainingData(task=self.task, data=self.images, batch_size=BATCH, seed=seed,
                              augmentation=Augmentation()),
            config=replace(CONFIG, epochs=epochs, seed=seed,
                           **(LABELS if name == "sandwich-labels" else {})),
            checkpoint=self.work / f"{name}-{seed}.pt",
            on_epoch=lambda epoch: print(f"  {name}-{seed}: epoch {epoch} of {epochs}", flush=True))

    def trained(self, rule: SamplingRule, seed: int, epochs: int, name: str,
                archs: Sequence[Arch]) -> list[float]:
        """Returns the accuracies of architectures after a training, or what was kept of it."""
        path = self.work / f"{name}-{seed}.json"
        if not path.is_file():
            trainer = self.trainer(rule, seed, epochs, name)
            trainer.run()
            assert isinstance(trainer.supernet, MobileNetSupernet)
            found = [self.accuracy(trainer.supernet, arch) for arch in archs]
            path.write_text(json.dumps(found))
        kept: list[float] = json.loads(path.read_text())
        return kept

    def accuracy(self, net: MobileNetSupernet, arch: Arch) -> float:
        """Returns the top-1 accuracy in % on the held-out images."""
        module = net.recalibrated(arch, self.task.batches("train_calib"))
        held_out = itertools.chain(self.task.batches("search"), self.task.batches("test"))
        return 100.0 - float(self.task.metrics(module, held_out)["error"])

    def seconds_per_step(self, rule: SamplingRule) -> float:
        """Returns the CPU time of a step, the median of some."""
        trainer = self.trainer(rule, 0, 1, "timed")
        marks: list[float] = []

        def stop(_: Any) -> None:
            marks.append(time.process_time())
            if len(marks) > TIMED_STEPS:
                raise StopIteration

        trainer.on_step = stop
        with contextlib.suppress(StopIteration):
            trainer.run()
        return float(np.mean(np.diff(marks)))


def networks(net: MobileNetSupernet) -> list[Arch]:
    """Returns networks from the smallest to the largest, evenly by the logarithm of their MACs."""
    codes = net.space.sample_codes(20_000, np.random.default_rng(1))
    macs = ClosedFormCosts(net.vocabulary, net.block_ids).predict("macs", codes).value
    ends = [net.space.extreme(largest=end) for end in (False, True)]
    low, high = np.quantile(macs, (0.001, 0.999))
    wanted = np.geomspace(low, high, NETWORKS - 2)
    between = [codes[np.abs(macs - value).argmin()] for value in wanted]
    return [ends[0], *net.space.decode(np.stack(between)), ends[1]]


def epochs_of(bench: Bench) -> dict[str, int]:
    """Returns each rule's epochs in the time of the sandwich's; measured once."""
    path = bench.work / "epochs.json"
    if not path.is_file():
        seconds = {name: bench.seconds_per_step(rule) for name, rule in RULES.items()}
        path.write_text(json.dumps({name: round(EPOCHS * seconds["sandwich"] / taken)
                                    for name, taken in seconds.items()}))
    found: dict[str, int] = json.loads(path.read_text())
    return found


def compared(inherited: Sequence[float], alone: Sequence[float]) -> dict[str, Any]:
    """Returns the gaps of a supernet's networks to those alone, and how alike both rank."""
    gaps = np.subtract(inherited, alone)
    return {"inherited_percent": list(inherited), "mean_gap": round(float(gaps.mean()), 3),
            "gaps": [round(float(gap), 2) for gap in gaps],
            "kendall": round(float(kendalltau(inherited, alone).statistic), 3)}


def main() -> None:
    """Trains what is missing and writes the report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--only", nargs=2, metavar=("RULE", "SEED"), help="one supernet, no report")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    images, labels = read_split(given.data, "train")
    base = load_supernet("mobilenet-fmnist")
    assert isinstance(base, MobileNetSupernet)
    bench = Bench(base, LabelledImages(images[:IMAGES], labels[:IMAGES]), given.work)
    archs = networks(base)
    keep_freed_memory()
    with one_thread():
        epochs = epochs_of(bench)
        if given.only:
            rule, seed = given.only
            bench.trained(RULES[rule], int(seed), epochs[rule], rule, archs)
            return
        shared = {(name, seed): bench.trained(rule, seed, epochs[name], name, archs)
                  for seed in SEEDS for name, rule in RULES.items()}
        alone = {seed: [bench.trained(Alone(arch), seed, EPOCHS, f"alone-{arch.digest}", [arch])[0]
                        for arch in archs] for seed in SEEDS}
    mean_alone = np.mean(list(alone.values()), axis=0).tolist()
    macs = ClosedFormCosts(base.vocabulary, base.block_ids).predict(
        "macs", base.space.encode(archs)).value
    write_report("sharing", {
        "images": IMAGES, "epochs_alone": EPOCHS, "epochs": epochs, "macs": macs.tolist(),
        "alone_percent": {str(seed): found for seed, found in alone.items()},
        "alone_ranks_alone_kendall": round(float(kendalltau(*alone.values()).statistic), 3),
        "rules": {name: {str(seed): compared(shared[name, seed], mean_alone) for seed in SEEDS}
                  for name in RULES}}, seed=0)


if __name__ == "__main__":
    main()
