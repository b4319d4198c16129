"""Which processes are at work on a study: each says so in it, again and again.

A study's user attribute ``nas:process:NAME`` is null, or says what a process is and has a number
``beat`` that grows while it lives. Clocks of different machines are never compared: each observer
times by its own clock for how long a beat has stood still. Of a process of its own machine it asks
the kernel instead, and knows at once.
"""

import os
import secrets
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import TracebackType

from nas.core.errors import LedgerError
from nas.search.ledger import Ledger

_PREFIX = "nas:process:"

_here: set[str] = set()  # tokens of what is at work in this very process


@dataclass(frozen=True, slots=True)
class Process:
    """A process at work on a study.

    Attributes:
        token: Random; a process that works on it twice has two.
        shares: Whether it shares the study with others.
        host: Its machine's name, for messages.
        pid: Its number there.
        scope: Where that number means something; empty: nowhere.
        started: Tells it from a later process of the same number.
    """

    token: str
    shares: bool
    host: str
    pid: int
    scope: str
    started: str

    @classmethod
    def this(cls, *, shares: bool) -> "Process":
        """Returns this process, with a token of its own."""
        return cls(secrets.token_hex(4), shares, socket.gethostname(), os.getpid(), _scope(),
                   _started(os.getpid()))

    @property
    def name(self) -> str:
        """Of its attribute: those that share have one each, others take turns."""
        return _PREFIX + (self.token if self.shares else "alone")

    def alive(self) -> bool | None:
        """Returns whether it lives, or None if only its beat can tell."""
        if not self.scope or self.scope != _scope():
            return None
        if self.pid == os.getpid() and self.started == _started(self.pid):
            return self.token in _here
        return bool(self.started) and _started(self.pid) == self.started


class Watch:
    """Tells which processes have died, by their beats and this process's clock.

    Args:
        grace_s: A beat that has stood still for longer is that of a dead process.
    """

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        self._seen: dict[str, tuple[int, float]] = {}

    def dead(self, token: str, present: Mapping[str, tuple[Process, int]]) -> bool:
        """Returns whether the process of a token is known to have ended.

        Args:
            token: Of the process.
            present: What `processes` gave just now.
        """
        if token not in present:  # it said itself that it ends
            return True
        process, beat = present[token]
        alive = process.alive()
        if alive is not None:
            return not alive
        now = time.monotonic()
        if self._seen.get(token, (None, now))[0] != beat:
            self._seen[token] = (beat, now)
        return now - self._seen[token][1] > self._grace_s


@dataclass(slots=True)
class Presence:
    """While it is entered, the study says that this process is at work on it.

    Attributes:
        ledger: Of the study.
        process: This one.
        interval_s: Between two beats.
    """

    ledger: Ledger
    process: Process
    interval_s: float
    _ended: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> "Presence":
        """Says so, and begins to beat."""
        _here.add(self.process.token)
        self._say(0)
        self._thread = threading.Thread(target=self._beat, name="nas-presence", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        """Ends to beat, and says that it is over."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        _here.discard(self.process.token)
        if kind is None or not issubclass(kind, LedgerError):  # else it would only wait again
            self.ledger.mark(self.process.name, None)

    def _beat(self) -> None:
        beat = 0
        while not self._ended.wait(self.interval_s):
            beat += 1
            # That the storage fails the search itself will say. If only beats fail, others take
            # over what is claimed here, and this process sees that.
            with suppress(LedgerError):
                self._say(beat)

    def _say(self, beat: int) -> None:
        self.ledger.mark(self.process.name, {**asdict(self.process), "beat": beat})


def processes(ledger: Ledger) -> dict[str, tuple[Process, int]]:
    """Returns what is said to be at work on a study: token → process and beat."""
    found = {}
    for name, value in ledger.marks().items():
        if name.startswith(_PREFIX) and value is not None:
            try:
                process = Process(**{f.name: value[f.name] for f in fields(Process)})
                found[process.token] = (process, int(value["beat"]))
            except (KeyError, TypeError, ValueError):
                raise LedgerError(f"ledger {ledger.where}: {name} is {value!r}; restore it from a "
                                  "copy") from None
    return found


def refuse_company(ledger: Ledger, *, shares: bool, interval_s: float) -> None:
    """Makes sure that nobody is at work on a study who would not share it with this process.

    A process of another machine is watched for two beats: if it makes none, it has died.

    Args:
        ledger: Of the study.
        shares: Whether this process would share it.
        interval_s: Between the beats of the others.

    Raises:
        LedgerError: There is such a process.
    """
    before = {token: (process, beat) for token, (process, beat) in processes(ledger).items()
              if not (shares and process.shares) and process.alive() is not False}
    end = time.monotonic() + 2 * interval_s
    while before:
        now = processes(ledger)
        for token, (process, beat) in before.items():
            if process.alive() or now.get(token, (process, beat))[1] != beat:
                raise _occupied(ledger, process)
        before = {token: seen for token, seen in before.items() if token in now}
        if time.monotonic() > end:
            return
        time.sleep(interval_s / 10)


def _occupied(ledger: Ledger, process: Process) -> LedgerError:
    remedy = ("give --join to share it" if process.shares
              else "start that one with --join too, so that they share it")
    return LedgerError(f"ledger {ledger.where}: process {process.pid} on {process.host} searches "
                       f"in it; wait until it has ended, or {remedy}")


def _scope() -> str:
    # Process numbers mean something within one boot of one machine and one name space.
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    # In clock ticks since boot; empty if there is no such process.
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    state, *rest = stat.rpartition(")")[2].split()
    return "" if state in "ZX" else rest[18]
