"""Folders of image files, a folder for each class, as timm reads them."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from nas.core.errors import DataError
from supernets.tasks.sources import FileSource, Source

# timm's names of the folders that hold a split, the first that exists.
SPLIT_FOLDERS = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid", "eval", "evaluation"),
    "test": ("test",),
}


def open_folder(root: Path) -> Mapping[str, Source]:
    """Returns the splits of a folder, or the folder itself as ``train`` where it has none.

    Raises:
        DataError: No folder, no images, images outside of class folders, or a class folder
            without any.
    """
    if not root.is_dir():
        raise DataError(f"{root} is no folder; give one that holds a folder of images for each "
                        "class")
    folders = {split: next((root / name for name in names if (root / name).is_dir()), None)
               for split, names in SPLIT_FOLDERS.items()}
    found: dict[str, Source] = {split: _split(folder) for split, folder in folders.items()
                                if folder is not None}
    return found or {"train": _split(root)}


def _split(folder: Path) -> FileSource:
    from timm.data.readers.img_extensions import get_img_extensions
    from timm.data.readers.reader_image_folder import find_images_and_targets

    samples, classes = find_images_and_targets(str(folder))
    kinds = ", ".join(get_img_extensions())  # type: ignore[no-untyped-call]
    if not samples:
        raise DataError(f"{folder} holds no images ({kinds}); give a folder that holds a folder "
                        "of images for each class")
    _check_class_folders(folder, {str(Path(file).parent) for file, _ in samples}, kinds)
    if "" in classes:
        loose = next(file for file, label in samples if label == classes[""])
        raise DataError(f"{loose} lies in no class folder; move it into one or away")
    return FileSource(where=str(folder), files=[os.path.relpath(file, folder)
                                                for file, _ in samples],
                      labels=np.array([label for _, label in samples]),
                      class_names=tuple(sorted(classes, key=lambda name: classes[name])))


def _check_class_folders(root: Path, filled: set[str], kinds: str) -> None:
    empty = [path for path, below, _ in os.walk(root, followlinks=True)
             if not below and path not in filled and not _hidden(Path(path).relative_to(root))]
    if empty:
        raise DataError(f"class folder {min(empty)} holds no images ({kinds}); {len(empty)} of "
                        f"the folders in {root} do not: add images or remove them")


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
