"""Training batches of images that are decoded when they are needed, with timm's transforms.

Legend: B batch, C channels, H and W sides, K classes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.core.errors import DataError, InputError
from nas.core.protocols import Batch
from nas.core.rng import derive_rng
from nas.core.types import IntArray
from supernets.tasks import classification
from supernets.tasks.sources import ImageSet
from supernets.tasks.timm_images import TimmImages
from supernets.training.ahead import Ahead
from supernets.training.randomness import generators_kept, seed_generators
from supernets.training.timm_augmentation import TimmAugmentation

Arrays = tuple[NDArray[np.float32], NDArray[Any]]  # x (B, H, W, C) and targets


@dataclass(frozen=True, kw_only=True, eq=False)
class _Maker:
    """Makes the batches, in whichever process."""

    task: TimmImages
    data: ImageSet
    batch_size: int
    seed: int
    augmentation: TimmAugmentation | None

    @property
    def steps_per_epoch(self) -> int:
        return len(self.data) // self.batch_size

    def __call__(self, step: int) -> Arrays:
        epoch, position = divmod(step, self.steps_per_epoch)
        order = _order(self.seed, epoch, len(self.data))
        data = self.data.take(order[position * self.batch_size:(position + 1) * self.batch_size])
        transform = self._transform()
        mode = self.task.preprocessing.mode
        samples = []
        with generators_kept():
            for place in range(self.batch_size):
                image = data.image(place, mode)
                seed_generators(self.seed, "sample", index=step * self.batch_size + place)
                samples.append(transform(image))
            x = torch.stack(samples)
            targets = classification.targets(data.labels, len(self.task.labels), x.device)
            if self.augmentation is not None and self.augmentation.mixes:
                seed_generators(self.seed, "mix", index=step)
                x, targets = self.augmentation.mix(x, targets, len(self.task.labels))
        # Turned here rather than in the main process, which has a network to train.
        return classification.channels_last(x).permute(0, 2, 3, 1).numpy(), targets.numpy()

    def _transform(self) -> Callable[[Any], Tensor]:
        how = self.task.preprocessing
        if self.augmentation is not None:
            return self.augmentation.transform(how)
        to_pixels = how.to_pixels()
        return lambda image: how.normalised(to_pixels(image))


@lru_cache(maxsize=2)  # of a million images it takes as long as several decodings
def _order(seed: int, epoch: int, count: int) -> IntArray:
    order = derive_rng(seed, "shuffle", index=epoch).permutation(count)
    order.setflags(write=False)
    return order


class ImageBatches:
    """The `supernets.training.data.Batches` of images of any size.

    Each epoch has an order of its own. What is random about a sample depends on the seed, its
    step and its place in the batch alone, whichever process makes it.

    Args:
        task: Its preprocessing, classes and device.
        data: The images.
        batch_size: Of each batch.
        seed: Of shuffling and augmentation.
        augmentation: None preprocesses images as for validation.
        workers: Processes that make batches ahead; 0 makes each when it is asked for. They end
            with `close`.

    Raises:
        InputError: A size that is not positive, or an odd one where images are mixed in pairs, or
            an augmentation that timm does not take.
        DataError: Images of other classes than the task's.
    """

    def __init__(self, *, task: TimmImages, data: ImageSet, batch_size: int, seed: int,
                 augmentation: TimmAugmentation | None, workers: int = 0) -> None:
        if batch_size < 1:
            raise InputError(f"batch size {batch_size} must be positive")
        if workers < 0:
            raise InputError(f"{workers} workers are fewer than none")
        if augmentation is not None and augmentation.mixes and batch_size % 2:
            raise InputError(f"batch size {batch_size} is odd, and mixup and cutmix take pairs; "
                             "give an even one")
        if data.class_names != task.labels:
            raise DataError("the training images have other classes than the task")
        self._maker = _Maker(task=task, data=data, batch_size=batch_size, seed=seed,
                             augmentation=augmentation)
        if augmentation is not None:
            augmentation.transform(task.preprocessing)  # fails here rather than in a worker
        self._ahead = Ahead(self._maker, workers=workers) if workers else None

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in one pass."""
        return self._maker.steps_per_epoch

    def checked_steps_per_epoch(self) -> int:
        """Returns the full batches in one pass, of which there must be one.

        Raises:
            DataError: There is none.
        """
        if self.steps_per_epoch == 0:
            raise DataError(f"{len(self._maker.data)} images are fewer than one batch of "
                            f"{self._maker.batch_size}; use a smaller batch")
        return self.steps_per_epoch

    def identity(self) -> dict[str, int | str]:
        """Returns all that decides the batches; where the images lie and `workers` do not."""
        maker = self._maker
        return {"batch_size": maker.batch_size, "images": len(maker.data),
                "data_seed": maker.seed, "augmentation": repr(maker.augmentation),
                "preprocessing": repr(maker.task.preprocessing),
                "fingerprint": self._fingerprint}

    def batch(self, step: int) -> Batch:
        """Returns x_BCHW and targets of one step, counted over all epochs, on the task's device.

        Targets are classes (B,), or where images are mixed, shares of them (B, K).

        Raises:
            DataError: An image that cannot be read.
            EvaluationError: A worker was killed, such as for want of memory.
        """
        x_BHWC, targets = (self._ahead or self._maker)(step)
        device = self._maker.task.device
        return (torch.from_numpy(x_BHWC).permute(0, 3, 1, 2).to(device),
                torch.from_numpy(targets).to(device))

    @cached_property
    def _fingerprint(self) -> str:
        return self._maker.data.fingerprint()  # looks at every file: once is enough

    def close(self) -> None:
        """Ends the workers; the next batch starts new ones."""
        if self._ahead is not None:
            self._ahead.close()
