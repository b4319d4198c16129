"""One trained network that every tool prunes, and how what they leave is judged."""

import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from torch import Tensor, nn

from nas.core.rng import derive_rng
from supernets.calibrate import recalibrate
from supernets.tasks.idx import read_split
from supernets.tasks.image_classification import ImageClassification, LabelledImages
from supernets.tasks.splits import balanced_positions
from supernets.training.data import Augmentation, TrainingData
from supernets.training.plain import PlainTraining
from supernets.training.recipe import Recipe

MODEL = "cifar_resnet20"
IMAGES, HELD_OUT, CALIBRATION = 10_000, 2_000, 1_000
EPOCHS, BATCH = 8, 128


@dataclass(frozen=True)
class Net:
    """The images, and the folder of what is finished."""

    training: LabelledImages
    held_out: LabelledImages
    test: LabelledImages
    work: Path

    @cached_property
    def task(self) -> ImageClassification:
        """``search``: held-out training images, of which no tool's weights know anything."""
        pixels = self.training.images / 255.0
        rows = derive_rng(0, "calibration").choice(IMAGES, CALIBRATION, replace=False)
        calibration = LabelledImages(self.training.images[rows], self.training.labels[rows])
        return ImageClassification(
            labels=tuple(map(str, range(10))), input_shape=(1, *self.training.images.shape[1:]),
            mean=float(pixels.mean()), std=float(pixels.std()), batch_size=500,
            splits={"train_calib": calibration, "search": self.held_out, "test": self.test})

    def trained(self, seed: int) -> nn.Module:
        """Returns the network with good weights, in evaluation mode; it is trained once."""
        path = self.work / f"tools-{EPOCHS}-{seed}.pt"
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = timm.create_model(MODEL, num_classes=10, in_chans=1)
        if not path.is_file():
            torch.save(self._train(module, seed).state_dict(), path)
        module.load_state_dict(torch.load(path, weights_only=True))
        return module.eval()

    def accuracy(self, module: nn.Module, split: str = "test") -> float:
        """Returns the top-1 accuracy in %."""
        error = self.task.metrics(module.eval(), self.task.batches(split))["error"]
        return 100.0 - float(error)

    def recalibrated(self, module: nn.Module) -> nn.Module:
        """Measures batch norms on the same images for all, in place."""
        return recalibrate(module, self.task.batches("train_calib"))

    def _train(self, module: nn.Module, seed: int) -> nn.Module:
        recipe = Recipe(epochs=EPOCHS, learning_rate=0.1, weight_decay=5e-4, label_smoothing=0.0,
                        seed=seed)
        training = PlainTraining(module, task=self.task, recipe=recipe, data=TrainingData(
            task=self.task, data=self.training, batch_size=BATCH, seed=seed,
            augmentation=Augmentation(shift=2, erase=0.0)))
        for _ in range(EPOCHS):
            module = training.advance()
        return module


def fashion_mnist(folder: Path, work: Path) -> Net:
    """Returns balanced images: 10,000 to train on, 2,000 held out of training, 10,000 to test."""
    images, labels = read_split(folder, "train")
    rows = derive_rng(0, "order").permutation(
        balanced_positions(labels, IMAGES + HELD_OUT, derive_rng(0, "images")))
    within = balanced_positions(labels[rows], HELD_OUT, derive_rng(0, "held out"))
    is_held = np.zeros(len(rows), dtype=bool)
    is_held[within] = True
    train, held = rows[~is_held], rows[is_held]
    return Net(LabelledImages(images[train], labels[train]),
               LabelledImages(images[held], labels[held]),
               LabelledImages(*read_split(folder, "t10k")), work)


class _Block(nn.Module):
    def __init__(self, block: Any) -> None:
        super().__init__()
        for name, layer in block.named_children():
            if name != "fit":
                self.add_module(name, layer)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        out = self.act1(self.bn1(self.conv1(x_BCHW)))
        out = self.bn2(self.conv2(out)) + self.downsample(x_BCHW)
        return self.act2(out)


class _Plain(nn.Module):
    def __init__(self, module: Any) -> None:
        super().__init__()
        for name, layer in module.named_children():
            self.add_module(name, layer)
        for stage in (self.layer1, self.layer2, self.layer3):
            for place, block in enumerate(stage):
                stage[place] = _Block(block)
        self.pool = nn.AdaptiveAvgPool2d(1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BCHW = self.act1(self.bn1(self.conv1(x_BCHW)))
        x_BCHW = self.pool(self.layer3(self.layer2(self.layer1(x_BCHW))))
        return self.fc(torch.flatten(x_BCHW, 1))


def plain(module: nn.Module) -> nn.Module:
    """Returns the same network as its textbook has it, for tools that trace: a copy.

    Ours cuts or pads shortcuts to the width of a block, which depends on shapes and so cannot be
    traced; wherever both widths are equal, as in the whole network, that does nothing.
    """
    found = _Plain(copy.deepcopy(module)).to(memory_format=torch.contiguous_format)
    return found.train(module.training)


def macs(module: nn.Module, shape: tuple[int, ...]) -> int:
    """Returns the multiply-adds of convolutions and linear layers for one image."""
    total = 0

    def count(layer: Any, _: Any, output: Tensor) -> None:
        nonlocal total
        total += layer.weight.numel() * output[0].numel() // layer.weight.shape[0]

    handles = [layer.register_forward_hook(count) for layer in module.modules()
               if isinstance(layer, nn.Conv2d | nn.Linear)]
    try:
        with torch.no_grad():
            module(torch.zeros(1, *shape))
    finally:
        for handle in handles:
            handle.remove()
    return total
