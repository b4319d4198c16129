"""Images of any size, preprocessed as timm does, read from wherever they lie.

Legend: B batch, C channels, H and W sides, K classes.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from nas.core.errors import DataError
from nas.core.protocols import Batch
from supernets.tasks import classification
from supernets.tasks.checking import ProgressCallback, Unreadable, without_unreadable
from supernets.tasks.opening import open_images
from supernets.tasks.preprocessing import Preprocessing
from supernets.tasks.sources import ImageSet
from supernets.tasks.splits import CALIBRATION_IMAGES, divide

KEPT_BYTES = 2**30


class PixelCache:
    """Preprocessed images, so that each validation of a search does not decode them again.

    The first ones are kept until there is no more room: a split is read in the same order each
    time, so that dropping the oldest would drop what is needed next. Copies start empty.

    Args:
        limit_bytes: Of all pixels.
    """

    def __init__(self, limit_bytes: int = KEPT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._used_bytes = 0
        self._kept: dict[tuple[Preprocessing, ImageSet, int], Tensor] = {}

    def __reduce__(self) -> tuple[type["PixelCache"], tuple[int]]:
        return PixelCache, (self._limit_bytes,)

    def get(self, key: tuple[Preprocessing, ImageSet, int], make: Callable[[], Tensor]) -> Tensor:
        """Returns pixels, made if they are not kept."""
        found = self._kept.get(key)
        if found is None:
            found = make()
            if self._used_bytes + found.nbytes <= self._limit_bytes:
                self._kept[key] = found
                self._used_bytes += found.nbytes
        return found


@dataclass(frozen=True, kw_only=True)
class TimmImages:
    """The `Task` of classifying images that need not fit in memory.

    Attributes:
        labels: Class names, in the order of the logits.
        preprocessing: How an image becomes an input.
        splits: Name → images; any of ``train_calib``, ``search`` and ``test``.
        batch_size: Of `batches`.
        device: Where batches lie.
        cache: Of pixels.
        training: Images to train on, where they are at hand; `batches` does not give them.

    Raises:
        DataError: A split of another name or with other classes.
    """

    labels: tuple[str, ...]
    preprocessing: Preprocessing
    splits: Mapping[str, ImageSet] = field(repr=False)
    batch_size: int = 128
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    cache: PixelCache = field(default_factory=PixelCache, repr=False, compare=False)
    training: ImageSet | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        classification.check_splits(self.splits)
        for split, data in self.splits.items():
            check_classes(len(data.class_names), expected=len(self.labels), where=split)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the network's input."""
        return self.preprocessing.input_shape

    def example_inputs(self, batch: int, rng: np.random.Generator) -> Tensor:
        """Returns normalised random pixels (batch, C, H, W)."""
        return classification.noise(batch, self.input_shape, rng, self.device)

    def batches(self, split: str) -> Iterator[Batch]:
        """Yields (x_BCHW float32, labels_B int64) of a split, always in the same order.

        Raises:
            DataError: The task has no such split, or an image of it cannot be read.
        """
        if split not in self.splits:
            raise classification.no_split(split, self.splits)
        data = self.splits[split]
        labels, to_pixels = data.labels, self.preprocessing.to_pixels()
        for start in range(0, len(data), self.batch_size):
            positions = range(start, min(start + self.batch_size, len(data)))
            pixels = [self._pixels(data, position, to_pixels) for position in positions]
            yield self.to_batch(torch.stack(pixels), labels[start:positions.stop])

    def to_batch(self, pixels: Tensor, labels: Any) -> Batch:
        """Returns uint8 pixels (B, C, H, W) and labels (B,) as a batch on the task's device.

        Raises:
            DataError: A label that has no class.
        """
        x_BCHW = self.preprocessing.normalised(pixels.to(self.device))
        return (classification.channels_last(x_BCHW),
                classification.targets(labels, len(self.labels), self.device))

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Returns the mean cross-entropy against classes (B,) or shares of them (B, K)."""
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
        return {"preprocessing": json.dumps(self.preprocessing.describe()),
                "labels": json.dumps(self.labels)}

    def _pixels(self, data: ImageSet, position: int,
                to_pixels: Callable[[Image.Image], Tensor]) -> Tensor:
        mode = self.preprocessing.mode
        return self.cache.get((self.preprocessing, data, position),
                              lambda: to_pixels(data.image(position, mode)))


@dataclass(frozen=True, kw_only=True, eq=False)
class Opened:
    """A data set ready for training and search.

    Attributes:
        task: With the splits that are not trained on, and `train_calib`.
        training: The images to train on.
        unreadable: By split of the data set, what was left out.
    """

    task: TimmImages
    training: ImageSet
    unreadable: Mapping[str, Unreadable]


def open_task(dataset: str, root: Path, *, preprocessing: Preprocessing, seed: int,
              classes: int | None = None, calibration: int = CALIBRATION_IMAGES,
              batch_size: int = 128, device: torch.device | None = None, download: bool = False,
              threads: int = 1, checked: Path | None = None,
              on_image: ProgressCallback | None = None) -> Opened:
    """Opens a data set by timm's name, leaves out what cannot be read and divides the rest.

    The result is a pure function of the images, `seed` and `calibration`.

    Args:
        dataset: timm's name: see `supernets.tasks.opening.open_images`.
        root: Folder of the images.
        preprocessing: How an image becomes an input.
        seed: Of the splits that are drawn: see `supernets.tasks.splits.divide`.
        classes: How many the network has; None takes any number.
        calibration: Images of ``train_calib``.
        batch_size: Of the task.
        device: Of the task; the CPU by default.
        download: Whether what is not in `root` may be fetched.
        threads: That decode every image once to see if it can be read.
        checked: File that keeps which could, so that it is done once.
        on_image: Called after each image that was looked at.

    Raises:
        DataError: A data set that cannot be used.
        OSError: `checked` cannot be written.
    """
    found = open_images(dataset, root, download=download)
    names = next(iter(found.values())).class_names
    check_classes(len(names), expected=classes, where=str(root))
    readable: dict[str, ImageSet] = {}
    unreadable: dict[str, Unreadable] = {}
    for split, data in found.items():
        readable[split], unreadable[split] = without_unreadable(
            data, mode=preprocessing.mode, threads=threads, cache=checked, on_image=on_image)
    divided = divide(readable, seed=seed, calibration=calibration)
    task = TimmImages(
        labels=names, preprocessing=preprocessing, batch_size=batch_size,
        device=device or torch.device("cpu"), training=divided.training,
        splits={split: getattr(divided, split) for split in classification.SPLITS})
    return Opened(task=task, training=divided.training, unreadable=unreadable)


def check_classes(found: int, *, expected: int | None, where: str) -> None:
    """Checks a number of classes.

    Raises:
        DataError: It is not what is expected.
    """
    if expected is not None and found != expected:
        raise DataError(f"{where} has {found} classes, but the network has {expected}; give images "
                        f"of {expected} classes or a network of {found}")
