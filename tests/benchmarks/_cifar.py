"""The CIFAR-10 sample of benchmarks: 4,000 training and 1,000 test images, normalised.

Legend: N images, B batch, C = 3 channels, H = W = 32.
"""

import csv
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

FOLDER = Path(__file__).parents[2].parent / "shared" / "data" / "vision"
SIDE = 32
MEAN = (0.4914, 0.4822, 0.4465)  # of the whole training set, by channel
STD = (0.2470, 0.2435, 0.2616)

Split = Literal["train", "test"]


@cache
def cifar_images(split: Split) -> tuple[Tensor, Tensor]:
    """Returns all images of a split as x_NCHW float32, and their labels (N,) int64.

    Both are cached and not to be changed.

    Raises:
        FileNotFoundError: The sample is not there.
    """
    pixels_NHWC, labels_N = cifar_pixels(split)
    scaled_NHWC = (pixels_NHWC / 255.0 - MEAN) / STD
    x_NCHW = torch.from_numpy(scaled_NHWC.astype(np.float32)).permute(0, 3, 1, 2).contiguous()
    return x_NCHW, torch.from_numpy(labels_N)


def cifar_pixels(split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Returns all images of a split, (N, 32, 32, 3) uint8, and their labels (N,) int64.

    Raises:
        FileNotFoundError: The sample is not there.
    """
    files = sorted(FOLDER.glob(f"cifar10_{split}_*_*.png"))
    if not files:
        raise FileNotFoundError(f"no images of CIFAR-10 in {FOLDER}")
    pixels_NHWC = np.concatenate([_read_rows(file) for file in files])
    labels_N = _read_labels(split)
    if len(labels_N) != len(pixels_NHWC):
        raise ValueError(f"{len(pixels_NHWC)} {split} images but {len(labels_N)} labels")
    return pixels_NHWC, labels_N


def cifar_batch(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Returns `count` different training images drawn at random, x_BCHW, and labels (B,).

    Equal arguments give equal batches.

    Raises:
        ValueError: More images than there are.
    """
    x_NCHW, labels_N = cifar_images("train")
    rows = np.random.default_rng(seed).choice(len(labels_N), size=count, replace=False)
    return x_NCHW[rows], labels_N[rows]


def _read_rows(file: Path) -> np.ndarray:
    # One image a row of the picture.
    with Image.open(file) as picture:
        return np.asarray(picture.convert("RGB")).reshape(-1, SIDE, SIDE, 3)


def _read_labels(split: Split) -> np.ndarray:
    with (FOLDER / "cifar10_labels.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split]
    rows.sort(key=lambda row: int(row["index"]))
    return np.array([int(row["label"]) for row in rows])
