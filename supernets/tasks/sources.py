"""Labelled images by number, wherever they lie; each is decoded when it is asked for.

Legend: N images of a source, H and W sides.
"""

import hashlib
import io
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from nas.core.errors import DataError
from nas.core.types import IntArray
from supernets.tasks.idx import ImageArray
from supernets.tasks.preprocessing import decoded


class Source(Protocol):
    """Images that can be read in any order."""

    @property
    def where(self) -> str:
        """What messages call it: its folder, or the data set's name."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """In the order of the labels."""

    @property
    def labels(self) -> IntArray:
        """Of its images, (N,)."""

    @property
    def needs_check(self) -> bool:
        """Whether an image may turn out to be unreadable."""

    def open(self, row: int) -> Image.Image:
        """Returns one image of any mode, which need not be decoded yet; the caller closes it.

        Raises:
            Exception: Whatever an unreadable one causes.
        """

    def name(self, row: int) -> str:
        """Returns what messages call one image."""

    def stamps(self) -> Iterable[str]:
        """Returns a text of each image that another image in its place would not have."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Some images of a source.

    Attributes:
        source: Of all.
        rows: Which of them, (N,).
    """

    source: Source
    rows: IntArray

    @classmethod
    def whole(cls, source: Source) -> "ImageSet":
        """Returns all images of a source."""
        return cls(source, np.arange(len(source.labels)))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def labels(self) -> IntArray:
        """Of its images, (N,)."""
        return self.source.labels[self.rows]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of the source, whether it has images of each or not."""
        return self.source.class_names

    def take(self, positions: IntArray) -> "ImageSet":
        """Returns the images at these positions."""
        return ImageSet(self.source, self.rows[positions])

    def image(self, position: int, mode: str) -> Image.Image:
        """Returns one image decoded, as ``"L"`` or ``"RGB"``.

        Raises:
            DataError: It cannot be read.
        """
        try:
            return self.decode(position, mode)
        except Exception as error:  # whatever a damaged file makes its decoder raise
            raise DataError(f"image {self.name(position)} cannot be read ({one_line(error)}); "
                            "remove it and start again") from None

    def decode(self, position: int, mode: str) -> Image.Image:
        """Returns the same, for who wants to know why it cannot be read.

        Raises:
            Exception: Whatever an unreadable image causes.
        """
        with self.source.open(int(self.rows[position])) as image:
            return decoded(image, mode)

    def name(self, position: int) -> str:
        """Returns what messages call one image."""
        return self.source.name(int(self.rows[position]))

    def fingerprint(self) -> str:
        """Returns 16 hex digits that other images, labels or another order would change."""
        stamps = list(self.source.stamps())
        digest = hashlib.sha256()
        for row in self.rows:
            digest.update(f"{stamps[row]}\t{self.source.labels[row]}\n".encode())
        return digest.hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class FileSource:
    """Image files, one each.

    Attributes:
        where: Folder that their names are relative to.
        files: Paths relative to it.
    """

    where: str
    files: Sequence[str]
    labels: IntArray
    class_names: tuple[str, ...]
    needs_check: bool = True

    def open(self, row: int) -> Image.Image:
        return Image.open(Path(self.where, self.files[row]))

    def name(self, row: int) -> str:
        return str(Path(self.where, self.files[row]))

    def stamps(self) -> Iterable[str]:
        """Returns names and sizes: a copy of the folder has the same."""
        for file in self.files:
            yield f"{file}\t{Path(self.where, file).stat().st_size}"


@dataclass(frozen=True, eq=False)
class ArraySource:
    """Images in memory: (N, H, W) or (N, H, W, 3), uint8."""

    where: str
    images: ImageArray
    labels: IntArray
    class_names: tuple[str, ...]
    needs_check: bool = False

    def open(self, row: int) -> Image.Image:
        return Image.fromarray(self.images[row])

    def name(self, row: int) -> str:
        return f"{row} of {self.where}"

    def stamps(self) -> Iterable[str]:
        return (f"{zlib.crc32(np.ascontiguousarray(image).data):08x}" for image in self.images)


@dataclass(frozen=True, eq=False)
class PackedSource:
    """Image files inside larger files that are not compressed, such as tar archives.

    Attributes:
        where: Folder of the archives.
        members: Archive, first byte and number of bytes of each image.
        names: Of each.
    """

    where: str
    members: Sequence[tuple[str, int, int]]
    names: Sequence[str]
    labels: IntArray
    class_names: tuple[str, ...]
    needs_check: bool = True

    def open(self, row: int) -> Image.Image:
        archive, first, size = self.members[row]
        with Path(self.where, archive).open("rb") as file:
            file.seek(first)
            return Image.open(io.BytesIO(file.read(size)))

    def name(self, row: int) -> str:
        return f"{self.names[row]} in {Path(self.where, self.members[row][0])}"

    def stamps(self) -> Iterable[str]:
        return (f"{name}\t{size}" for name, (_, _, size) in zip(self.names, self.members,
                                                                strict=True))


@dataclass(frozen=True, eq=False)
class ReaderSource:
    """What a library reads: `items` gives pairs (image, …) by number."""

    where: str
    items: Any
    labels: IntArray
    class_names: tuple[str, ...]
    needs_check: bool = True

    def open(self, row: int) -> Image.Image:
        image: Image.Image = self.items[row][0]
        return image

    def name(self, row: int) -> str:
        return f"{row} of {self.where}"

    def stamps(self) -> Iterable[str]:
        """Returns numbers alone: such data sets are as they were published."""
        return map(str, range(len(self.labels)))


def one_line(error: BaseException) -> str:
    """Returns the first line of what an error says, or its kind."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
