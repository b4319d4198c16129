"""Folders of idx files, the format of MNIST and its relatives, plain or gzipped."""

import gzip
import hashlib
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas.core.errors import DataError, InputError

_UNSIGNED_BYTE = 0x08

# Data sets recognised by the SHA-256 of their training labels, for the class names alone.
_KNOWN_LABELS = {
    "657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7": (
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
        "Ankle boot"),
}

ImageArray = NDArray[np.uint8]


def read_split(folder: Path, prefix: str) -> tuple[ImageArray, ImageArray]:
    """Returns the images (N, H, W) and labels (N,) of ``train`` or ``t10k`` in a folder.

    Raises:
        DataError: The folder or a file is missing, a file is damaged, or counts differ.
    """
    if not folder.is_dir():
        raise DataError(f"data folder {folder} does not exist; give one with {prefix}-images-idx3-"
                        "ubyte(.gz), as Debian's dataset-fashion-mnist installs in "
                        "/usr/share/datasets/fashion-mnist")
    images = read_idx(_find(folder, f"{prefix}-images-idx3-ubyte"), axes=3)
    labels = read_idx(_find(folder, f"{prefix}-labels-idx1-ubyte"), axes=1)
    if len(images) != len(labels):
        raise DataError(f"{folder}: {len(images)} {prefix} images but {len(labels)} labels")
    return images, labels


def class_names(folder: Path, labels: ImageArray) -> tuple[str, ...]:
    """Returns the classes' names: those in ``labels.txt``, one a line, or else their numbers.

    Args:
        folder: Of the idx files.
        labels: Of the training images, (N,).

    Raises:
        DataError: The file is no text.
        InputError: It names more or fewer classes than there are.
    """
    classes = int(labels.max()) + 1
    file = folder / "labels.txt"
    if file.is_file():
        try:
            lines = file.read_text(encoding="utf-8").split("\n")
        except UnicodeDecodeError as error:
            raise DataError(f"{file} is no text in UTF-8 ({error.reason}); write one class name "
                            "a line") from None
        names = tuple(name.strip() for name in lines if name.strip())
    else:
        digest = hashlib.sha256(labels.tobytes()).hexdigest()
        names = _KNOWN_LABELS.get(digest, tuple(str(label) for label in range(classes)))
    if len(names) != classes:
        raise InputError(f"{file} names {len(names)} classes, but the labels have {classes}")
    return names


def read_idx(path: Path, *, axes: int) -> ImageArray:
    """Returns the unsigned bytes of one idx file, with this many axes.

    Raises:
        DataError: The file is empty, truncated, too long, not gzip, or of another type.
    """
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}); fetch the file again") from None
    header = 4 + 4 * axes
    if len(raw) < header or raw[:4] != bytes([0, 0, _UNSIGNED_BYTE, axes]):
        raise DataError(f"{path} is no idx file of unsigned bytes with {axes} axes")
    shape = struct.unpack(f">{axes}I", raw[4:header])
    if 0 in shape:
        raise DataError(f"{path} holds nothing: its axes are {shape}; fetch the file again")
    expected = header + math.prod(shape)
    if len(raw) != expected:
        raise DataError(f"{path} has {len(raw)} bytes where its header promises {expected}; fetch "
                        "the file again")
    return np.frombuffer(raw, dtype=np.uint8, offset=header).reshape(shape)


def _find(folder: Path, name: str) -> Path:
    for candidate in (folder / name, folder / f"{name}.gz"):
        if candidate.is_file():
            return candidate
    raise DataError(f"{folder} has neither {name} nor {name}.gz")
