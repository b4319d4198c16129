"""What a supernet folder's task validates on: the arrays of each split, in one compressed file."""

import io
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.core.errors import DataError
from supernets.card import AGAIN

Arrays = Mapping[str, NDArray[Any]]


def splits_file(splits: Mapping[str, Arrays]) -> bytes:
    """Returns the content of an npz file of arrays that are called SPLIT_NAME."""
    content = io.BytesIO()
    named = {f"{split}_{name}": array for split, arrays in splits.items()
             for name, array in arrays.items()}
    np.savez_compressed(content, allow_pickle=False, **named)
    return content.getvalue()


def read_splits(content: bytes, splits: Iterable[str], names: Iterable[str], *, path: Path
                ) -> dict[str, list[NDArray[Any]]]:
    """Returns the arrays of each split, in the order of their names.

    Args:
        content: What `splits_file` gave.
        splits: That there must be.
        names: Of the arrays of each.
        path: Of the file, for what an error says.

    Raises:
        DataError: It is damaged, or lacks an array.
    """
    names = tuple(names)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {split: [arrays[f"{split}_{name}"] for name in names] for split in splits}
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}); {AGAIN}") from None
