"""The journal file under a ledger: its lock, and its tail after a process died in mid-write.

Optuna appends one JSON line per operation. It reads past a torn last line, but would append to
it, and then read neither.
"""

import fcntl
import json
import os
from pathlib import Path

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from nas.core.errors import LedgerError
from nas.core.files import sync_folder

_START = b'{"op_code":0,'  # every journal begins with the creation of its study


class KernelLock(JournalFileOpenLock):
    """An advisory lock that the kernel drops when its process dies.

    Optuna's own locks, whose interface this one takes over, are files: one left behind by a
    killed process holds up the next for 30 s.

    Args:
        path: The journal, which must exist.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._path = path
        self._descriptor = -1

    def acquire(self) -> bool:
        """Waits for the lock."""
        self._descriptor = os.open(self._path, os.O_RDONLY)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        return True

    def release(self) -> None:
        """Gives the lock back."""
        os.close(self._descriptor)


def open_journal(path: Path) -> JournalStorage:
    """Returns the storage of a journal file, which is made if absent and mended if torn.

    Raises:
        LedgerError: The file is no journal, or damaged before its last line.
    """
    lock = KernelLock(path)
    try:
        if not path.exists():
            path.touch()
            sync_folder(path.parent)
        lock.acquire()
        try:
            _cut_torn_line(path)
        finally:
            lock.release()
    except OSError as error:
        raise LedgerError(f"ledger {path} cannot be written: {error.strerror}") from None
    return read_journal(path)


def read_journal(path: Path) -> JournalStorage:
    """Returns the storage of an existing journal file and changes nothing.

    Raises:
        LedgerError: The file is missing, no journal, or damaged before its last line.
    """
    if not path.is_file():
        raise LedgerError(f"ledger {path} does not exist")
    try:
        return JournalStorage(JournalFileBackend(str(path), lock_obj=KernelLock(path)))
    except OSError as error:
        raise LedgerError(f"ledger {path} cannot be read: {error.strerror}") from None
    except Exception as error:  # a damaged line may break anything in the replay
        raise LedgerError(f"ledger {path} is damaged or no Optuna journal "
                          f"({type(error).__name__}: {error}); restore it from a copy") from None


def _cut_torn_line(path: Path) -> None:
    with path.open("r+b") as file:
        data = file.read()
        # Never cut a file that is something else, nor begin anew behind one that lost its start.
        if data[:len(_START)] != _START[:len(data)]:
            raise LedgerError(f"ledger {path} is damaged or no Optuna journal: it does not begin "
                              "with a study; restore it from a copy or give another path")
        end = data.rfind(b"\n") + 1
        if end == len(data):
            _check_last_line(path, data)
            return
        file.truncate(end)
        os.fsync(file.fileno())


def _check_last_line(path: Path, data: bytes) -> None:
    # Optuna takes a last line that it cannot parse for one that is still being written, though it
    # has its end, and would write behind it. No tear ends in a newline: this is damage.
    try:
        json.loads(data[data.rfind(b"\n", 0, -1) + 1:] or b"{}")
    except ValueError as error:
        raise LedgerError(f"ledger {path} is damaged or no Optuna journal (last line: {error}); "
                          "restore it from a copy") from None
