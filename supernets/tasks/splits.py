"""Fixed, class-balanced subsets of labelled images.

Positions refer to labels (N,) and come sorted: in the order of the source.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nas.core.errors import DataError
from nas.core.rng import derive_rng
from nas.core.types import IntArray
from supernets.tasks.idx import ImageArray
from supernets.tasks.image_classification import LabelledImages
from supernets.tasks.sources import ImageSet

CALIBRATION_IMAGES = 2048  # for batch norm; fewer where the smallest class does not allow them
HELD_OUT = 10  # one image in so many, for each of search and test, where nothing is given for them


def halves(data: LabelledImages, rng: np.random.Generator) -> tuple[LabelledImages, LabelledImages]:
    """Returns two disjoint halves; each class is divided evenly (an odd image joins the second)."""
    first, second = half_positions(data.labels, rng)
    return _take(data, first), _take(data, second)


def balanced(data: LabelledImages, count: int, rng: np.random.Generator) -> LabelledImages:
    """Returns `count` images, the same number of each class to within one.

    Raises:
        DataError: A class has too few images.
    """
    return _take(data, balanced_positions(data.labels, count, rng))


def half_positions(labels: IntArray | ImageArray, rng: np.random.Generator
                   ) -> tuple[IntArray, IntArray]:
    """Returns where two disjoint halves lie; an odd image of a class joins the second."""
    first: list[IntArray] = []
    second: list[IntArray] = []
    for rows in _rows_by_class(labels, rng):
        first.append(rows[:len(rows) // 2])
        second.append(rows[len(rows) // 2:])
    return _sorted(first), _sorted(second)


def balanced_positions(labels: IntArray | ImageArray, count: int, rng: np.random.Generator
                       ) -> IntArray:
    """Returns where `count` images lie, the same number of each class to within one.

    Raises:
        DataError: A class has too few images.
    """
    classes = _rows_by_class(labels, rng)
    picked = []
    for index, rows in enumerate(classes):
        wanted = count // len(classes) + (index < count % len(classes))
        if len(rows) < wanted:
            raise DataError(f"class {index} has {len(rows)} images; {wanted} are needed for a "
                            f"balanced set of {count}")
        picked.append(rows[:wanted])
    return _sorted(picked)


@dataclass(frozen=True, kw_only=True, eq=False)
class Divided:
    """Images by use. `train_calib` is part of `training`; all others are disjoint.

    All but `training` are in an order of their own, in which classes are mixed: batches of one
    class would give batch norm other statistics.

    Attributes:
        training: Trained on.
        train_calib: For batch norm, proxies and quantisation.
        search: Validated on while searching.
        test: For the final error.
    """

    training: ImageSet
    train_calib: ImageSet
    search: ImageSet
    test: ImageSet


def divide(found: Mapping[str, ImageSet], *, seed: int,
           calibration: int = CALIBRATION_IMAGES) -> Divided:
    """Returns the images by use, whichever splits a data set comes with.

    ``validation`` and ``test`` become search and test. Of one of them alone, each gets half. Where
    there is only ``train``, each gets a tenth of every class, which is then not trained on.

    Args:
        found: ``train``, and any of ``validation`` and ``test``.
        seed: Of all that is drawn.
        calibration: Images to draw for `train_calib`, as many of each class.

    Raises:
        DataError: There is no ``train``, or a class has too few images to hold any out.
    """
    if "train" not in found:
        raise DataError(f"there are images for {', '.join(found) or 'nothing'}, but none to train "
                        "on; add a folder train beside them")
    training, rng = found["train"], derive_rng(seed, "split")
    if "validation" in found and "test" in found:
        search, test = found["validation"], found["test"]
    elif "validation" in found or "test" in found:
        held_out = found["validation" if "validation" in found else "test"]
        first, second = half_positions(held_out.labels, rng)
        search, test = held_out.take(first), held_out.take(second)
    else:
        training, search, test = _tenths(training, rng)
    counts = np.unique(training.labels, return_counts=True)[1]
    wanted = min(calibration, int(counts.min()) * len(counts))
    calib = training.take(balanced_positions(training.labels, wanted,
                                             derive_rng(seed, "train_calib")))
    order = derive_rng(seed, "order")
    calib, search, test = (part.take(order.permutation(len(part)))
                           for part in (calib, search, test))
    divided = Divided(training=training, train_calib=calib, search=search, test=test)
    _check_filled(divided)
    return divided


def _tenths(data: ImageSet, rng: np.random.Generator) -> tuple[ImageSet, ImageSet, ImageSet]:
    parts: tuple[list[IntArray], ...] = ([], [], [])
    for rows in _rows_by_class(data.labels, rng):
        if len(rows) < 3:
            raise DataError(f"class {data.class_names[data.labels[rows[0]]]} of "
                            f"{data.source.where} has {len(rows)} images, too few to hold one out "
                            "for search and one for test; add images or a folder val")
        tenth = max(1, len(rows) // HELD_OUT)
        for part, chosen in zip(parts, (rows[2 * tenth:], rows[:tenth], rows[tenth:2 * tenth]),
                                strict=True):
            part.append(chosen)
    training, search, test = (data.take(_sorted(part)) for part in parts)
    return training, search, test


def _check_filled(divided: Divided) -> None:
    for name in ("search", "test"):
        if not len(getattr(divided, name)):
            raise DataError(f"no image is left for the {name} split: a class needs 2 held-out "
                            "images to be divided; add some")


def _rows_by_class(labels: IntArray | ImageArray, rng: np.random.Generator) -> list[IntArray]:
    return [rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]


def _sorted(parts: list[IntArray]) -> IntArray:
    return np.sort(np.concatenate(parts))


def _take(data: LabelledImages, rows: IntArray) -> LabelledImages:
    return LabelledImages(data.images[rows], data.labels[rows])
