"""Image classification: uint8 images and labels in, error in percent out.

Legend: N images, B batch, C channels, H and W sides.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from nas.core.errors import DataError
from nas.core.protocols import Batch
from supernets.tasks import classification
from supernets.tasks.classification import SPLITS as SPLITS
from supernets.tasks.idx import ImageArray


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """Images (N, H, W) or (N, H, W, C), uint8, and labels (N,).

    Raises:
        DataError: Arrays of other shapes, or counts that differ.
    """

    images: ImageArray
    labels: ImageArray

    def __post_init__(self) -> None:
        if (self.images.ndim not in (3, 4) or self.labels.ndim != 1
                or len(self.images) != len(self.labels)):
            raise DataError(f"images {self.images.shape} and labels {self.labels.shape} are not "
                            "(N, H, W[, C]) and (N,)")


@dataclass(frozen=True, kw_only=True)
class ImageClassification:
    """The `Task` of a data set of small images that fits in memory.

    Attributes:
        labels: Class names, in the order of the logits.
        input_shape: (C, H, W) of the network's input.
        mean: Of the pixels scaled to 0 … 1, one number for all channels.
        std: The same.
        splits: Name → images; any of `SPLITS`.
        batch_size: Of `batches`.
        device: Where batches lie.
    """

    labels: tuple[str, ...]
    input_shape: tuple[int, int, int]
    mean: float
    std: float
    splits: Mapping[str, LabelledImages] = field(repr=False)
    batch_size: int = 128
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def __post_init__(self) -> None:
        classification.check_splits(self.splits)
        if not self.std > 0:
            raise DataError(f"the pixels' standard deviation {self.std} must be positive")

    def example_inputs(self, batch: int, rng: np.random.Generator) -> Tensor:
        """Returns normalised random pixels (batch, C, H, W)."""
        return classification.noise(batch, self.input_shape, rng, self.device)

    def batches(self, split: str) -> Iterator[Batch]:
        """Yields (x_BCHW float32, labels_B int64) of a split, in stored order.

        Raises:
            DataError: The task has no such split.
        """
        if split not in self.splits:
            raise classification.no_split(split, self.splits)
        data = self.splits[split]
        for start in range(0, len(data.labels), self.batch_size):
            rows = slice(start, start + self.batch_size)
            yield self.to_input(data.images[rows]), self.to_targets(data.labels[rows])

    def to_input(self, images: ImageArray) -> Tensor:
        """Returns uint8 images (B, H, W[, C]) as normalised x_BCHW, channels last in memory.

        Raises:
            DataError: Images of another size than the task's.
        """
        # A copy, because stored images are read-only.
        x = torch.from_numpy(np.array(images)).to(self.device)
        x = x.unsqueeze(1) if x.ndim == 3 else x.permute(0, 3, 1, 2)
        if x.shape[1:] != self.input_shape:
            raise DataError(f"images are {tuple(x.shape[1:])} (channels, height, width); this "
                            f"task takes {self.input_shape}")
        return classification.channels_last(
            x.float().div_(255.0).sub_(self.mean).div_(self.std))

    def to_targets(self, labels: ImageArray) -> Tensor:
        """Returns labels (B,) as int64.

        Raises:
            DataError: A label that has no class.
        """
        return classification.targets(labels, len(self.labels), self.device)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Returns the mean cross-entropy."""
        return classification.cross_entropy(outputs, targets)

    def metrics(self, model: nn.Module, batches: Iterable[Batch]) -> Mapping[str, float]:
        """Returns ``{"error": top-1 error in %}`` of a network in evaluation mode.

        Raises:
            DataError: There is no batch.
            EvaluationError: Logits that are not finite.
        """
        return classification.top1_error(model, batches)

    def onnx_metadata(self) -> Mapping[str, str]:
        """Returns the preprocessing and label names, as JSON texts."""
        preprocessing = {"input": "image", "layout": "NCHW", "shape": list(self.input_shape),
                         "scale": 1 / 255, "mean": self.mean, "std": self.std}
        return {"preprocessing": json.dumps(preprocessing), "labels": json.dumps(self.labels)}
