"""Opens data sets by timm's names, offline unless a download is allowed.

Each data set gives its splits: ``train`` and any of ``validation`` and ``test``.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nas.core.errors import DataError
from supernets.tasks.folders import open_folder
from supernets.tasks.hub import open_hub
from supernets.tasks.idx import class_names, read_split
from supernets.tasks.sources import ArraySource, ImageSet, ReaderSource, Source, one_line
from supernets.tasks.webdataset import open_shards

KINDS = "folder, idx, torch/NAME, hfds/NAME, wds/NAME"
_IDX_FILE = "train-images-idx3-ubyte"


def open_images(dataset: str, root: Path, *, download: bool = False) -> dict[str, ImageSet]:
    """Returns the splits of a data set.

    ``folder`` (or nothing): folders of images, one for each class, either in `root` or in its
    folders ``train``, ``validation`` (``val``) and ``test``; or idx files as those of MNIST.
    ``torch/cifar10`` and others of torchvision. ``hfds/NAME``: Hugging Face data sets; needs the
    package ``datasets``. ``wds/NAME``: WebDataset shards in `root`.

    Args:
        dataset: timm's name.
        root: Folder of the images, or of what was downloaded.
        download: Whether ``torch`` and ``hfds`` may fetch what is not in `root`.

    Raises:
        DataError: An unknown name, nothing there, classes that differ between splits or have no
            images, a package that is missing.
    """
    prefix, slash, name = dataset.partition("/")
    prefix = prefix.lower()
    if not download and not root.exists():
        raise DataError(f"data folder {root} does not exist; give the one that holds the images")
    if prefix in ("", "folder") and not name:
        sources = _folder_or_idx(root)
    elif prefix == "idx" and not slash:
        sources = _idx(root)
    elif prefix == "torch" and name.lower() in ("folder", "image_folder"):
        sources = open_folder(root)
    elif prefix == "torch" and name:
        sources = _torchvision(name, root, download=download)
    elif prefix == "hfds" and name:
        sources = open_hub(name, root, download=download)
    elif prefix == "wds":
        sources = open_shards(root)
    else:
        raise DataError(f"unknown data set {dataset!r}; it can be {KINDS}")
    return {split: ImageSet.whole(source) for split, source in _same_classes(sources).items()}


def _same_classes(sources: Mapping[str, Source]) -> Mapping[str, Source]:
    first, *others = sources
    names = sources[first].class_names
    for split in others:
        different = sorted(set(names) ^ set(sources[split].class_names))
        if different:
            raise DataError(f"class {different[0]} is in {first} or in {split} of "
                            f"{sources[first].where} but not in both; give both the same classes")
    if len(names) < 2:
        raise DataError(f"{sources[first].where} has images of one class ({names[0]}); two are "
                        "the least: give the folder that holds the class folders")
    for split, source in sources.items():
        missing = np.setdiff1d(np.arange(len(names)), source.labels)
        if len(missing):
            raise DataError(f"class {names[missing[0]]} has no images in {split} of "
                            f"{source.where}; {len(missing)} of {len(names)} classes are empty: "
                            "add images or leave these classes out")
    return sources


def _folder_or_idx(root: Path) -> Mapping[str, Source]:
    if root.is_dir() and any(root.glob(f"{_IDX_FILE}*")):
        return _idx(root)
    return open_folder(root)


def _idx(root: Path) -> Mapping[str, Source]:
    images, labels = read_split(root, "train")
    names = class_names(root, labels)
    held_out, held_out_labels = read_split(root, "t10k")
    return {"train": ArraySource(f"train of {root}", images, labels, names),
            "test": ArraySource(f"t10k of {root}", held_out, held_out_labels, names)}


def _torchvision(name: str, root: Path, *, download: bool) -> Mapping[str, Source]:
    from timm.data.dataset_factory import create_dataset

    found: dict[str, Source] = {}
    for split in ("train", "validation"):
        try:
            data = create_dataset(f"torch/{name}", root=str(root), split=split, download=download)
        except AssertionError:
            raise DataError(f"torchvision has no data set {name!r} that timm knows; such are "
                            "torch/cifar10, torch/mnist, torch/imagenet") from None
        except (RuntimeError, OSError, ValueError, TypeError) as error:
            raise DataError(f"torch/{name} cannot be read from {root} ({one_line(error)}); put it "
                            "there or allow the download") from None
        found[split] = _torchvision_split(name, data)
    return found


def _torchvision_split(name: str, data: Any) -> Source:
    labels = np.asarray(getattr(data, "targets", ()))
    if labels.ndim != 1 or len(labels) != len(data):
        raise DataError(f"torch/{name} does not list one class for each image; use it as a folder")
    names = [entry if isinstance(entry, str) else ", ".join(entry)
             for entry in getattr(data, "classes", map(str, range(int(labels.max()) + 1)))]
    return ReaderSource(f"torch/{name}", data, labels, tuple(names),
                        needs_check=not hasattr(data, "data"))
