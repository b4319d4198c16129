"""Files and folders that are whole or not there, whatever kills the process.

Everything is written under a hidden name ending in ``.partial``, flushed to the disk and then
renamed.
"""

import errno
import glob
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nas.core.locks import exclusive


def sha256(data: bytes) -> str:
    """Returns the SHA-256 in hex digits."""
    return hashlib.sha256(data).hexdigest()


def write_synced(path: Path, data: bytes) -> None:
    """Writes a file and waits until it is on the disk.

    Raises:
        OSError: Naming the file.
    """
    write_chunks(path, (data,))


def write_chunks(path: Path, chunks: Iterable[bytes]) -> None:
    """Writes a file piece by piece, as one comes over a wire, and waits until it is on the disk.

    Raises:
        OSError: Naming the file.
    """
    with _named(path), path.open("wb") as file:
        for chunk in chunks:
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())


def replace_file(path: Path, data: bytes) -> None:
    """Writes a file so that at every moment a reader sees the old one or the new one, whole.

    Two writers at once take turns. What a killed one left is taken over by the next.

    Raises:
        OSError: Naming the file; then the old one is still there.
    """
    temporary = partial_file(path)
    with _named(path), exclusive(temporary, wait=True) as descriptor:
        try:
            os.ftruncate(descriptor, 0)
            with open(descriptor, "wb", closefd=False) as file:
                file.write(data)
            os.fsync(descriptor)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    sync_folder(path.parent)


def partial_file(path: Path) -> Path:
    """Returns the name under which `replace_file` writes before it renames."""
    return path.with_name(f".{path.name}.partial")


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Yields a hidden folder beside `folder`, which takes its place when the block has ended.

    The files in it must be flushed by whoever writes them. After an exception it is removed.

    Args:
        folder: New; parents are made.

    Raises:
        OSError: Such as `FileExistsError` where the place is taken.
    """
    temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.partial")
    temporary.mkdir(parents=True)
    try:
        yield temporary
        sync_folder(temporary)
        if folder.exists():  # an empty folder would be replaced silently
            raise FileExistsError(errno.EEXIST, "something else was made there meanwhile",
                                  str(folder))
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    sync_folder(folder.parent)
    sweep(folder)


def sweep(folder: Path) -> None:
    """Removes what killed makers of a folder left beside it, once the folder is there.

    Then none of them can still finish.
    """
    if not folder.exists():
        return
    for leftover in folder.parent.glob(f".{glob.escape(folder.name)}.*.partial"):
        shutil.rmtree(leftover, ignore_errors=True)


def sync_folder(folder: Path) -> None:
    """Waits until a folder's entries are on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def os_error_line(error: OSError) -> str:
    """Returns file and reason of an operating system's error as one line."""
    reason = error.strerror or str(error) or type(error).__name__
    name = error.filename2 or error.filename  # the target, where a file was to be renamed
    return f"{name}: {reason}" if name is not None else reason


@contextmanager
def _named(path: Path) -> Iterator[None]:
    # Writing to a full disk raises an error that does not say in which file.
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise
