"""Training batches: a pure function of (seed, step), so that a resumed run sees the same ones.

Legend: B batch, H and W sides.
"""

import zlib
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from nas.core.errors import DataError, InputError
from nas.core.protocols import Batch
from nas.core.rng import derive_rng
from nas.core.types import IntArray
from supernets.tasks.idx import ImageArray
from supernets.tasks.image_classification import ImageClassification, LabelledImages


class Batches(Protocol):
    """The batches of a training: each a pure function of its step.

    The last partial batch of an epoch is left out.
    """

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in one pass."""

    def checked_steps_per_epoch(self) -> int:
        """Returns the full batches in one pass, of which there must be one.

        Raises:
            DataError: There is none.
        """

    def identity(self) -> dict[str, int | str]:
        """Returns what must be equal for a training to be continued."""

    def batch(self, step: int) -> Batch:
        """Returns inputs and targets of one step, counted over all epochs, on the task's device.

        Raises:
            DataError: Data that does not fit the task or cannot be read.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class Shuffled:
    """Which images each batch has, where all lie in memory: another order in every epoch.

    Attributes:
        images: How many there are.
        batch_size: Of each batch.
        seed: Of the orders.

    Raises:
        InputError: A batch size below 1.
    """

    images: int
    batch_size: int
    seed: int

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise InputError(f"batch size {self.batch_size} must be positive")

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in one pass."""
        return self.images // self.batch_size

    def checked_steps_per_epoch(self) -> int:
        """Returns the full batches in one pass, of which there must be one.

        Raises:
            DataError: There is none.
        """
        if self.steps_per_epoch == 0:
            raise DataError(f"{self.images} images are fewer than one batch of {self.batch_size}; "
                            "use a smaller batch")
        return self.steps_per_epoch

    def rows(self, step: int) -> IntArray:
        """Returns the images (batch_size,) of one step, counted over all epochs."""
        epoch, position = divmod(step, self.steps_per_epoch)
        order = derive_rng(self.seed, "shuffle", index=epoch).permutation(self.images)
        return order[position * self.batch_size:(position + 1) * self.batch_size]


@dataclass(frozen=True, kw_only=True, slots=True)
class Augmentation:
    """Random shift, mirror image and erased rectangle.

    Attributes:
        shift: Largest shift in pixels; what leaves one side comes in black at the other.
        flip: Whether half of the images are mirrored left to right.
        erase: Share of the images that lose a rectangle (Zhong et al., arXiv 1708.04896).
    """

    shift: int = 2
    flip: bool = True
    erase: float = 0.25

    def __call__(self, images_BHW: ImageArray, rng: np.random.Generator) -> ImageArray:
        """Returns changed copies, same shape (B, H, W) or (B, H, W, C).

        Raises:
            DataError: Images too small to lose a rectangle.
        """
        count, height, width = images_BHW.shape[:3]
        longest = max(4, height // 2) - 1  # of an erased rectangle's sides
        if self.erase > 0 and min(height, width) <= longest:
            raise DataError(f"images of {height}×{width} are too small to erase rectangles of up "
                            f"to {longest} pixels; train without erasing")
        pad = ((0, 0), (self.shift, self.shift), (self.shift, self.shift), (0, 0))
        top, left = rng.integers(0, 2 * self.shift + 1, (2, count, 1))
        rows = top + np.arange(height)
        columns = left + np.arange(width)
        if self.flip:
            mirrored = rng.random(count) < 0.5
            columns[mirrored] = columns[mirrored, ::-1]
        padded = np.pad(images_BHW, pad[:images_BHW.ndim])
        each = np.arange(count)[:, None, None]
        out: ImageArray = padded[each, rows[:, :, None], columns[:, None, :]]
        for index in np.flatnonzero(rng.random(count) < self.erase):
            sides = rng.integers(3, longest + 1, 2)
            y, x = rng.integers(0, (height - sides[0], width - sides[1]))
            out[index, y:y + sides[0], x:x + sides[1]] = rng.integers(0, 256)
        return out


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """The `Batches` of images in memory: shuffled, augmented.

    Attributes:
        task: Turns images into inputs.
        data: The images.
        batch_size: Of each batch.
        seed: Of shuffling and augmentation.
        augmentation: None leaves images as they are.
    """

    task: ImageClassification
    data: LabelledImages
    batch_size: int
    seed: int
    augmentation: Augmentation | None

    def __post_init__(self) -> None:
        _ = self._shuffled  # checks the batch size

    @property
    def _shuffled(self) -> Shuffled:
        return Shuffled(images=len(self.data.labels), batch_size=self.batch_size, seed=self.seed)

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in one pass."""
        return self._shuffled.steps_per_epoch

    def checked_steps_per_epoch(self) -> int:
        """Returns the full batches in one pass, of which there must be one.

        Raises:
            DataError: There is none.
        """
        return self._shuffled.checked_steps_per_epoch()

    def identity(self) -> dict[str, int | str]:
        """Returns what must be equal for a training to be continued; the task is not in it."""
        return {"batch_size": self.batch_size, "images": len(self.data.labels),
                "data_seed": self.seed, "augmentation": repr(self.augmentation),
                "pixels": zlib.crc32(np.ascontiguousarray(self.data.images).data),
                "labels": zlib.crc32(np.ascontiguousarray(self.data.labels).data)}

    def batch(self, step: int) -> Batch:
        """Returns x_BCHW and labels (B,) of one step, counted over all epochs.

        Raises:
            DataError: Images that are not of the task's size, or a label that it has not.
        """
        rows = self._shuffled.rows(step)
        images = self.data.images[rows]
        if self.augmentation is not None:
            images = self.augmentation(images, derive_rng(self.seed, "augment", index=step))
        return self.task.to_input(images), self.task.to_targets(self.data.labels[rows])
