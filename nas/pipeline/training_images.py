"""What single networks are trained on: images that nothing is validated or tested on."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nas.core.errors import DataError, InputError
from nas.core.protocols import Task
from nas.pipeline.device import image_workers
from supernets.tasks.checking import without_unreadable
from supernets.tasks.idx import read_split
from supernets.tasks.image_classification import ImageClassification, LabelledImages
from supernets.tasks.opening import open_images
from supernets.tasks.sources import ImageSet
from supernets.tasks.timm_images import TimmImages
from supernets.training.data import Augmentation, Batches, TrainingData
from supernets.training.image_batches import ImageBatches
from supernets.training.plain import check_apart
from supernets.training.timm_augmentation import TimmAugmentation

CALIBRATION = "train_calib"


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingImages:
    """Images to train one network on.

    Attributes:
        described: How many and where they are from, for people.
        batches: (batch size, seed) → the batches, shuffled and augmented.
    """

    described: str
    batches: Callable[[int, int], Batches]


def training_images(task: Task, data: Path | None, *, dataset: str | None = None,
                    workers: int | None = None) -> TrainingImages:
    """Returns the images to train on.

    Args:
        task: Of the network.
        data: Folder of idx files or of class folders, or what `dataset` is in; None: the task's
            own training images, or ``train_calib`` where it has none.
        dataset: timm's name of what is in `data`; for tasks of timm supernets.
        workers: Processes that make batches; None: as usual. For tasks of timm supernets.

    Raises:
        InputError: A task that is not image classification, or one of images in memory with what
            is not for such.
        DataError: No images, or images that do not fit the task or are validated or tested on.
    """
    if isinstance(task, ImageClassification):
        _check_in_memory(dataset, workers)
        images = classification_images(task, data)
        return TrainingImages(
            described=_described(len(images.labels), data, own=False),
            batches=lambda batch_size, seed: TrainingData(
                task=task, data=images, batch_size=batch_size, seed=seed,
                augmentation=Augmentation()))
    if isinstance(task, TimmImages):
        found = image_set(task, data, dataset)
        return TrainingImages(
            described=_described(len(found), data, dataset, own=task.training is not None),
            batches=lambda batch_size, seed: ImageBatches(
                task=task, data=found, batch_size=batch_size, seed=seed,
                augmentation=TimmAugmentation(), workers=image_workers(workers, task.device)))
    raise InputError(f"image classifiers can be trained, and the task of this supernet is "
                     f"{type(task).__name__}")


def classification_images(task: ImageClassification, data: Path | None) -> LabelledImages:
    """Returns images in memory to train on.

    Args:
        task: Of the network.
        data: Folder of idx files or of class folders; None: the task's ``train_calib``.

    Raises:
        DataError: As for `training_images`.
    """
    if data is None:
        images = _own(task)
    elif any(data.glob("*-ubyte*")) or not data.is_dir():
        images = LabelledImages(*read_split(data, "train"))
    else:
        images = _in_memory(task, open_images("folder", data))
    check_apart(images, task)
    return images


def _own(task: ImageClassification) -> LabelledImages:
    if CALIBRATION not in task.splits:
        raise _nothing_to_train_on()
    return task.splits[CALIBRATION]


def _in_memory(task: ImageClassification, splits: dict[str, ImageSet]) -> LabelledImages:
    found = _train_of(splits, task.labels)
    mode = "L" if task.input_shape[0] == 1 else "RGB"
    places = np.array([task.labels.index(name) for name in found.class_names])
    images = [np.asarray(found.image(position, mode)) for position in range(len(found))]
    sizes = {image.shape[:2] for image in images}
    if sizes != {task.input_shape[1:]}:
        other = next(iter(sizes - {task.input_shape[1:]}))
        raise DataError(f"images of {found.source.where} have {other[0]}×{other[1]} pixels; this "
                        f"supernet takes {task.input_shape[1]}×{task.input_shape[2]}: give such")
    return LabelledImages(np.stack(images), places[found.labels].astype(np.uint8))


def _check_in_memory(dataset: str | None, workers: int | None) -> None:
    why = "is for supernets of timm models; this one's images are idx files, in memory"
    if dataset is not None:
        raise InputError(f"--dataset {dataset} {why}: give --data alone, a folder of idx files or "
                         "of class folders")
    if workers is not None:
        raise InputError(f"--workers {workers} {why}, which no process need read: drop it")


def image_set(task: TimmImages, data: Path | None, dataset: str | None = None) -> ImageSet:
    """Returns images of any size to train on.

    Args:
        task: Of the network.
        data: As for `training_images`.
        dataset: As for `training_images`.

    Raises:
        InputError: `dataset` without `data`.
        DataError: As for `training_images`.
    """
    if data is None:
        if dataset is not None:
            raise InputError(f"--dataset {dataset} names what is in a folder; give that, too: "
                             "--data DIR")
        own = task.splits.get(CALIBRATION) if task.training is None else task.training
        if own is None:
            raise _nothing_to_train_on()
        return own
    found = _train_of(open_images(dataset or "folder", data), task.labels)
    readable, _ = without_unreadable(found, mode=task.preprocessing.mode)
    return without_held_out(readable, task)


def _train_of(splits: dict[str, ImageSet], labels: tuple[str, ...]) -> ImageSet:
    if "train" not in splits:
        raise DataError(f"there are images for {', '.join(splits)}, but none to train on; add a "
                        "folder train beside them")
    found = splits["train"]
    different = sorted(set(found.class_names) ^ set(labels))
    if different:
        raise DataError(f"class {different[0]} is in {found.source.where} or in the supernet's "
                        "task but not in both; give images of the same classes")
    return found


def without_held_out(training: ImageSet, task: TimmImages) -> ImageSet:
    """Returns the images that are in neither the search nor the test split.

    Those are left out that are the same file, or of equal name, size and pixels: a copy of the
    folder, of which the splits were drawn.

    Raises:
        DataError: None is left.
    """
    held: dict[str, list[tuple[ImageSet, int]]] = {}
    for split in ("search", "test"):
        data = task.splits[split]
        stamps = list(data.source.stamps())
        for position, row in enumerate(data.rows):
            held.setdefault(stamps[row], []).append((data, position))
    own = list(training.source.stamps())
    mode = task.preprocessing.mode
    kept = [position for position, row in enumerate(training.rows)
            if not any(_same(training, position, data, other, mode)
                       for data, other in held.get(own[row], ()))]
    if not kept:
        raise DataError(f"all images of {training.source.where} are in the search or the test "
                        "split of the supernet's task; give others to train on")
    return training.take(np.array(kept))


def _same(one: ImageSet, position: int, other: ImageSet, place: int, mode: str) -> bool:
    return one.name(position) == other.name(place) or np.array_equal(
        np.asarray(one.image(position, mode)), np.asarray(other.image(place, mode)))


def _described(count: int, data: Path | None, dataset: str | None = None, *, own: bool) -> str:
    if data is not None and dataset is not None:
        return f"{count} images of {dataset} in {data.resolve().name}"
    if data is not None:
        return f"{count} images of {data.resolve().name}"
    return f"{count} images of the supernet's {'own' if own else CALIBRATION}"


def _nothing_to_train_on() -> DataError:
    return DataError("this supernet comes without images to train on (search and test images are "
                     "not for that); give --data DIR, a folder of idx files or one that holds a "
                     "folder of images for each class")
