"""Training batches of images that are decoded when they are needed, with timm's transforms.

Legend: B batch, C channels, H and W sides, K classes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from nas.core.errors import DataError, EvaluationError, InputError
from nas.core.protocols import Batch
from nas.core.rng import derive_rng
from supernets.tasks import classification
from supernets.tasks.sources import ImageSet, one_line
from supernets.tasks.timm_images import TimmImages
from supernets.training.randomness import generators_kept, seed_generators
from supernets.training.timm_augmentation import TimmAugmentation

_AHEAD = 2  # batches that each worker prepares before they are asked for


@dataclass(frozen=True, kw_only=True, eq=False)
class _Maker(Dataset[Any]):
    """Makes the batches, in whichever process: (x_BCHW, targets) on the CPU, or an error."""

    task: TimmImages
    data: ImageSet
    batch_size: int
    seed: int
    augmentation: TimmAugmentation | None

    @property
    def steps_per_epoch(self) -> int:
        return len(self.data) // self.batch_size

    def __getitem__(self, step: int) -> Batch | DataError:
        # A worker's exception would come back with its traceback in the message.
        try:
            return self.make(step)
        except DataError as error:
            return error

    def make(self, step: int) -> Batch:
        epoch, position = divmod(step, self.steps_per_epoch)
        order = derive_rng(self.seed, "shuffle", index=epoch).permutation(len(self.data))
        rows = order[position * self.batch_size:(position + 1) * self.batch_size]
        transform = self._transform()
        mode = self.task.preprocessing.mode
        samples = []
        with generators_kept():
            for place, row in enumerate(rows):
                image = self.data.image(int(row), mode)
                seed_generators(self.seed, "sample", index=step * self.batch_size + place)
                samples.append(transform(image))
            x = torch.stack(samples)
            targets = classification.targets(self.data.labels[rows], len(self.task.labels),
                                             x.device)
            if self.augmentation is not None and self.augmentation.mixes:
                seed_generators(self.seed, "mix", index=step)
                return self.augmentation.mix(x, targets, len(self.task.labels))
        return x, targets

    def _transform(self) -> Callable[[Any], Tensor]:
        how = self.task.preprocessing
        if self.augmentation is not None:
            return self.augmentation.transform(how)
        to_pixels = how.to_pixels()
        return lambda image: how.normalised(to_pixels(image))


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
        workers: Processes that make batches ahead; 0 makes each when it is asked for. They are
            started as those of torch's `DataLoader` are, and end with `close`.

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
        self._workers = workers
        self._ahead: Iterator[Batch | DataError] | None = None
        self._next = 0  # step that comes next from `_ahead`

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
                "fingerprint": maker.data.fingerprint()}

    def batch(self, step: int) -> Batch:
        """Returns x_BCHW and targets of one step, counted over all epochs, on the task's device.

        Targets are classes (B,), or where images are mixed, shares of them (B, K).

        Raises:
            DataError: An image that cannot be read.
            EvaluationError: A worker ended, such as for want of memory.
        """
        x, targets = self._maker.make(step) if self._workers == 0 else self._from_worker(step)
        device = self._maker.task.device
        return classification.channels_last(x.to(device)), targets.to(device)

    def close(self) -> None:
        """Ends the workers; the next batch starts new ones."""
        self._ahead = None

    def _from_worker(self, step: int) -> Batch:
        if self._ahead is None or step != self._next:
            self._ahead = self._start(step)
        try:
            found = next(self._ahead)
        except RuntimeError as error:
            self.close()
            raise EvaluationError(f"a process that prepares batches ended ({one_line(error)}); "
                                  "use fewer workers or smaller batches") from None
        self._next = step + 1
        if isinstance(found, DataError):
            self.close()
            raise found
        return found

    def _start(self, step: int) -> Iterator[Batch | DataError]:
        loader = DataLoader(self._maker, batch_size=None, sampler=_Steps(step),
                            num_workers=self._workers, prefetch_factor=_AHEAD,
                            generator=torch.Generator())  # else it draws from the global one
        return iter(loader)


class _Steps:
    """All steps from one on, for a `DataLoader`."""

    def __init__(self, first: int) -> None:
        self._first = first

    def __iter__(self) -> Iterator[int]:
        step = self._first
        while True:
            yield step
            step += 1
