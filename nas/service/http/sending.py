"""Files on their way out, piece by piece."""

import os
import stat
import zipfile
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

_PIECE = 256 * 1024


@dataclass(frozen=True, slots=True)
class Opened:
    """A file and how much of it there was when it was opened."""

    file: BinaryIO
    size: int


class Download(StreamingResponse):
    """Sends what an iterator yields; closes it however that ends, also if the client goes.

    Args:
        parts: Of the body; `pieces` or `zipped`.
        close: Called at the end.
        headers: Of the answer.
        media_type: Of the body.
    """

    def __init__(self, parts: Iterator[bytes], *, close: Callable[[], None],
                 headers: Mapping[str, str], media_type: str) -> None:
        super().__init__(parts, headers=headers, media_type=media_type)
        self._close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._close()


def opened(path: Path) -> Opened | None:
    """Returns a plain file; None: it is none, or no longer there. Links are not followed."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        return None
    return Opened(os.fdopen(descriptor, "rb"), status.st_size)


def pieces(source: Opened) -> Iterator[bytes]:
    """Yields exactly what was there when the file was opened, and closes it.

    Raises:
        OSError: It has become shorter: the answer breaks off, and its length says so.
    """
    with source.file as file:
        left = source.size
        while left:
            piece = file.read(min(left, _PIECE))
            if not piece:
                raise OSError(f"{file.name} was cut while it was sent")
            left -= len(piece)
            yield piece


def zipped(files: Iterable[tuple[str, Path]]) -> Generator[bytes, None, None]:
    """Yields a zip file of stored entries.

    Args:
        files: Name in the zip and path of each.

    Raises:
        OSError: A file is gone or was cut: the answer breaks off without the end of a zip.
    """
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for name, path in files:
            source = opened(path)
            if source is None:
                raise OSError(f"{path} is gone")
            entry = zipfile.ZipInfo(name)  # of no date: equal bundles are equal files
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            entry.file_size = source.size
            with archive.open(entry, "w") as target:
                for piece in pieces(source):
                    target.write(piece)
                    yield sink.taken()
    yield sink.taken()


class _Sink:
    """What `zipfile` writes to; it has no position, so nothing in it is written twice."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def write(self, data: bytes, /) -> int:
        self._written.append(bytes(data))
        return len(data)

    def flush(self) -> None: ...

    def close(self) -> None: ...

    def taken(self) -> bytes:
        """Returns what was written since the last call."""
        data = b"".join(self._written)
        self._written.clear()
        return data
