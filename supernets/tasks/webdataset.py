"""Tar archives in the WebDataset layout, read in any order: nothing but Python's tarfile is needed.

A sample is the members with one name up to the first dot: an image and ``cls``, its label as text.
"""

import json
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nas.core.errors import DataError
from supernets.tasks.sources import PackedSource, one_line

INFO_FILES = ("_info.json", "info.json")
_IMAGES = ("jpg", "jpeg", "png", "webp")
_SPLITS = {"train": "train", "validation": "validation", "val": "validation",
           "valid": "validation", "test": "test"}


def open_shards(root: Path) -> Mapping[str, PackedSource]:
    """Returns the splits of a folder of archives; only headers and labels are read.

    The archives of a split are those of timm's info file, or else those whose names have the word
    ``train``, ``validation`` (``val``) or ``test``. Classes are named by their numbers.

    Raises:
        DataError: No archive, one that is damaged or compressed, or a sample without label.
    """
    found = {split: _split(root, archives) for split, archives in _archives(root).items()}
    classes = 1 + max(int(source.labels.max()) for source in found.values())
    names = tuple(map(str, range(classes)))
    return {split: replace(source, class_names=names) for split, source in found.items()}


def _archives(root: Path) -> dict[str, list[str]]:
    for name in INFO_FILES:
        if (root / name).is_file():
            return _by_info(root / name)
    archives = sorted(path.name for path in root.glob("*.tar"))
    if not archives:
        raise DataError(f"{root} holds no .tar archive; give the folder of the shards")
    found: dict[str, list[str]] = {}
    for archive in archives:
        words = re.split(r"[^a-z]+", archive.lower())
        split = next((split for word, split in _SPLITS.items() if word in words), None)
        if split is not None:
            found.setdefault(split, []).append(archive)
    if "train" not in found:
        raise DataError(f"{root}: no archive is of the split train by its name (train-0000.tar); "
                        f"name them so or describe them in {INFO_FILES[0]}")
    return found


def _split(root: Path, archives: list[str]) -> PackedSource:
    members, names, labels = [], [], []
    for archive in archives:
        for sample in _samples(root / archive):
            if sample.image is None:
                continue  # such as a file of its own that describes the archive
            if sample.label is None or sample.label < 0:
                raise DataError(f"image {sample.name} in {root / archive} has no class; write its "
                                "number into a member .cls")
            members.append((archive, *sample.image))
            names.append(sample.name)
            labels.append(sample.label)
    if not labels:
        raise DataError(f"{root / archives[0]} holds no image ({', '.join(_IMAGES)})")
    return PackedSource(where=str(root), members=members, names=names, labels=np.array(labels),
                        class_names=())


@dataclass
class _Sample:
    name: str
    image: tuple[int, int] | None = None
    label: int | None = None


def _samples(path: Path) -> Iterator[_Sample]:
    try:
        with tarfile.open(path, "r:") as archive:
            sample = _Sample("")
            for member in archive:
                if not member.isfile():
                    continue
                folder, slash, file = member.name.rpartition("/")
                stem, _, extension = file.partition(".")
                name = folder + slash + stem
                if name != sample.name:
                    yield sample
                    sample = _Sample(name)
                if extension.lower() in _IMAGES:
                    sample.image = (member.offset_data, member.size)
                elif extension.lower() == "cls":
                    content = archive.extractfile(member)
                    assert content is not None  # it is a file
                    sample.label = int(content.read())
            yield sample
    except (OSError, ValueError, tarfile.TarError) as error:
        raise DataError(f"{path} cannot be read as a plain .tar ({one_line(error)}); unpack or "
                        "fetch it again") from None


def _by_info(path: Path) -> dict[str, list[str]]:
    try:
        splits: Mapping[str, Any] = json.loads(path.read_bytes())["splits"]
        return {_SPLITS[name]: list(about["filenames"]) for name, about in splits.items()
                if name in _SPLITS}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path} does not name the archives of its splits ({one_line(error)})"
                        ) from None
