"""A trained supernet as a folder that needs nothing else.

``supernet.json`` (family, configuration, task, provenance, hashes), ``weights.safetensors`` and
``images.npz`` (the splits train_calib, search and test). The shipped supernet is such a folder.
"""

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, StrictStr, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save

from nas.core.errors import DataError, SpaceError
from nas.core.files import replace_file, sha256
from supernets.mobilenet.config import MobileNetConfig
from supernets.mobilenet.supernet import MobileNetSupernet
from supernets.tasks.image_classification import SPLITS, ImageClassification, LabelledImages

SCHEMA_VERSION = 1
CARD, WEIGHTS, IMAGES = "supernet.json", "weights.safetensors", "images.npz"
_AGAIN = "train or install it again"


class _TaskCard(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: Literal["image_classification"]
    labels: tuple[StrictStr, ...]
    mean: float
    std: float = Field(gt=0)


class _Card(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1]
    family: Literal["mobilenet"]
    config: dict[str, Any]
    task: _TaskCard
    sha256: dict[Literal["weights.safetensors", "images.npz"], StrictStr] = Field(min_length=2)
    provenance: dict[str, Any]


def save_supernet(folder: Path, supernet: MobileNetSupernet, task: ImageClassification,
                  provenance: Mapping[str, Any]) -> None:
    """Writes a trained supernet with its task's splits into an existing folder.

    Each file is replaced whole, the card last: a folder with a card that was stopped in between
    fails its hashes until the same supernet is saved again.

    Raises:
        OSError: A file cannot be written.
    """
    tensors = {name: tensor.detach().cpu().contiguous()
               for name, tensor in supernet.state_dict().items()}
    arrays = {}
    for split, data in task.splits.items():
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = data.images, data.labels
    images = io.BytesIO()
    np.savez_compressed(images, allow_pickle=False, **arrays)
    files = {WEIGHTS: save(tensors), IMAGES: images.getvalue()}
    card = {
        "schema_version": SCHEMA_VERSION,
        "family": "mobilenet",
        "config": asdict(supernet.config),
        "task": {"kind": "image_classification", "labels": task.labels, "mean": task.mean,
                 "std": task.std},
        "sha256": {name: sha256(data) for name, data in files.items()},
        "provenance": dict(provenance),
    }
    for name, content in files.items():
        replace_file(folder / name, content)
    replace_file(folder / CARD, (json.dumps(card, indent=1) + "\n").encode())


def load_folder(folder: Path, *, device: torch.device | None = None) -> MobileNetSupernet:
    """Returns the supernet of a folder in evaluation mode, channels last.

    Raises:
        DataError: The folder or a file of it is missing, damaged or of a newer version.
    """
    device = device or torch.device("cpu")
    card = _read_card(folder)
    config = _config(folder, card)
    weights, images = (_read(folder, name, card) for name in (WEIGHTS, IMAGES))
    task = _load_task(folder, images, config, card.task, device)
    try:
        with torch.random.fork_rng(devices=[]):  # initial weights are drawn, then replaced
            supernet = MobileNetSupernet(config, task)
        supernet.load_state_dict(load(weights))
    except (SafetensorError, RuntimeError, MemoryError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DataError(f"{folder / WEIGHTS} does not fit {CARD} ({reason}); train again") from None
    return supernet.to(device=device).to(memory_format=torch.channels_last).eval()


def read_config(folder: Path) -> MobileNetConfig:
    """Returns the configuration of a folder without its weights.

    Raises:
        DataError: There is no readable ``supernet.json``.
    """
    return _config(folder, _read_card(folder))


def _read_card(folder: Path) -> _Card:
    path = folder / CARD
    try:
        payload = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{folder} is no supernet folder: it has no {CARD}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read ({error}); {_AGAIN}") from None
    found = payload if isinstance(payload, dict) else {}
    version, family = found.get("schema_version"), found.get("family")
    if version != SCHEMA_VERSION or family != "mobilenet":
        raise DataError(f"{path} is of schema {version!r} and family {family!r}; this version "
                        f"reads schema {SCHEMA_VERSION} of family 'mobilenet'")
    try:
        return _Card.model_validate(payload)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DataError(f"{path} is damaged ({where}: {first['msg']}); {_AGAIN}") from None


def _config(folder: Path, card: _Card) -> MobileNetConfig:
    try:
        config = MobileNetConfig.from_dict(card.config)
    except SpaceError as error:
        raise DataError(f"{folder / CARD}: {error}; {_AGAIN}") from None
    if len(card.task.labels) != config.num_classes:
        raise DataError(f"{folder / CARD} names {len(card.task.labels)} labels for "
                        f"{config.num_classes} classes; {_AGAIN}")
    return config


def _read(folder: Path, name: str, card: _Card) -> bytes:
    path = folder / name
    hashes = {str(key): digest for key, digest in card.sha256.items()}
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"supernet {folder} lacks {name}; {_AGAIN}") from None
    if sha256(data) != hashes[name]:
        raise DataError(f"{path} is damaged (its SHA-256 is not the one in {CARD}); {_AGAIN}")
    return data


def _load_task(folder: Path, images: bytes, config: MobileNetConfig, task: _TaskCard,
               device: torch.device) -> ImageClassification:
    try:
        with np.load(io.BytesIO(images), allow_pickle=False) as arrays:
            splits = {split: LabelledImages(arrays[f"{split}_images"], arrays[f"{split}_labels"])
                      for split in SPLITS}
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{folder / IMAGES} cannot be read ({error}); {_AGAIN}") from None
    return ImageClassification(labels=task.labels, input_shape=config.input_shape, mean=task.mean,
                               std=task.std, splits=splits, device=device)
