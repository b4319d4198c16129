"""A trained supernet as a folder that needs nothing else.

``supernet.json`` (family, configuration, task, provenance, hashes), ``weights.safetensors`` and
``images.npz`` (the splits train_calib, search and test). The shipped supernet is such a folder.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from nas.core.errors import DataError
from nas.core.files import replace_file, sha256
from supernets.mobilenet.config import MobileNetConfig
from supernets.mobilenet.supernet import MobileNetSupernet
from supernets.tasks.image_classification import SPLITS, ImageClassification, LabelledImages

SCHEMA_VERSION = 1
_KEYS = ("family", "config", "task", "sha256", "provenance")
CARD, WEIGHTS, IMAGES = "supernet.json", "weights.safetensors", "images.npz"


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
    for name, expected in card["sha256"].items():
        if not (folder / name).is_file():
            raise DataError(f"supernet {folder} lacks {name}; train or install it again")
        if sha256((folder / name).read_bytes()) != expected:
            raise DataError(f"{folder / name} is damaged (its SHA-256 is not the one in {CARD}); "
                            "train or install it again")
    config = MobileNetConfig.from_dict(card["config"])
    task = _load_task(folder / IMAGES, config, card["task"], device)
    with torch.random.fork_rng(devices=[]):  # initial weights are drawn, then replaced
        supernet = MobileNetSupernet(config, task)
    try:
        supernet.load_state_dict(load_file(folder / WEIGHTS))
    except (SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{folder / WEIGHTS} does not fit {CARD} ({reason}); train again") from None
    return supernet.to(device=device).to(memory_format=torch.channels_last).eval()


def read_config(folder: Path) -> MobileNetConfig:
    """Returns the configuration of a folder without its weights.

    Raises:
        DataError: There is no readable ``supernet.json``.
    """
    return MobileNetConfig.from_dict(_read_card(folder)["config"])


def _read_card(folder: Path) -> dict[str, Any]:
    path = folder / CARD
    try:
        card = json.loads(path.read_text())
        version = card["schema_version"]
        missing = [] if version != SCHEMA_VERSION else [key for key in _KEYS if key not in card]
    except FileNotFoundError:
        raise DataError(f"{folder} is no supernet folder: it has no {CARD}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} cannot be read ({error}); train or install it again") from None
    if version != SCHEMA_VERSION or card.get("family") != "mobilenet":
        raise DataError(f"{path} is of schema {version} and family {card.get('family')!r}; this "
                        f"version reads schema {SCHEMA_VERSION} of family 'mobilenet'")
    if missing:
        raise DataError(f"{path} lacks {missing[0]!r}; train or install it again")
    return dict(card)


def _load_task(path: Path, config: MobileNetConfig, task: Mapping[str, Any],
               device: torch.device) -> ImageClassification:
    with np.load(path, allow_pickle=False) as arrays:
        splits = {split: LabelledImages(arrays[f"{split}_images"], arrays[f"{split}_labels"])
                  for split in SPLITS}
    return ImageClassification(labels=tuple(task["labels"]), input_shape=config.input_shape,
                               mean=task["mean"], std=task["std"], splits=splits, device=device)
