"""Do searched widths and depths beat simple ones at equal cost? Real trainings, several seeds.

ResNet-20 of half width on Fashion-MNIST at 14 pixels, 10,000 balanced training images and all
10,000 test images; `--images cifar` is the sample of CIFAR-10 (4,000 and 1,000 images) at 16
pixels, labels alone, which are too few to tell much. Every network is pruned to the same part of
the multiply-adds and trained from fresh weights for as many epochs, with labels alone or with the
unpruned network as its teacher. Finished rows are kept under --work: a stopped benchmark goes on,
and several processes may each make some methods or seeds. Paired differences have 95 % intervals
(Student's t over seeds); "beats" means that the interval excludes 0. The report has all rows that
are there.

    python tests/benchmarks/bench_prune.py --data DIR --work DIR [--methods tas uniform] [--seeds 0]
    python tests/benchmarks/bench_prune.py --images cifar --work DIR
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _cifar import cifar_pixels
from _prune_bench import MODEL, SHARE, Bench, accuracy, smaller, trained, unpruned
from _prune_methods import DRAWS, METHODS, VALIDATIONS
from _report import write_report
from scipy.stats import t as student
from torch import nn

from nas.core.arch import Arch
from nas.core.rng import derive_rng
from nas.pipeline.device import keep_freed_memory, one_thread
from supernets.tasks.idx import read_split
from supernets.tasks.image_classification import LabelledImages
from supernets.tasks.splits import balanced
from supernets.timm.cifar_resnet import register
from supernets.training.distill import Criterion, LabelLoss, TeacherLoss

IMAGES = 10_000
EPOCHS = 20
SEEDS = 5
FEWER_SEEDS = {"magnitude": 2, "n2n": 1}
DRAWN = {"random": 3}  # networks of a seed, whose mean counts; of the other methods one
TAUGHT = ("uniform", "random", "tas")
OF_CIFAR = ("uniform", "random", "tas")
WHOLE = "unpruned"


def result(bench: Bench, method: str, seed: int, draw: int, *, teach: bool) -> dict[str, Any]:
    """Returns one row: a pruned network, trained."""
    found = bench.row((method, seed, draw, "arch"), lambda: chosen(bench, method, seed, draw))

    def make() -> Mapping[str, Any]:
        net = bench.supernet(seed, found.get("order"))
        values = tuple((gene.name, found["arch"][gene.name]) for gene in net.space.genes
                       if gene.name in found["arch"])
        arch, budget = Arch(net.space.id, values), bench.budget(net)
        criterion: Criterion = (TeacherLoss(teacher=unpruned(bench, seed)) if teach
                                else LabelLoss(smoothing=0.0))
        module = trained(bench, fresh(net.extract(arch), seed), seed, criterion)
        return {"accuracy": accuracy(bench, module),
                "of_budget": round(budget.cost.of(arch) / budget.limit, 4)}

    return bench.row((method, seed, draw, "kd" if teach else "labels"), make)


def chosen(bench: Bench, method: str, seed: int, draw: int) -> dict[str, Any]:
    """Returns the architecture of a method by genes, and what is to be told of it."""
    found = METHODS[method](bench, seed, draw)
    return {"arch": found.arch.as_dict(), **found.said}


def fresh(module: nn.Module, seed: int) -> nn.Module:
    """Returns a network with new weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(layer, nn.Linear):
                layer.reset_parameters()
    return module


def jobs(methods: Sequence[str], seeds: Sequence[int], taught: Sequence[str]
         ) -> Iterator[tuple[str, int, int, bool]]:
    """Yields (method, seed, draw, teach)."""
    for seed in seeds:
        for teach in (False, True):
            for method in methods:
                if seed < FEWER_SEEDS.get(method, SEEDS) and (not teach or method in taught):
                    for draw in range(DRAWN.get(method, 1)):
                        yield method, seed, draw, teach


def accuracies(bench: Bench) -> dict[str, dict[int, float]]:
    """Returns the accuracy of each method by seed, in %, of all rows that are there."""
    found: dict[str, dict[int, float]] = {}
    for seed in range(SEEDS):
        if (bench.work / f"unpruned-{seed}.pt").is_file():
            found.setdefault(WHOLE, {})[seed] = accuracy(bench, unpruned(bench, seed))
        for method in METHODS:
            for how, name in (("labels", method), ("kd", f"{method}, taught")):
                paths = [bench.path((method, seed, draw, how))
                         for draw in range(DRAWN.get(method, 1))]
                if all(path.is_file() for path in paths):
                    found.setdefault(name, {})[seed] = float(np.mean(
                        [json.loads(path.read_text())["accuracy"] for path in paths]))
    return found


def paired(found: Mapping[str, Mapping[int, float]]) -> dict[str, Any]:
    """Returns the differences that are asked about, over the seeds that both have."""
    labels = [name for name in found if "taught" not in name and name != WHOLE]
    taught = [name for name in found if "taught" in name]
    pairs = [("tas", name) for name in labels if name != "tas"]
    pairs += [("tas, taught", name) for name in taught if name != "tas, taught"]
    pairs += [(name, "uniform") for name in labels if name not in ("uniform", "tas")]
    pairs += [(name, name.removesuffix(", taught")) for name in taught]
    pairs += [(name, WHOLE) for name in (*labels, *taught)]
    out = {}
    for ours, other in pairs:
        common = sorted(set(found.get(ours, ())) & set(found.get(other, ())))
        if len(common) > 1:
            out[f"{ours} − {other}"] = interval([found[ours][seed] - found[other][seed]
                                                for seed in common])
    return out


def interval(differences: Sequence[float]) -> dict[str, Any]:
    """Returns the mean of paired differences, its 95 % interval, and whether it excludes 0."""
    values = np.asarray(differences)
    half = float(student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5)
    mean = float(values.mean())
    return {"mean": round(mean, 3), "ci95": [round(mean - half, 3), round(mean + half, 3)],
            "seeds": len(values), "excludes_0": abs(mean) > half}


def searches(bench: Bench) -> dict[str, Any]:
    """Returns what is to be told of each method's choices: seconds, certainty, share of budget."""
    out: dict[str, Any] = {}
    for method in METHODS:
        kept = [json.loads(path.read_text()) for seed in range(SEEDS)
                if (path := bench.path((method, seed, 0, "arch"))).is_file()]
        rows = [json.loads(path.read_text()) for seed in range(SEEDS)
                for draw in range(DRAWN.get(method, 1))
                if (path := bench.path((method, seed, draw, "labels"))).is_file()]
        if kept and rows:
            said = {key: [one[key] for one in kept] for key in kept[0]
                    if key not in ("key", "arch", "order")}
            out[method] = {**said, "of_budget": [row["of_budget"] for row in rows],
                           "training_cpu_s": round(float(np.mean([row["cpu_s"] for row in rows])))}
    return out


def fashion_mnist(folder: Path) -> tuple[LabelledImages, LabelledImages]:
    """Returns training and test images of 14 pixels."""
    train, test = (read_split(folder, split) for split in ("train", "t10k"))
    return (balanced(LabelledImages(smaller(train[0]), train[1]), IMAGES, derive_rng(0, "images")),
            LabelledImages(smaller(test[0]), test[1]))


def cifar() -> tuple[LabelledImages, LabelledImages]:
    """Returns training and test images of the sample, of 16 pixels."""
    train, test = cifar_pixels("train"), cifar_pixels("test")
    return (LabelledImages(smaller(train[0]), train[1].astype(np.uint8)),
            LabelledImages(smaller(test[0]), test[1].astype(np.uint8)))


def report(bench: Bench, images: str) -> None:
    """Writes all that is there."""
    found = accuracies(bench)
    write_report("prune" if images == "fashion" else "prune_cifar", {
        "model": MODEL, "pixels": bench.task.input_shape[1],
        "images": len(bench.training.labels), "test_images": len(bench.test.labels),
        "epochs": bench.epochs, "share_of_macs": SHARE, "macs": bench.macs,
        "validations_of_linas": VALIDATIONS, "draws_of_n2n": DRAWS,
        "accuracy_percent": {name: {"mean": round(float(np.mean(list(by_seed.values()))), 3),
                                    "by_seed": {str(s): round(v, 2) for s, v in by_seed.items()}}
                             for name, by_seed in found.items()},
        "paired": paired(found), "searches": searches(bench)}, seed=0)


def main() -> None:
    """Makes the rows that are missing, then the report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", choices=("fashion", "cifar"), default="fashion")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--methods", nargs="*", default=None, choices=tuple(METHODS))
    parser.add_argument("--seeds", type=int, nargs="+", default=range(SEEDS))
    given = parser.parse_args()
    if given.images == "fashion" and given.data is None:
        parser.error("give --data: the folder of Fashion-MNIST's idx files")
    given.work.mkdir(parents=True, exist_ok=True)
    register()
    images = cifar() if given.images == "cifar" else fashion_mnist(given.data)
    bench = Bench(*images, given.work, EPOCHS)
    usual, taught = (OF_CIFAR, ()) if given.images == "cifar" else (tuple(METHODS), TAUGHT)
    methods = usual if given.methods is None else given.methods
    keep_freed_memory()
    with one_thread():
        for method, seed, draw, teach in jobs(methods, given.seeds, taught):
            result(bench, method, seed, draw, teach=teach)
        report(bench, given.images)


if __name__ == "__main__":
    main()
