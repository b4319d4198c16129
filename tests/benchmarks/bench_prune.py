"""Do searched widths and depths beat simple ones at equal cost? Real trainings, several seeds.

ResNet-20 of half width on Fashion-MNIST at 14 pixels, 10,000 balanced training images and all
10,000 test images. Every network is pruned to the same part of the
multiply-adds and trained from fresh weights for as many epochs, with labels alone or with the
unpruned network as its teacher. Finished rows are kept under --work: a stopped benchmark goes on;
--part K/N makes every N-th seed, for several processes. Paired differences have 95 % intervals
(Student's t over seeds); "beats" means that the interval excludes 0.

    python tests/benchmarks/bench_prune.py --data DIR --work DIR [--part 0/2]
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from _report import write_report
from scipy.stats import t as student
from torch import nn

from nas.core.arch import Arch
from nas.core.costs import ClosedFormCosts
from nas.core.rng import derive_rng
from nas.pipeline.device import keep_freed_memory, one_thread
from supernets.calibrate import recalibrate
from supernets.tas.budget import Budget, NetworkCost
from supernets.tas.methods.precrop import precrop
from supernets.tas.methods.random import random
from supernets.tas.methods.uniform import uniform
from supernets.tas.relaxed import Relaxed
from supernets.tas.search import TasConfig, TasSearch
from supernets.tas.subject import Subject
from supernets.tasks.idx import read_split
from supernets.tasks.image_classification import ImageClassification, LabelledImages
from supernets.tasks.splits import balanced, halves
from supernets.timm.cifar_resnet import register
from supernets.timm.elastic import Elastic, Ratios
from supernets.timm.families import describe_model
from supernets.timm.supernet import TimmSupernet
from supernets.training.data import Augmentation, TrainingData
from supernets.training.distill import Criterion, LabelLoss, TeacherLoss
from supernets.training.recipe import Recipe
from supernets.training.updates import Part, Updates

MODEL = "cifar_resnet20_half"
PARTS = tuple(tenth / 10 for tenth in range(3, 11))
SPACE = Ratios(inner=PARTS, width=PARTS, depth=0.01, multiple=1, nearest=False)
SHARE = 0.5  # of the multiply-adds
EPOCHS, BATCH = 20, 128
IMAGES = 10_000
SEEDS = (0, 1, 2, 3, 4)
AUGMENTATION = Augmentation(shift=1, erase=0.0)
Variant = Mapping[str, Any]
TAS: dict[str, Variant] = {
    "tas": {},
    "tas warm-up": {"warmup_epochs": EPOCHS // 4},
    "tas twice as long": {"epochs": 2 * EPOCHS},
    "tas temperature 5": {"temperatures": (5.0, 0.1)},
}


@dataclass(frozen=True)
class Bench:
    """The images, and the folder of what is finished."""

    training: LabelledImages
    test: LabelledImages
    work: Path
    kept: dict[tuple[Any, ...], dict[str, Any]] = field(default_factory=dict)

    @cached_property
    def task(self) -> ImageClassification:
        """With a part of the training images to recalibrate batch norms on."""
        pixels = self.training.images.astype(np.float64) / 255.0
        shape = self.training.images.shape
        channels = 1 if len(shape) == 3 else shape[3]
        return ImageClassification(
            labels=tuple(map(str, range(10))), input_shape=(channels, shape[1], shape[2]),
            mean=float(pixels.mean()), std=float(pixels.std()), batch_size=500,
            splits={"train_calib": rows(self.training, range(2000)), "test": self.test})

    def supernet(self, seed: int) -> TimmSupernet:
        """Returns the space with fresh weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = timm.create_model(MODEL, num_classes=10, in_chans=self.task.input_shape[0])
        return TimmSupernet(model, Elastic(f"{MODEL}/bench", describe_model(model), SPACE),
                            self.task)

    @cached_property
    def cost(self) -> NetworkCost:
        """Multiply-adds."""
        net = self.supernet(0)
        costs = ClosedFormCosts(net.vocabulary, net.block_ids)
        return NetworkCost(metric="macs", space=net.space, vocabulary=net.slots,
                           predict=lambda codes: costs.predict("macs", codes).value,
                           shares=lambda _: costs.block_table("macs"))

    @cached_property
    def budget(self) -> Budget:
        """Half of the unpruned network's."""
        whole = self.cost.of(self.cost.space.extreme(largest=True))
        return Budget(cost=self.cost, limit=SHARE * whole)

    def batches(self, seed: int, data: LabelledImages | None = None) -> TrainingData:
        """Returns training batches."""
        return TrainingData(task=self.task, data=data or self.training, batch_size=BATCH,
                            seed=seed, augmentation=AUGMENTATION)

    def row(self, key: tuple[Any, ...], make: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """Returns a finished row, made if it is not there."""
        path = self.work / f"{'-'.join(map(str, key)).replace(' ', '_')}.json"
        if not path.is_file():
            start = time.process_time()
            made = {"key": key, **make(), "cpu_s": round(time.process_time() - start, 1)}
            path.write_text(json.dumps(made))
            print(json.dumps({name: value for name, value in made.items() if name != "arch"}),
                  flush=True)
        found: dict[str, Any] = json.loads(path.read_text())
        return found


def rows(data: LabelledImages, positions: Sequence[int] | range) -> LabelledImages:
    """Returns some of the images."""
    chosen = np.asarray(positions)
    return LabelledImages(data.images[chosen], data.labels[chosen])


def smaller(images: np.ndarray) -> np.ndarray:
    """Returns images of half the sides: means of 2×2 pixels."""
    count, height, width = images.shape
    means = images.reshape(count, height // 2, 2, width // 2, 2).mean((2, 4))
    return np.round(means).astype(np.uint8)


def trained(bench: Bench, module: nn.Module, seed: int, criterion: Criterion) -> nn.Module:
    """Trains a network from its weights and returns it with measured batch norms."""
    recipe = Recipe(epochs=EPOCHS, learning_rate=0.1, weight_decay=5e-4, label_smoothing=0.0,
                    seed=seed)
    module = module.to(memory_format=torch.channels_last).train()
    updates = Updates(module, recipe, bench.batches(seed))

    def parts(inputs: Any, targets: Any, _step: int) -> Iterator[Part]:
        yield Part(criterion(inputs, targets)(module(inputs)))

    for step in range(EPOCHS * updates.steps_per_epoch):
        updates.step(step, parts)
    return recalibrate(module, bench.task.batches("train_calib"))


def accuracy(bench: Bench, module: nn.Module) -> float:
    """Returns the top-1 accuracy in % on the test images."""
    return 100.0 - float(bench.task.metrics(module.eval(), bench.task.batches("test"))["error"])


def unpruned(bench: Bench, seed: int) -> nn.Module:
    """Returns the trained whole network, which also teaches."""
    net = bench.supernet(seed)
    path = bench.work / f"unpruned-{seed}.pt"
    module = net.extract(net.space.extreme(largest=True))
    if path.is_file():
        module.load_state_dict(torch.load(path, weights_only=True))
        return module.eval()
    module = trained(bench, module, seed, LabelLoss(smoothing=0.0))
    torch.save(module.state_dict(), path)
    return module


def searched(bench: Bench, seed: int, variant: Variant) -> Mapping[str, Any]:
    """Returns the architecture that the gradient search finds."""
    weights, choices = halves(bench.training, derive_rng(seed, "halves"))
    net = bench.supernet(seed)
    config = TasConfig(**{"epochs": EPOCHS, "seed": seed, **variant})
    name = "_".join(str(value) for value in variant.values()) or "plain"
    found = TasSearch(
        relaxed=Relaxed(net.model, net.elastic).to(memory_format=torch.channels_last),
        task=bench.task, weights=bench.batches(seed, weights),
        choices=bench.batches(seed + 1000, choices), budget=bench.budget, config=config,
        checkpoint=bench.work / f"tas-{name}-{seed}.pt").run()
    sure = [max(values) for values in found.probabilities.values()]
    steps = config.epochs * (len(weights.labels) // BATCH)
    return {"arch": found.arch.as_dict(), "certainty": round(float(np.mean(sure)), 3),
            "likeliest_of_budget": round(bench.cost.of(found.likeliest) / bench.budget.limit, 4),
            "arch_learning_rate": round(config.arch_rate(steps), 5),
            "temperatures": list(config.temperatures)}


def pruned(bench: Bench, method: str, seed: int, draw: int) -> dict[str, Any]:
    """Returns the architecture of a method, by genes."""
    subject = Subject(supernet=bench.supernet(seed), budget=bench.budget, seed=seed + 100 * draw)
    simple = {"uniform": uniform, "random": random, "precrop": precrop}
    return bench.row((method, seed, draw, "arch"), lambda: (
        searched(bench, seed, TAS[method]) if method in TAS
        else {"arch": simple[method](subject).as_dict()}))


def result(bench: Bench, method: str, seed: int, *, draw: int = 0, teach: bool = False
           ) -> dict[str, Any]:
    """Returns one row: a pruned network, trained."""
    found = pruned(bench, method, seed, draw)

    def make() -> Mapping[str, Any]:
        net = bench.supernet(seed)
        values = tuple((gene.name, found["arch"][gene.name]) for gene in net.space.genes
                       if gene.name in found["arch"])
        arch = Arch(net.space.id, values)
        criterion: Criterion = (TeacherLoss(teacher=unpruned(bench, seed)) if teach
                                else LabelLoss(smoothing=0.0))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = net.extract(arch)
            for layer in module.modules():
                if isinstance(layer, nn.Conv2d):
                    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
                elif isinstance(layer, nn.Linear):
                    layer.reset_parameters()
        return {"accuracy": accuracy(bench, trained(bench, module, seed, criterion)),
                "of_budget": round(bench.cost.of(arch) / bench.budget.limit, 4)}

    return bench.row((method, seed, draw, "kd" if teach else "labels"), make)


def jobs(methods: Sequence[str]) -> list[tuple[str, int, bool]]:
    """Returns (method, draw, teach) of one seed, the most telling first."""
    found = [(method, draw, teach) for teach in (False, True) for method in methods
             for draw in range(3 if method == "random" else 1)]
    return [job for job in found if not (job[2] and job[0] in ("precrop", *list(TAS)[1:]))]


def interval(differences: Sequence[float]) -> dict[str, Any]:
    """Returns the mean of paired differences, its 95 % interval, and whether it excludes 0."""
    values = np.asarray(differences)
    half = float(student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5)
    mean = float(values.mean())
    return {"mean": round(mean, 3), "ci95": [round(mean - half, 3), round(mean + half, 3)],
            "seeds": len(values), "excludes_0": abs(mean) > half}


def summary(bench: Bench, methods: Sequence[str], seeds: Sequence[int]) -> dict[str, Any]:
    """Returns all accuracies, and the paired differences of tas to the others."""
    found: dict[str, dict[int, float]] = {}
    for seed in seeds:
        found.setdefault("unpruned", {})[seed] = accuracy(bench, unpruned(bench, seed))
        for method, draw, teach in jobs(methods):
            name = f"{method}, taught" if teach else method
            value = float(result(bench, method, seed, draw=draw, teach=teach)["accuracy"])
            draws = 3 if method == "random" else 1
            found.setdefault(name, {}).setdefault(seed, 0.0)
            found[name][seed] += value / draws
    compared = {}
    for name, by_seed in found.items():
        for ours in ("tas", "tas, taught"):
            if ours in found and name != ours and name.endswith("taught") == ours.endswith(
                    "taught") and len(seeds) > 1:
                compared[f"{ours} − {name}"] = interval(
                    [found[ours][seed] - by_seed[seed] for seed in seeds])
    return {"accuracy_percent": {name: {"mean": round(float(np.mean(list(by_seed.values()))), 3),
                                        "by_seed": {str(s): round(v, 2)
                                                    for s, v in by_seed.items()}}
                                 for name, by_seed in found.items()}, "paired": compared}


def fashion_mnist(folder: Path) -> tuple[LabelledImages, LabelledImages]:
    """Returns training and test images of 14 pixels."""
    train, test = (read_split(folder, split) for split in ("train", "t10k"))
    return (balanced(LabelledImages(smaller(train[0]), train[1]), IMAGES, derive_rng(0, "images")),
            LabelledImages(smaller(test[0]), test[1]))


def main() -> None:
    """Makes the rows of some seeds, and the report once all are there."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--part", default="0/1")
    parser.add_argument("--methods", nargs="+", default=["uniform", "random", "precrop", *TAS])
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    register()
    bench = Bench(*fashion_mnist(given.data), given.work)
    own, parts = map(int, given.part.split("/"))
    keep_freed_memory()
    with one_thread():
        for seed in given.seeds[own::parts]:
            for method, draw, teach in jobs(given.methods):
                result(bench, method, seed, draw=draw, teach=teach)
        if parts == 1:
            write_report("prune", {
                "model": MODEL, "pixels": bench.task.input_shape[1], "images": IMAGES,
                "epochs": EPOCHS, "share_of_macs": SHARE, "macs": bench.budget.limit / SHARE,
                **summary(bench, given.methods, given.seeds)}, seed=0)


if __name__ == "__main__":
    main()
