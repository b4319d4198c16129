"""The images of a training that learns to generate them: read, checked and held out.

Legend: N images, C channels, H and W sides.
"""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from nas.core.errors import DataError
from nas.execution.process import usable_cores
from nas.pipeline.events import Event, Watcher
from nas.pipeline.train_request import TrainRequest
from supernets.tasks.checking import without_unreadable
from supernets.tasks.classification import SPLITS
from supernets.tasks.image_classification import ImageClassification, LabelledImages
from supernets.tasks.opening import open_images
from supernets.tasks.sources import ArraySource, ImageSet
from supernets.tasks.splits import divide
from supernets.var.vae_config import VaeConfig

TRAINING = "training"
MOST_VALIDATED = 1000  # images of a split: its tokens are a hundred times as many and more

_MODES = {1: "L", 3: "RGB"}


@dataclass(frozen=True, kw_only=True, slots=True)
class VarImages:
    """Images in memory, by use; each part has all classes mixed.

    Attributes:
        task: Makes inputs in −1 … 1 of them.
        training: Learnt from.
        held: What is not: split ``search`` and ``test``, all there is.
        validated: Split → images that it has in the supernet's folder, at most `MOST_VALIDATED`;
            those of ``train_calib`` are learnt from, too.
    """

    task: ImageClassification
    training: LabelledImages = field(repr=False)
    held: Mapping[str, LabelledImages] = field(repr=False)
    validated: Mapping[str, LabelledImages] = field(repr=False)

    def identity(self) -> dict[str, int]:
        """Returns what other images or another order would change."""
        return {f"{name} {what}": zlib.crc32(np.ascontiguousarray(array).data)
                for name, part in ((TRAINING, self.training), *self.validated.items())
                for what, array in (("pixels", part.images), ("labels", part.labels))}

    def described(self) -> dict[str, int]:
        """Returns how many there are: JSON values."""
        return {TRAINING: len(self.training.labels),
                **{name: len(part.labels) for name, part in self.held.items()}}


def read_images(request: TrainRequest, vae: VaeConfig, watch: Watcher, *,
                device: torch.device) -> VarImages:
    """Returns the images of a folder of idx files, or of one with a folder for each class.

    Args:
        request: Says where they are.
        vae: Whose images they are to be.
        watch: Is told of each image, and of what is done with them.
        device: Where inputs are to lie.

    Raises:
        DataError: See `open_images` and `divide`; or images that are not square, of another side
            or of other channels.
    """
    mode = _mode(vae)
    found = open_images("folder", request.data)
    for part in found.values():
        _check_first(part, vae)
    readable, left_out = {}, []
    for split, part in found.items():
        readable[split], unreadable = without_unreadable(
            part, mode=mode, threads=usable_cores(), on_image=_some(watch))
        left_out += unreadable.lines() if unreadable.reasons else []
    parts = divide(readable, seed=request.seed, calibration=MOST_VALIDATED)
    arrays = {split: _read(getattr(parts, split), vae) for split in (TRAINING, *SPLITS)}
    images = VarImages(
        task=ImageClassification(
            labels=parts.training.class_names, splits={}, mean=0.5, std=0.5, device=device,
            input_shape=(vae.image_channels, vae.image_size, vae.image_size)),
        training=arrays[TRAINING], held={split: arrays[split] for split in ("search", "test")},
        validated={split: _head(arrays[split]) for split in SPLITS})
    for line in (*left_out, _told(images, mode)):
        watch(Event("images", 1, 1, line))
    return images


def _mode(vae: VaeConfig) -> str:
    if vae.image_channels not in _MODES:
        raise DataError(f"{vae.name} makes images of {vae.image_channels} channels; files of "
                        "images have 1 or 3")
    return _MODES[vae.image_channels]


def _check_first(images: ImageSet, vae: VaeConfig) -> None:
    # Of all in memory, and of the first that can be read among files.
    source = images.source
    if isinstance(source, ArraySource):
        channels = 1 if source.images.ndim == 3 else source.images.shape[3]
        if channels != vae.image_channels:
            raise DataError(f"{source.where}: images have {channels} channels, and {vae.name} "
                            f"takes {vae.image_channels}; give a folder of image files, which are "
                            "converted, or another supernet")
        height, width = source.images.shape[1:3]
        _check_size(height, width, vae, source.where)
        return
    for position in range(min(16, len(images))):
        try:
            width, height = images.decode(position, _mode(vae)).size
        except Exception:  # whatever its decoder raises; what cannot be read is counted later
            continue
        _check_size(height, width, vae, images.name(position))
        return


def _check_size(height: int, width: int, vae: VaeConfig, where: str) -> None:
    side = vae.image_size
    if height == width == side:
        return
    why = ""
    if height != width:
        why = ", which is no square"
    elif height % vae.factor:
        why = f", which its factor of {vae.factor} does not divide"
    raise DataError(f"{where}: an image has {height}×{width} pixels{why}, and {vae.name} makes "
                    f"images of {side}×{side}; resize all to that, or train another supernet")


def _read(images: ImageSet, vae: VaeConfig) -> LabelledImages:
    source = images.source
    if isinstance(source, ArraySource):
        return LabelledImages(source.images[images.rows], np.asarray(images.labels))
    side, mode = vae.image_size, _mode(vae)
    shape = (side, side) if mode == "L" else (side, side, 3)
    pixels = np.empty((len(images), *shape), np.uint8)
    for position in range(len(images)):
        image = images.image(position, mode)
        _check_size(image.height, image.width, vae, images.name(position))
        pixels[position] = np.asarray(image)
    return LabelledImages(pixels, np.asarray(images.labels))


def _head(images: LabelledImages) -> LabelledImages:
    return LabelledImages(images.images[:MOST_VALIDATED], images.labels[:MOST_VALIDATED])


def _told(images: VarImages, mode: str) -> str:
    counts, kind = images.described(), "grey" if mode == "L" else "colour"
    return (f"{counts[TRAINING]} images of {len(images.task.labels)} classes to learn from, in "
            f"{kind}; held out are {counts['search']} that a search validates on and "
            f"{counts['test']} to test")


def _some(watch: Watcher) -> Callable[[int, int], None]:
    def told(done: int, total: int) -> None:
        if done % 64 == 0 or done == total:
            watch(Event("images", done, total))

    return told
