"""The passes of a measurement that is under way, in a file, so that a killed one can go on.

JSON lines: what is measured, how, then one line a pass. The file is locked while it is written
and removed when its profile is stored; a line that was cut off by a kill does not count.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from hardware_profiles.pass_times import PassTimes
from hardware_profiles.profile import MeasureProtocol
from nas.core.errors import ProfileError
from nas.core.files import os_error_line
from nas.core.locks import Held, exclusive

_BOOT = Path("/proc/sys/kernel/random/boot_id")


class Journal:
    """What has been measured so far, and where more is written.

    Attributes:
        protocol: Of the passes in it; None while there is none.
        passes: Model key → its passes, in order.
        notice: Why what an earlier run left was thrown away, if it was.
    """

    def __init__(self, file: BinaryIO, identity: Mapping[str, Any], *, keep_refused: bool) -> None:
        self._file = file
        self.protocol: MeasureProtocol | None = None
        self.passes: dict[str, list[PassTimes]] = {}
        self.notice = self._load(identity, keep_refused)
        if self.notice is not None or self._file.tell() == 0:
            self.protocol, self.passes = None, {}
            self._file.seek(0)
            self._file.truncate()
            self._write({"identity": dict(identity)})

    def begin(self, protocol: MeasureProtocol) -> None:
        """Records how the passes that follow are taken."""
        self.protocol = protocol
        self._write({"protocol": protocol.model_dump(mode="json")})

    def add(self, key: str, found: PassTimes) -> None:
        """Records one pass over one model."""
        self.passes.setdefault(key, []).append(found)
        self._write({"key": key, "cpu_ns": found.cpu_ns.tolist(),
                     "wall_ns": found.wall_ns.tolist(), "loop_cpu_ns": found.loop_cpu_ns,
                     "loop_wall_ns": found.loop_wall_ns, "clock_mhz": found.clock_mhz})

    def refuse(self) -> None:
        """Records that the finished measurement was not trusted."""
        self._write({"refused": True})

    def _write(self, record: Mapping[str, Any]) -> None:
        # Flushed to the system, which a killed process cannot take back.
        self._file.write(json.dumps(record, separators=(",", ":")).encode() + b"\n")
        self._file.flush()

    def _load(self, identity: Mapping[str, Any], keep_refused: bool) -> str | None:
        # Returns why the content is of no use, and leaves the file at the end of the last line.
        end = 0
        for number, line in enumerate(self._file):
            if not line.endswith(b"\n"):
                break
            try:
                refused = self._take(number, json.loads(line), identity)
            except _Foreign as error:
                return str(error)
            except (ValueError, KeyError, TypeError, AttributeError):
                return f"line {number + 1} is damaged"
            if refused and not keep_refused:
                return "they were refused"
            end += len(line)
        self._file.seek(end)
        self._file.truncate()
        return None

    def _take(self, number: int, record: Any, identity: Mapping[str, Any]) -> bool:
        if number == 0:
            _require_same(record["identity"], identity)
        elif "protocol" in record:
            self.protocol = MeasureProtocol.model_validate(record["protocol"])
        elif "refused" not in record:
            self.passes.setdefault(record["key"], []).append(PassTimes(
                np.array(record["cpu_ns"], np.int64), np.array(record["wall_ns"], np.int64),
                int(record["loop_cpu_ns"]), int(record["loop_wall_ns"]), record["clock_mhz"]))
        return "refused" in record


@contextmanager
def open_journal(path: Path, identity: Mapping[str, Any], *,
                 keep_refused: bool = False) -> Iterator[Journal]:
    """Yields the journal at a path; it is removed when the block ends well, else kept.

    Args:
        path: In a folder that exists.
        identity: JSON values; passes taken under another identity or before the machine was
            started again are thrown away.
        keep_refused: Whether to take over a measurement that was refused, or measure anew.

    Raises:
        ProfileError: Another process is measuring the same, or the file cannot be written.
    """
    full = {**identity, "boot": _boot()}
    try:
        with exclusive(path, wait=False) as descriptor, \
                open(descriptor, "r+b", closefd=False) as file:
            yield Journal(file, full, keep_refused=keep_refused)
            path.unlink(missing_ok=True)
    except Held:
        raise ProfileError(f"another process is measuring this profile ({path.name}); wait until "
                           "it has ended, or stop it") from None
    except OSError as error:
        raise ProfileError(f"the passes measured cannot be kept ({os_error_line(error)}); free "
                           "space and run it again") from None


class _Foreign(Exception):
    """The passes are of something else."""


def _require_same(there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    plain = json.loads(json.dumps(here))
    for name in {**there, **plain}:
        if there.get(name) != plain.get(name) or plain.get("boot") is None:
            raise _Foreign("the machine was started again since" if name == "boot" else
                           f"{name} was {there.get(name)!r} and is {plain.get(name)!r}")


def _boot() -> str | None:
    # Clocks, caches and firmware may differ after a start. None: unknown, so nothing is resumed.
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return None
