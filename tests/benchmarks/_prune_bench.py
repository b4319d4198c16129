"""What benchmarks of pruning share: small images, fresh networks, equal trainings, kept rows."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from torch import nn

from nas.pipeline.prune.costs import network_cost
from nas.pipeline.prune.space import PARTS
from supernets.tas.budget import Budget
from supernets.tasks.image_classification import ImageClassification, LabelledImages
from supernets.timm.elastic import Elastic, Ratios
from supernets.timm.families import describe_model
from supernets.timm.supernet import TimmSupernet
from supernets.training.data import Augmentation, TrainingData
from supernets.training.distill import Criterion, LabelLoss
from supernets.training.plain import PlainTraining
from supernets.training.recipe import Recipe

MODEL = "cifar_resnet20_half"
SPACE = Ratios(inner=PARTS, width=PARTS, depth=0.01, multiple=1, nearest=False)
SHARE = 0.5  # of the multiply-adds
BATCH = 128
AUGMENTATION = Augmentation(shift=1, erase=0.0)


@dataclass(frozen=True)
class Bench:
    """The images, and the folder of what is finished."""

    training: LabelledImages
    test: LabelledImages
    work: Path
    epochs: int

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

    def supernet(self, seed: int, order: Mapping[str, Sequence[int]] | None = None
                 ) -> TimmSupernet:
        """Returns the space with fresh weights; blocks go in an order, by default from the end."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = timm.create_model(MODEL, num_classes=10, in_chans=self.task.input_shape[0])
        elastic = Elastic(f"{MODEL}/bench", describe_model(model), SPACE, order or {})
        return TimmSupernet(model.to(memory_format=torch.channels_last), elastic, self.task)

    @cached_property
    def macs(self) -> float:
        """Multiply-adds of the unpruned network."""
        return self.budget(self.supernet(0)).limit / SHARE

    def budget(self, net: TimmSupernet) -> Budget:
        """Returns the part of the unpruned network's multiply-adds that pruned ones may have."""
        cost = network_cost(net, "macs", None)
        return Budget(cost=cost, limit=SHARE * cost.of(net.space.extreme(largest=True)))

    def batches(self, seed: int, data: LabelledImages | None = None) -> TrainingData:
        """Returns training batches."""
        return TrainingData(task=self.task, data=data or self.training, batch_size=BATCH,
                            seed=seed, augmentation=AUGMENTATION)

    def path(self, key: tuple[Any, ...]) -> Path:
        """Returns where a row is kept."""
        return self.work / f"{'-'.join(map(str, key)).replace(' ', '_')}.json"

    def row(self, key: tuple[Any, ...], make: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """Returns a finished row, made if it is not there."""
        path = self.path(key)
        if not path.is_file():
            start = time.process_time()
            made = {"key": key, **make(), "cpu_s": round(time.process_time() - start, 1)}
            path.write_text(json.dumps(made))
            print(json.dumps({name: value for name, value in made.items()
                              if name not in ("arch", "order")}), flush=True)
        found: dict[str, Any] = json.loads(path.read_text())
        return found


def rows(data: LabelledImages, positions: Sequence[int] | range) -> LabelledImages:
    """Returns some of the images."""
    chosen = np.asarray(positions)
    return LabelledImages(data.images[chosen], data.labels[chosen])


def smaller(images: np.ndarray) -> np.ndarray:
    """Returns images of half the sides: means of 2×2 pixels."""
    count, height, width, *channels = images.shape
    means = images.reshape(count, height // 2, 2, width // 2, 2, *channels).mean((2, 4))
    return np.round(means).astype(np.uint8)


def trained(bench: Bench, module: nn.Module, seed: int, criterion: Criterion, *,
            data: LabelledImages | None = None, epochs: int | None = None) -> nn.Module:
    """Trains a network from its weights and returns it with measured batch norms."""
    recipe = Recipe(epochs=epochs or bench.epochs, learning_rate=0.1, weight_decay=5e-4,
                    label_smoothing=0.0, seed=seed)
    training = PlainTraining(module, task=bench.task, data=bench.batches(seed, data),
                             recipe=recipe, criterion=criterion)
    for _ in range(recipe.epochs):
        module = training.advance()
    return module


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
