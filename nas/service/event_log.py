"""What happens to a job, a JSON object a line, in a file that outlives its process.

One process at a time writes, any number reads. Line n holds the event with ``seq`` n. What a killed
process or machine did not finish is no such line: readers stop before it, and the next writer cuts
it off.
"""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from nas.core.errors import DiskError
from nas.core.files import os_error_line

Event = dict[str, Any]  # "seq" from 1; "t", unix seconds; "type"; and what belongs to the type


class EventReader:
    """Gives the events of a log as they come.

    Args:
        path: Of the file, which need not be there yet.
        after: Events up to this number are passed over.

    Attributes:
        seq: Number of the last event that was read or passed over.
        offset: Where in the file it ends.
    """

    def __init__(self, path: Path, *, after: int = 0) -> None:
        self._path = path
        self._after = after
        self.seq = 0
        self.offset = 0

    def read(self) -> list[Event]:
        """Returns the events since the last call.

        Raises:
            DiskError: The file cannot be read.
        """
        try:
            with self._path.open("rb") as file:
                file.seek(self.offset)
                lines = file.read().splitlines(keepends=True)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise DiskError(os_error_line(error)) from None
        found = []
        for line in lines:
            # Those that are passed over are not looked into: there may be many.
            event = {} if self.seq < self._after else _event(line, self.seq + 1)
            if event is None or not line.endswith(b"\n"):
                break
            self.seq += 1
            self.offset += len(line)
            if event:
                found.append(event)
        return found


def read_events(path: Path, after: int = 0) -> list[Event]:
    """Returns the events of a log with numbers over `after`; none where there is no file.

    Raises:
        DiskError: The file cannot be read.
    """
    return EventReader(path, after=after).read()


class EventLog:
    """The writer of a log.

    Args:
        path: Of the file, made if absent.
        clock: Gives the time.

    Raises:
        DiskError: The file cannot be opened or read.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        reader = EventReader(path)
        reader.read()
        self._seq, self._end = reader.seq, reader.offset
        try:
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._cut()
        except OSError as error:
            raise DiskError(os_error_line(error)) from None

    def append(self, type_: str, **values: Any) -> int:
        """Writes an event and returns its number; readers see it at once.

        Raises:
            DiskError: It cannot be written; then nothing of it is there.
        """
        event = {"seq": self._seq + 1, "t": round(self._clock(), 3), "type": type_, **values}
        line = json.dumps(event, separators=(",", ":"), allow_nan=False).encode() + b"\n"
        try:
            written = os.pwrite(self._descriptor, line, self._end)
            if written < len(line):  # the disk is full; the rest says so
                os.pwrite(self._descriptor, line[written:], self._end + written)
        except OSError as error:
            self._cut()
            raise DiskError(f"{self._path}: {error.strerror}") from None
        self._seq += 1
        self._end += len(line)
        return self._seq

    def close(self) -> None:
        """Closes the file; there is nothing left to write."""
        os.close(self._descriptor)

    def __enter__(self) -> "EventLog":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def _cut(self) -> None:
        os.ftruncate(self._descriptor, self._end)


def _event(line: bytes, number: int) -> Event | None:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) and event.get("seq") == number else None
