"""Finds images that cannot be read, before a training of days stumbles over them."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nas.core.errors import DataError
from nas.core.files import replace_file
from supernets.tasks.sources import ImageSet, one_line

MOST_UNREADABLE = 0.01  # of all images; more is an error

_CHUNK = 4096

ProgressCallback = Callable[[int, int], None]  # images done, images in all


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Images that were left out.

    Attributes:
        images: How many were looked at.
        reasons: (name, why it cannot be read) of each that was left out.
    """

    images: int
    reasons: tuple[tuple[str, str], ...] = ()

    def lines(self) -> list[str]:
        """Returns a line for the count and one for each image."""
        if not self.reasons:
            return [f"all {self.images} images can be read"]
        return [f"{len(self.reasons)} of {self.images} images cannot be read and are left out",
                *(f"{name}: {reason}" for name, reason in self.reasons)]


def without_unreadable(data: ImageSet, *, mode: str, threads: int = 1, cache: Path | None = None,
                       on_image: ProgressCallback | None = None) -> tuple[ImageSet, Unreadable]:
    """Opens and decodes every image once and returns those that can be read.

    Args:
        data: All images of a split.
        mode: ``"L"`` or ``"RGB"``: what they are to be converted to.
        threads: That decode.
        cache: File that keeps results, of any number of splits; the same images are then not read
            again. One that is damaged is written anew.
        on_image: Called after each image.

    Raises:
        DataError: More than `MOST_UNREADABLE` of the images, or all of a class.
        OSError: The cache cannot be written.
    """
    if not data.source.needs_check:
        return data, Unreadable(len(data))
    known = {} if cache is None else _recall(cache)
    key = f"{mode} {data.fingerprint()}"
    bad = known.get(key)
    if bad is None:
        bad = list(_read_all(data, mode, threads, on_image))
        if cache is not None:
            cache.parent.mkdir(parents=True, exist_ok=True)
            replace_file(cache, json.dumps({**known, key: bad}).encode())
    found = Unreadable(len(data), tuple((data.name(position), reason) for position, reason in bad))
    if len(bad) > MOST_UNREADABLE * len(data):
        name, reason = found.reasons[0]
        raise DataError(f"{len(bad)} of {len(data)} images of {data.source.where} cannot be read, "
                        f"more than {MOST_UNREADABLE:.0%}; the first is {name} ({reason}); fetch "
                        "them again or remove them")
    kept = data.take(np.setdiff1d(np.arange(len(data)), [position for position, _ in bad]))
    _check_classes(data, kept)
    return kept, found


def _read_all(data: ImageSet, mode: str, threads: int, on_image: ProgressCallback | None
              ) -> Iterator[tuple[int, str]]:
    def reason(position: int) -> str | None:
        try:
            data.decode(position, mode)
        except Exception as error:  # whatever a damaged file makes its decoder raise
            return one_line(error)
        return None

    with ThreadPoolExecutor(threads) as pool:
        for first in range(0, len(data), _CHUNK):  # a future for each image would take memory
            positions = range(first, min(first + _CHUNK, len(data)))
            for position, found in zip(positions, pool.map(reason, positions), strict=True):
                if found is not None:
                    yield position, found
                if on_image is not None:
                    on_image(position + 1, len(data))


def _recall(cache: Path) -> dict[str, list[tuple[int, str]]]:
    try:
        return {str(key): [(int(position), str(reason)) for position, reason in bad]
                for key, bad in json.loads(cache.read_bytes()).items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}  # not there yet, or damaged: the images are read again


def _check_classes(data: ImageSet, kept: ImageSet) -> None:
    gone = np.setdiff1d(data.labels, kept.labels)
    if len(gone):
        raise DataError(f"no image of class {data.class_names[gone[0]]} of {data.source.where} can "
                        "be read; fetch its images again")
