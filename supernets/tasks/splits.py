"""Fixed, class-balanced subsets of labelled images."""

import numpy as np

from nas.core.errors import DataError
from nas.core.types import IntArray
from supernets.tasks.idx import ImageArray
from supernets.tasks.image_classification import LabelledImages


def halves(data: LabelledImages, rng: np.random.Generator) -> tuple[LabelledImages, LabelledImages]:
    """Returns two disjoint halves; each class is divided evenly (an odd image joins the second)."""
    first: list[IntArray] = []
    second: list[IntArray] = []
    for rows in _rows_by_class(data.labels, rng):
        first.append(rows[:len(rows) // 2])
        second.append(rows[len(rows) // 2:])
    return _take(data, np.concatenate(first)), _take(data, np.concatenate(second))


def balanced(data: LabelledImages, count: int, rng: np.random.Generator) -> LabelledImages:
    """Returns `count` images, the same number of each class to within one.

    Raises:
        DataError: A class has too few images.
    """
    classes = _rows_by_class(data.labels, rng)
    picked = []
    for index, rows in enumerate(classes):
        wanted = count // len(classes) + (index < count % len(classes))
        if len(rows) < wanted:
            raise DataError(f"class {index} has {len(rows)} images; {wanted} are needed for a "
                            f"balanced set of {count}")
        picked.append(rows[:wanted])
    return _take(data, np.concatenate(picked))


def _rows_by_class(labels: ImageArray, rng: np.random.Generator) -> list[IntArray]:
    return [rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]


def _take(data: LabelledImages, rows: IntArray) -> LabelledImages:
    # In the order of the source: classes stay mixed within every batch.
    ordered = np.sort(rows)
    return LabelledImages(data.images[ordered], data.labels[ordered])
