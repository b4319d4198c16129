"""Folders of small images, and archives of them, for tests."""

import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from supernets.tasks.preprocessing import Preprocessing
from supernets.tasks.sources import ArraySource, ImageSet

SMALL = Preprocessing(input_shape=(3, 16, 16), mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.25),
                      crop_fraction=0.9)


def picture(seed: int, size: tuple[int, int] = (24, 20)) -> Image.Image:
    """A colour image of its own for each seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def grey_images(*counts: int, seed: int = 0, where: str = "memory") -> ImageSet:
    """Grey images, so many of each class, in an order of their own."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    pixels = rng.integers(0, 256, (len(labels), 5, 4), dtype=np.uint8)
    return ImageSet.whole(ArraySource(where, pixels, labels, tuple("abcdefgh"[:len(counts)])))


def write_images(folder: Path, count: int, *, seed: int = 0, kind: str = "png") -> None:
    """Adds images of different sizes."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        name = folder / f"{number:03d}.{kind}"
        picture(1000 * seed + number, (18 + number % 7, 26 - number % 5)).save(name)


def write_classes(root: Path, counts: Mapping[str, int], *, seed: int = 0) -> Path:
    """Makes a folder of images for each class."""
    for index, (name, count) in enumerate(counts.items()):
        write_images(root / name, count, seed=100 * seed + index)
    return root


def write_shard(path: Path, labels: Iterable[int], *, mode: str = "w:", seed: int = 0) -> None:
    """Writes a WebDataset archive of one image for each label."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        add(archive, "about.json", json.dumps({"made": "for a test"}).encode())
        for number, label in enumerate(labels):
            image = io.BytesIO()
            picture(seed + number).save(image, "png")
            add(archive, f"{seed}/{number:04d}.png", image.getvalue())
            add(archive, f"{seed}/{number:04d}.cls", f"{label}\n".encode())


def add(archive: Any, name: str, content: bytes) -> None:
    """Adds a member to an open archive."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))
