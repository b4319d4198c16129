"""Inputs that int8's ranges are taken from; never images that are validated or tested on."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from nas.core.errors import DataError
from nas.core.protocols import Task
from nas.pipeline.training_images import CALIBRATION
from supernets.tasks.image_classification import ImageClassification
from supernets.tasks.preprocessing import decoded
from supernets.tasks.sources import one_line
from supernets.tasks.timm_images import TimmImages

INPUTS = 512  # of the shipped supernet, 2048 gave no better int8 network
_BATCH = 64

Inputs = NDArray[np.float32]
Images = list[NDArray[np.uint8]]  # each (H, W) or (H, W, C)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Preprocessed inputs (N, C, H, W), and where they are from, for people."""

    inputs: Inputs
    described: str

    def batches(self) -> Iterator[Inputs]:
        """Yields them a few at a time."""
        for start in range(0, len(self.inputs), _BATCH):
            yield self.inputs[start:start + _BATCH]


def calibration_inputs(task: Task, source: Path | None) -> Calibration:
    """Returns up to `INPUTS` inputs of a network.

    Args:
        task: Of the network.
        source: Folder of image files, at any depth, or a ``.npy`` file: uint8 images (N, H, W) or
            (N, H, W, C), or float32 inputs (N, C, H, W) as the network takes them. None: the
            task's ``train_calib``.

    Raises:
        DataError: No images, images that do not fit the task or cannot be read, or that are
            searched or tested on.
    """
    if source is None:
        return _own(task)
    values = _read_array(source) if source.suffix == ".npy" else _read_folder(source, _mode(task))
    inputs = _preprocessed(task, values) if isinstance(values, list) else values
    example = task.example_inputs(1, np.random.default_rng(0))
    if inputs.ndim < 1 or inputs.shape[1:] != tuple(example.shape[1:]):
        raise DataError(f"calibration inputs in {source} have the shape {inputs.shape[1:]}; this "
                        f"network takes {tuple(example.shape[1:])}")
    if not np.isfinite(inputs).all():
        raise DataError(f"calibration inputs in {source} are not all finite; write them anew")
    _check_apart(task, inputs)
    return Calibration(inputs, f"{len(inputs)} inputs of {source.resolve().name}")


def _own(task: Task) -> Calibration:
    # Batches are larger than what is wanted of them, or smaller.
    try:
        parts, count = [], 0
        for inputs, _ in task.batches(CALIBRATION):
            parts.append(inputs.cpu().contiguous().numpy())
            count += len(inputs)
            if count >= INPUTS:
                break
    except DataError as error:
        raise DataError(f"{error}; int8 needs images to calibrate with: give --calibration a "
                        "folder of images or a .npy file") from None
    if not parts:
        raise DataError(f"the supernet's {CALIBRATION} split is empty; give --calibration a folder "
                        "of images or a .npy file")
    found = np.concatenate(parts)[:INPUTS]
    return Calibration(found, f"{len(found)} inputs of the supernet's {CALIBRATION}")


def _read_array(path: Path) -> Images | Inputs:
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"calibration file {path} cannot be read ({one_line(error)}); write it "
                        "with numpy.save") from None
    if not isinstance(values, np.ndarray) or values.dtype not in (np.uint8, np.float32) \
            or values.ndim < 3 or not len(values):
        raise DataError(f"calibration file {path} holds no images: it must be uint8 (N, H, W) or "
                        "(N, H, W, C), or float32 (N, C, H, W)")
    first = values[:INPUTS]
    return list(first) if first.dtype == np.uint8 else first


def _read_folder(folder: Path, mode: str) -> Images:
    from timm.data.readers.img_extensions import get_img_extensions

    if not folder.is_dir():
        raise DataError(f"calibration folder {folder} does not exist; give a folder of images or "
                        "a .npy file")
    kinds = get_img_extensions()  # type: ignore[no-untyped-call]
    files = (path for path in sorted(folder.rglob("*")) if path.suffix.lower() in kinds)
    images = [_read_image(path, mode) for path in islice(files, INPUTS)]
    if not images:
        raise DataError(f"calibration folder {folder} holds no images ({', '.join(kinds)}); give "
                        "one that does")
    return images


def _read_image(path: Path, mode: str) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            return np.asarray(decoded(image, mode))
    except Exception as error:  # whatever a damaged file makes its decoder raise
        raise DataError(f"image {path} cannot be read ({one_line(error)}); remove it and start "
                        "again") from None


def _check_apart(task: Task, inputs: Inputs) -> None:
    # As inputs, so that it does not matter where images lie or what they are called.
    known = {np.ascontiguousarray(values).tobytes() for values in inputs}
    for split in ("search", "test"):
        shared = sum(values.tobytes() in known for batch, _ in task.batches(split)
                     if isinstance(batch, torch.Tensor)  # not clips of any length
                     for values in batch.cpu().contiguous().numpy())
        if shared > max(1, len(inputs) // 100):  # data sets have doubles of their own
            raise DataError(f"{shared} of the {len(inputs)} calibration images are in the {split} "
                            "split; give images that the supernet's task does not validate on")


def _mode(task: Task) -> str:
    if isinstance(task, TimmImages):
        return task.preprocessing.mode
    return "L" if isinstance(task, ImageClassification) and task.input_shape[0] == 1 else "RGB"


def _preprocessed(task: Task, images: Images) -> Inputs:
    if isinstance(task, TimmImages):
        to_pixels = task.preprocessing.to_pixels()
        pixels = torch.stack([to_pixels(Image.fromarray(image)) for image in images])
        return task.preprocessing.normalised(pixels).numpy()
    if isinstance(task, ImageClassification):
        if len({image.shape for image in images}) > 1:
            raise DataError("calibration images have different sizes; this network takes "
                            f"{task.input_shape[1]}×{task.input_shape[2]}")
        stacked = np.stack(images)
        return task.to_input(stacked).cpu().contiguous().numpy()
    raise DataError(f"images cannot be prepared for a task that is {type(task).__name__}; give "
                    "--calibration a .npy file of float32 inputs")
