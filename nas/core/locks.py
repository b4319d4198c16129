"""Locks of the kernel: they end with the process that holds them, whatever ends that."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nas.core.errors import InputError

LOCK = ".lock"


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
        with exclusive(path, wait=False) as descriptor:
            os.ftruncate(descriptor, 0)
            with suppress(OSError):  # a full disk: the number is for a message only
                os.write(descriptor, str(os.getpid()).encode())
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
    except Held:
        raise InputError(f"another {work} is at work in {folder}{_holder(path)}; wait until it "
                         "has ended, or stop it") from None


class Held(Exception):
    """Another process has the lock."""


@contextmanager
def exclusive(path: Path, *, wait: bool) -> Iterator[int]:
    """Yields the descriptor of a file, made if absent, that this process alone has locked.

    Whoever holds it must rename or remove the file before it ends.

    Args:
        path: Of the file.
        wait: Whether to wait for a process that holds it.

    Raises:
        Held: Another process holds it, and `wait` is false.
        OSError: The file cannot be made.
    """
    # The holder of the lock renames or removes the file before it lets go. So whoever gets a lock
    # must look whether the file of that name is still the one that it has locked.
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                raise Held from None
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
