"""Files and folders that are whole or not there, whatever kills the process, and who may write.

Everything is written under a hidden name ending in ``.partial``, flushed to the disk and then
renamed. Locks are the kernel's: they end with the process that holds them.
"""

import errno
import fcntl
import glob
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nas.core.errors import InputError

LOCK = ".lock"


def sha256(data: bytes) -> str:
    """Returns the SHA-256 in hex digits."""
    return hashlib.sha256(data).hexdigest()


def write_synced(path: Path, data: bytes) -> None:
    """Writes a file and waits until it is on the disk.

    Raises:
        OSError: Naming the file.
    """
    with _named(path), path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def replace_file(path: Path, data: bytes) -> None:
    """Writes a file so that at every moment a reader sees the old one or the new one, whole.

    Two writers at once take turns. What a killed one left is taken over by the next.

    Raises:
        OSError: Naming the file; then the old one is still there.
    """
    temporary = partial_file(path)
    with _named(path), _exclusive(temporary, wait=True) as descriptor:
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


@contextmanager
def locked(folder: Path, work: str) -> Iterator[None]:
    """Holds a folder for one process at a time.

    Args:
        folder: Must exist.
        work: What goes on in there, such as ``"search"``; for the message.

    Raises:
        InputError: Another process holds it; the message has its number.
        OSError: The folder cannot be written.
    """
    path = folder / LOCK
    try:
        with _exclusive(path, wait=False) as descriptor:
            os.ftruncate(descriptor, 0)
            with suppress(OSError):  # a full disk: the number is for a message only
                os.write(descriptor, str(os.getpid()).encode())
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
    except _Held:
        raise InputError(f"another {work} is at work in {folder}{_holder(path)}; wait until it "
                         "has ended, or stop it") from None


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


class _Held(Exception):
    """Another process has the lock."""


@contextmanager
def _exclusive(path: Path, *, wait: bool) -> Iterator[int]:
    # The holder of the lock renames or removes the file before it lets go. So whoever gets a lock
    # must look whether the file of that name is still the one that it has locked.
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                raise _Held from None
            if _is_file_of(descriptor, path):
                yield descriptor
                return
        finally:
            os.close(descriptor)


def _is_file_of(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _holder(path: Path) -> str:
    try:
        number = path.read_text()
    except (OSError, ValueError):
        return ""
    return f" (process {number})" if number.isdecimal() else ""


@contextmanager
def _named(path: Path) -> Iterator[None]:
    # Writing to a full disk raises an error that does not say in which file.
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise
