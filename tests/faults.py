"""Faults on order: a signal at a chosen disk access, and a disk that is full."""

import os
import resource
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_CHANGES = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate")
_WRITING = os.O_WRONLY | os.O_RDWR
_TIMEOUT_S = 120


@dataclass(frozen=True, slots=True)
class Struck:
    """How a child process ended: its exit code, or minus the signal, and what it said."""

    code: int
    stderr: str

    @property
    def killed(self) -> bool:
        return self.code == -signal.SIGKILL


def strike(work: Callable[[], Any], root: Path, *, at_access: int,
           with_signal: int = signal.SIGKILL) -> Struck:
    """Does work in a forked process, which gets a signal before its n-th change under a folder.

    A change is opening a file for writing, renaming, removing or making something. An integer
    that the work returns is the exit code.
    """
    with tempfile.TemporaryFile("w+") as said:
        with warnings.catch_warnings():
            # Threads of libraries do not live on in the child; none of them is waited for.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            _be_struck(work, root, at_access, with_signal, said.fileno())
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said.seek(0)
        return Struck(code, said.read())


def _be_struck(work: Callable[[], Any], root: Path, at_access: int, with_signal: int,
               descriptor: int) -> None:
    count, code = 0, 99

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        changes = event in _CHANGES or (event == "open" and (arguments[2] or 0) & _WRITING)
        if changes and str(arguments[0]).startswith(str(root)):
            count += 1
            if count == at_access:
                signal.raise_signal(with_signal)

    try:
        signal.alarm(_TIMEOUT_S)  # a child that hangs must not hang the tests
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        os.dup2(descriptor, 2)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        sys.addaudithook(hook)
        result = work()
        code = result if isinstance(result, int) else 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


@contextmanager
def full_disk(largest_file: int) -> Iterator[None]:
    """No file may grow beyond so many bytes meanwhile."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
