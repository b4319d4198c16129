"""What the images of a timm supernet become: the network's input, and what could not be read."""

import numpy as np

from nas.core.errors import DataError
from nas.export.bundle import REFERENCE_INPUTS
from nas.pipeline.events import Event, Watcher
from nas.pipeline.train_request import TrainRequest
from supernets.tasks.opening import open_images
from supernets.tasks.preprocessing import Preprocessing
from supernets.tasks.sources import ArraySource, ImageSet
from supernets.tasks.splits import CALIBRATION_IMAGES
from supernets.tasks.timm_images import Opened
from supernets.timm.create import preprocessing_of
from supernets.timm.stored import Images

CALIBRATION_BYTES = 2**28  # of float32 pixels, which each validation of a search runs through
_LOOKED_AT = 16  # images, for one that can be read
_NAMED = 3  # unreadable images


def look_at_images(request: TrainRequest, name: str) -> tuple[Images, Preprocessing, int]:
    """Returns where the images come from, how they become a timm model's input, and the classes.

    Idx files keep their one channel, and get the mean and standard deviation of their pixels.
    Otherwise both are those that the model's own weights were trained with. Images that are not
    larger than the input are not cropped.

    Raises:
        DataError: A data set that cannot be used.
    """
    dataset = request.dataset or "folder"
    found = open_images(dataset, request.data, download=request.download)
    if "train" not in found:
        raise DataError(f"{request.data} has images for {', '.join(found)}, but none to train on; "
                        "add a folder train beside them")
    training = found["train"]
    values = preprocessing_of(name)
    channels, side, _ = values["input_size"]
    side = request.image_size or side
    if isinstance(training.source, ArraySource) and training.source.images.ndim == 3:
        pixels = training.source.images.astype(np.float32) / 255
        channels = 1
        values["mean"] = (round(float(pixels.mean()), 3),)
        values["std"] = (round(float(pixels.std()), 3),)
    if _shorter_side(training) <= side:
        values["crop_pct"] = 1.0
    values["input_size"] = (channels, side, side)
    calibration = request.calibration or min(CALIBRATION_IMAGES, CALIBRATION_BYTES
                                             // (4 * channels * side * side))
    return (Images(dataset=dataset, root=request.data, seed=request.seed, calibration=calibration),
            Preprocessing.of_timm(values), len(training.class_names))


def check_test_images(opened: Opened) -> None:
    """Checks that what a search will export can be tested.

    Raises:
        DataError: There are too few images.
    """
    count = len(opened.task.splits["test"])
    if count < REFERENCE_INPUTS:
        raise DataError(f"the images leave {count} to test on, and an exported network is checked "
                        f"with {REFERENCE_INPUTS} at least; add images, or a folder test")


def say_unreadable(opened: Opened, watch: Watcher) -> None:
    """Tells whoever watches how many images were left out, with the names of the first."""
    reasons = [reason for found in opened.unreadable.values() for reason in found.reasons]
    total = sum(found.images for found in opened.unreadable.values())
    if reasons:
        names = ", ".join(name for name, _ in reasons[:_NAMED])
        more = ", …" if len(reasons) > _NAMED else ""
        watch(Event("images", total, total, f"{len(reasons)} of {total} images cannot be read and "
                                            f"are left out: {names}{more}"))


def _shorter_side(images: ImageSet) -> int:
    for position in range(min(_LOOKED_AT, len(images))):
        try:
            return min(images.decode(position, "RGB").size)
        except Exception:  # whatever its decoder raises; what cannot be read is counted later
            continue
    raise DataError(f"none of the first {_LOOKED_AT} images of {images.source.where} can be read; "
                    "fetch them again or remove them")
