"""A supernet without batch norm, of elastic depth and width, for tests of training."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.core.arch import Arch
from nas.core.blocks import Block
from nas.core.protocols import Batch
from nas.core.space import Condition, Gene, GeneSpace
from supernets.calibrate import recalibrate
from supernets.tasks.image_classification import ImageClassification, LabelledImages
from supernets.training.data import TrainingData

SPACE = GeneSpace("mlp/1", (
    Gene("depth", (1, 2)), Gene("block0.width", (2, 4, 8)),
    Gene("block1.width", (2, 4, 8), Condition("depth", (2,)))))
CLASSES, SIDE, FEATURES = 3, 8, 8


class Block_(nn.Module):
    """Norm, expand, drop, squeeze, add: of any number of its hidden units."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(FEATURES)
        self.fc1 = nn.Linear(FEATURES, 8)
        self.fc2 = nn.Linear(8, FEATURES)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, width: int) -> Tensor:
        hidden = F.gelu(F.linear(self.norm(x), self.fc1.weight[:width], self.fc1.bias[:width]))
        return x + F.linear(self.drop(hidden), self.fc2.weight[:, :width], self.fc2.bias)


class TinyMlp(nn.Module):
    """The supernet; its layers are known to timm's layer decay."""

    def __init__(self, task: ImageClassification, *, dropout: float = 0.0, seed: int = 0) -> None:
        super().__init__()
        self.task, self.space = task, SPACE
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.stem = nn.Linear(SIDE * SIDE, FEATURES)
            self.blocks = nn.ModuleList(Block_(dropout) for _ in range(2))
            self.head = nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        choices: dict[str, Any] = dict(arch.choices)
        x = self.stem(x.flatten(1))
        for index in range(choices["depth"]):
            x = self.blocks[index](x, choices[f"block{index}.width"])
        return self.head(x)

    def extract(self, arch: Arch) -> nn.Module:
        return Bound(self, arch)

    def recalibrated(self, arch: Arch, batches: Iterable[Batch]) -> nn.Module:
        return recalibrate(self.extract(arch), batches)

    @property
    def vocabulary(self) -> Sequence[Block]:
        raise NotImplementedError

    def block_ids(self, codes: Any) -> Any:
        raise NotImplementedError

    def group_matcher(self, *, coarse: bool = False) -> dict[str, Any]:
        del coarse
        return {"stem": r"^stem", "blocks": [(r"^blocks\.(\d+)", None)]}

    def no_weight_decay(self) -> set[str]:
        return {"stem.weight"}


class Bound(nn.Module):
    """A copy of a supernet that runs one architecture."""

    def __init__(self, net: TinyMlp, arch: Arch) -> None:
        super().__init__()
        self.net = TinyMlp(net.task)
        self.net.load_state_dict(net.state_dict())
        self.arch = arch

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x, self.arch)


def striped(count: int, *, seed: int = 0) -> LabelledImages:
    """Returns noise with a bright band of rows that is the class."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(count) % CLASSES).astype(np.uint8)
    images = rng.integers(0, 80, (count, SIDE, SIDE), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[3 * label:3 * label + 2] += 150
    return LabelledImages(images, labels)


def mlp_task() -> ImageClassification:
    """Returns a task whose splits have images of their own."""
    splits = {"train_calib": striped(24, seed=1), "search": striped(30, seed=2),
              "test": striped(30, seed=3)}
    return ImageClassification(labels=("top", "middle", "bottom"), input_shape=(1, SIDE, SIDE),
                               mean=0.3, std=0.3, splits=splits, batch_size=10)


def mlp_data(task: ImageClassification, *, batch_size: int = 12, count: int = 48) -> TrainingData:
    """Returns batches of striped images, as they are."""
    return TrainingData(task=task, data=striped(count), batch_size=batch_size, seed=3,
                        augmentation=None)
