"""A trained timm supernet as a folder; its images stay where they are.

``supernet.json`` and ``weights.safetensors``. The images are opened again, and must be the same:
the card has a fingerprint of each split. ``readable.json`` keeps which of them can be read.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, StrictStr
from safetensors.torch import save

from nas.core.errors import DataError, InputError
from nas.core.files import os_error_line
from nas.core.space import GeneSpace
from nas.core.vocabulary import Vocabulary
from supernets.card import AGAIN, CARD, WEIGHTS, Card, read_file, validated, write_folder
from supernets.stored_weights import with_weights
from supernets.tasks.checking import ProgressCallback
from supernets.tasks.preprocessing import Preprocessing
from supernets.tasks.timm_images import Opened, TimmImages, open_task
from supernets.timm.config import TimmConfig
from supernets.timm.supernet import TimmSupernet
from supernets.timm.vocabulary import build_vocabulary

READABLE = "readable.json"
ROOT_VARIABLE = "NAS_IMAGES"  # where a supernet's images are, if not where it was trained


@dataclass(frozen=True, kw_only=True, slots=True)
class Images:
    """Where a supernet's images come from: see `supernets.tasks.timm_images.open_task`.

    Attributes:
        dataset: timm's name of the data set.
        root: Its folder.
        seed: Of the splits.
        calibration: Images of ``train_calib``.
    """

    dataset: str
    root: Path
    seed: int
    calibration: int

    def open(self, folder: Path, preprocessing: Preprocessing, *, classes: int | None = None,
             device: torch.device | None = None, download: bool = False, threads: int = 1,
             on_image: ProgressCallback | None = None) -> Opened:
        """Returns the images ready for use; what cannot be read is kept in a supernet's folder.

        Raises:
            DataError: A data set that cannot be used.
            OSError: The folder cannot be written.
        """
        return open_task(self.dataset, self.root, preprocessing=preprocessing, seed=self.seed,
                         classes=classes, calibration=self.calibration, device=device,
                         download=download, threads=threads, checked=folder / READABLE,
                         on_image=on_image)


class _TaskCard(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: Literal["timm_images"]
    labels: tuple[StrictStr, ...]
    preprocessing: Preprocessing
    dataset: StrictStr
    root: StrictStr
    seed: int
    calibration: int = Field(ge=1)
    fingerprints: dict[Literal["train_calib", "search", "test"], StrictStr]


def save_supernet(folder: Path, supernet: TimmSupernet, config: TimmConfig, task: TimmImages,
                  images: Images, provenance: Mapping[str, Any]) -> None:
    """Writes a supernet into an existing folder.

    Args:
        folder: Where to.
        supernet: With its weights.
        config: That it was made of.
        task: That it was trained for.
        images: Where those of the task come from.
        provenance: Where it comes from: JSON values.

    Raises:
        OSError: A file cannot be written.
    """
    tensors = {name: tensor.detach().cpu().contiguous()
               for name, tensor in supernet.state_dict().items()}
    write_folder(folder, family="timm", config=config.model_dump(mode="json"), task={
        "kind": "timm_images", "labels": task.labels, "preprocessing": asdict(task.preprocessing),
        "dataset": images.dataset, "root": str(images.root.resolve()), "seed": images.seed,
        "calibration": images.calibration, "fingerprints": _fingerprints(task)},
        files={WEIGHTS: save(tensors)}, provenance=provenance)


def load(folder: Path, card: Card, *, device: torch.device) -> TimmSupernet:
    """Returns the supernet of a folder in evaluation mode, channels last.

    Its images are looked for where they were, or in the folder that the environment variable
    `ROOT_VARIABLE` names.

    Raises:
        DataError: A file is missing or damaged, or the images are gone or others.
    """
    config, described = _read(folder, card)
    weights = read_file(folder, WEIGHTS, card)
    task = _open_task(folder, config, described, device)
    return with_weights(lambda: config.make_supernet(task), weights, folder=folder, device=device)


def plan(folder: Path, card: Card, *, resolution: int | None,
         seconds: float | None) -> tuple[GeneSpace, Vocabulary]:
    """Returns space and blocks of a folder's supernet, for images of any side.

    Raises:
        DataError: The card is damaged.
        InputError: Seconds, which images have not, or the model does not take images of that side.
    """
    if seconds is not None:
        raise InputError(f"--seconds {seconds:g} is for speech, and {folder} is a supernet of "
                         "images; drop it")
    config, _ = _read(folder, card)
    if resolution is not None:
        if config.sides:
            raise InputError(f"{folder} has resolutions of its own, {config.sides}; plan it "
                             "without another one")
        config = config.model_copy(update={"side": resolution})
    model = config.make_model()
    elastic = config.elastic(config.facts(model))
    shape = (config.channels, config.side, config.side)
    return elastic.space, build_vocabulary(model.to("meta"), elastic, shape)


def _fingerprints(task: TimmImages) -> dict[str, str]:
    return {split: images.fingerprint() for split, images in task.splits.items()}


def _read(folder: Path, card: Card) -> tuple[TimmConfig, _TaskCard]:
    path = folder / CARD
    config = validated(TimmConfig, card.config, where=path, part="config")
    try:
        described = validated(_TaskCard, card.task, where=path, part="task")
        _ = config.ratios
    except InputError as error:  # one of the values' own classes does not name the file
        known = str(path) in str(error)
        raise DataError(str(error) if known else f"{path} is damaged ({error}); {AGAIN}") from None
    shape = (config.channels, config.side, config.side)
    if len(described.labels) != config.classes or described.preprocessing.input_shape != shape:
        raise DataError(f"{path} has a task that is not of its model's classes or images; {AGAIN}")
    return config, described


def _open_task(folder: Path, config: TimmConfig, described: _TaskCard, device: torch.device
               ) -> TimmImages:
    moved = os.environ.get(ROOT_VARIABLE)
    root = Path(moved or described.root)
    remedy = (f"give the folder that holds them in the environment variable {ROOT_VARIABLE}, or "
              "train again")
    if not root.exists():
        raise DataError(f"the images of {folder} are no longer in {root}; {remedy}")
    images = Images(dataset=described.dataset, root=root, seed=described.seed,
                    calibration=described.calibration)
    try:
        task = images.open(folder, described.preprocessing, classes=config.classes,
                           device=device).task
    except DataError as error:
        raise DataError(f"the images of {folder} cannot be used: {error}") from None
    except OSError as error:
        raise DataError(f"which images of {root} can be read is not kept ({os_error_line(error)}); "
                        f"make {folder} writable") from None
    found = _fingerprints(task)
    other = [split for split, value in described.fingerprints.items() if found[split] != value]
    if other or task.labels != described.labels:
        raise DataError(f"the images in {root} are not those that {folder} was made with (other "
                        f"{'classes' if not other else other[0] + ' images'}); {remedy}")
    return task
