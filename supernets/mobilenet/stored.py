"""A trained mobilenet supernet as a folder that needs nothing else.

``supernet.json``, ``weights.safetensors`` and ``images.npz`` (the splits train_calib, search and
test). The shipped supernet is such a folder.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, StrictStr
from safetensors.torch import save

from nas.core.errors import DataError, SpaceError
from nas.core.space import GeneSpace
from nas.core.vocabulary import Vocabulary
from supernets.card import AGAIN, CARD, WEIGHTS, Card, read_file, validated, write_folder
from supernets.mobilenet.blocks import planned
from supernets.mobilenet.config import MobileNetConfig
from supernets.mobilenet.supernet import MobileNetSupernet
from supernets.stored_arrays import read_splits, splits_file
from supernets.stored_weights import with_weights
from supernets.tasks.image_classification import SPLITS, ImageClassification, LabelledImages

IMAGES = "images.npz"
_ARRAYS = ("images", "labels")  # of each split


class _TaskCard(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: Literal["image_classification"]
    labels: tuple[StrictStr, ...]
    mean: float
    std: float = Field(gt=0)


def save_supernet(folder: Path, supernet: MobileNetSupernet, task: ImageClassification,
                  provenance: Mapping[str, Any]) -> None:
    """Writes a trained supernet with its task's splits into an existing folder.

    Raises:
        OSError: A file cannot be written.
    """
    tensors = {name: tensor.detach().cpu().contiguous()
               for name, tensor in supernet.state_dict().items()}
    images = splits_file({split: dict(zip(_ARRAYS, (data.images, data.labels), strict=True))
                          for split, data in task.splits.items()})
    write_folder(folder, family="mobilenet", config=asdict(supernet.config),
                 task={"kind": "image_classification", "labels": task.labels, "mean": task.mean,
                       "std": task.std},
                 files={WEIGHTS: save(tensors), IMAGES: images}, provenance=provenance)


def load(folder: Path, card: Card, *, device: torch.device) -> MobileNetSupernet:
    """Returns the supernet of a folder in evaluation mode, channels last.

    Raises:
        DataError: A file of the folder is missing or damaged.
    """
    config, described = _read(folder, card)
    weights, images = (read_file(folder, name, card) for name in (WEIGHTS, IMAGES))
    task = _load_task(folder, images, config, described, device)
    return with_weights(lambda: MobileNetSupernet(config, task), weights, folder=folder,
                        device=device)


def plan(folder: Path, card: Card, *, resolution: int | None,
         seconds: float | None) -> tuple[GeneSpace, Vocabulary]:
    """Returns space and blocks of a folder's supernet, for images of any side.

    Raises:
        DataError: The card is damaged.
        InputError: Seconds, or a resolution that the supernet cannot be at.
    """
    config, _ = _read(folder, card)
    return planned(config, resolution=resolution, seconds=seconds)


def _read(folder: Path, card: Card) -> tuple[MobileNetConfig, _TaskCard]:
    described = validated(_TaskCard, card.task, where=folder / CARD, part="task")
    try:
        config = MobileNetConfig.from_dict(card.config)
    except SpaceError as error:
        raise DataError(f"{folder / CARD}: {error}; {AGAIN}") from None
    if len(described.labels) != config.num_classes:
        raise DataError(f"{folder / CARD} names {len(described.labels)} labels for "
                        f"{config.num_classes} classes; {AGAIN}")
    return config, described


def _load_task(folder: Path, images: bytes, config: MobileNetConfig, task: _TaskCard,
               device: torch.device) -> ImageClassification:
    found = read_splits(images, SPLITS, _ARRAYS, path=folder / IMAGES)
    splits = {split: LabelledImages(*arrays) for split, arrays in found.items()}
    return ImageClassification(labels=task.labels, input_shape=config.input_shape, mean=task.mean,
                               std=task.std, splits=splits, device=device)
