"""Hugging Face data sets, through their package ``datasets``."""

import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nas.core.errors import DataError
from nas.core.types import IntArray
from supernets.tasks.sources import Source, one_line

_SPLITS = {"train": "train", "validation": "validation", "val": "validation",
           "valid": "validation", "test": "test"}


def open_hub(name: str, root: Path, *, download: bool) -> Mapping[str, Source]:
    """Returns the splits of a data set; one whose labels are not published is left out.

    timm's own reader is not used: it loads one split at a time and may download.

    Args:
        name: Of the hub, or a local folder that ``datasets.load_dataset`` understands.
        root: Its cache folder.
        download: Whether to ask the hub for what is not there.

    Raises:
        DataError: The package or the data set is missing, or it has no images with classes.
    """
    if find_spec("datasets") is None:
        raise DataError(f"hfds/{name} needs the package datasets; install it with pip install "
                        "datasets")
    datasets: Any = import_module("datasets")

    try:
        with _offline(datasets, not download):
            loaded = datasets.load_dataset(name, cache_dir=str(root))
    except Exception as error:  # errors of several libraries, for a name that is not there
        raise DataError(f"hfds/{name} cannot be read from {root} ({one_line(error)}); put it there "
                        "or allow the download") from None
    found: dict[str, Source] = {}
    for split, data in loaded.items():
        if split in _SPLITS:
            source = _split(name, data, datasets)
            if len(source.labels) and source.labels.min() >= 0:
                found[_SPLITS[split]] = source
    if not found:
        raise DataError(f"hfds/{name} has the splits {', '.join(loaded)} and none with labels "
                        f"among {', '.join(_SPLITS)}")
    return found


@dataclass(frozen=True, eq=False)
class HubSource:
    """One split. Attributes are those of `Source`, and the data set with its images' column."""

    where: str
    data: Any
    column: str
    labels: IntArray
    class_names: tuple[str, ...]
    needs_check: bool = True

    def open(self, row: int) -> Image.Image:
        image = self.data[row][self.column]
        return Image.open(io.BytesIO(image["bytes"]) if image["bytes"] else image["path"])

    def name(self, row: int) -> str:
        return f"{row} of {self.where}"

    def stamps(self) -> Iterable[str]:
        """Returns numbers: the data set's version is in `where`."""
        return map(str, range(len(self.labels)))


def _split(name: str, data: Any, datasets: Any) -> HubSource:
    images = [column for column, kind in data.features.items() if isinstance(kind, datasets.Image)]
    classes = [column for column, kind in data.features.items()
               if isinstance(kind, datasets.ClassLabel)]
    if not images or not classes:
        raise DataError(f"hfds/{name} has the columns {', '.join(data.features)}; one must hold "
                        "images and one their classes")
    image = "image" if "image" in images else images[0]
    label = "label" if "label" in classes else classes[0]
    labels = np.array(data.select_columns([label])[:][label])
    return HubSource(where=f"hfds/{name} {data.version} {data.split}", labels=labels, column=image,
                     data=data.cast_column(image, datasets.Image(decode=False)),
                     class_names=tuple(data.features[label].names))


@contextmanager
def _offline(datasets: Any, wanted: bool) -> Iterator[None]:
    # The package has no argument for it, and reads the variable of its own at each request.
    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = wanted or before
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before
