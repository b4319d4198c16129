"""Keeps one worker process for each slot alive. Imports no torch."""

import logging
import subprocess
import threading
import time
from dataclasses import dataclass

from nas.core.errors import NasError
from nas.service.handover import bury, has_ended, start
from nas.service.settings import Settings
from nas.service.store.engine import Database
from nas.service.store.leases import Leases

_LOG = logging.getLogger(__name__)

STOP_S = 20.0  # so long workers may take to give their jobs back
_LOOK_S = 0.1
_PAUSES_S = (0.5, 30.0)  # before a worker that has died is started again: the first, the longest
_STEADY_S = 60.0  # a worker that has lived so long starts with the first pause again


@dataclass(frozen=True, slots=True)
class SlotStatus:
    """What a slot does now; `pid` is None where its worker is not running."""

    slot: int
    pid: int | None
    alive: bool


@dataclass(slots=True)
class _Slot:
    number: int
    process: "subprocess.Popen[bytes] | None" = None
    has_died: bool = False  # and the store has not been told
    born: float = 0.0
    pause: float = 0.0
    due: float = 0.0


class Supervisor:
    """The workers of a server.

    Args:
        settings: Of the server.
        database: Where jobs of a worker that died are given back.
    """

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._store = Leases(database)
        self._slots = [_Slot(number) for number in range(settings.slots)]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def start(self) -> None:
        """Starts the workers."""
        for slot in self._slots:
            self._start(slot)
        self._thread.start()

    def stop(self) -> None:
        """Ends the workers; what they do goes back into the queue."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()
        running = [slot.process for slot in self._slots if slot.process is not None]
        for process in running:
            process.terminate()
        by = time.monotonic() + STOP_S
        for process in running:
            while not (ended := has_ended(process)) and time.monotonic() < by:
                time.sleep(_LOOK_S)
            if not ended:
                _LOG.warning("worker %d does not end; it is killed", process.pid)
            bury(process)

    def status(self) -> list[SlotStatus]:
        """Returns what each slot does now."""
        found = []
        for slot in self._slots:
            process = slot.process
            found.append(SlotStatus(slot.number, process.pid if process else None,
                                    alive=process is not None))
        return found

    def _watch(self) -> None:
        while not self._stopping.wait(_LOOK_S):
            for slot in self._slots:
                try:
                    self._look_at(slot)
                except NasError as error:  # the database is away: again at the next look
                    _LOG.warning("slot %d: %s", slot.number, error)
                    self._stopping.wait(_PAUSES_S[0])

    def _look_at(self, slot: _Slot) -> None:
        if slot.process is not None and has_ended(slot.process):
            code, slot.process = bury(slot.process), None
            slot.has_died = code != 0
            lived = time.monotonic() - slot.born
            first, longest = _PAUSES_S
            slot.pause = first if lived > _STEADY_S else min(max(first, 2 * slot.pause), longest)
            slot.due = time.monotonic() + slot.pause
            _LOG.error("the worker of slot %d ended with %d; the next one starts in %g s",
                       slot.number, code, slot.pause)
        if slot.has_died:  # at once: other slots may go on with its job
            self._store.died(slot.number)
            slot.has_died = False
        if slot.process is None and time.monotonic() >= slot.due:
            self._start(slot)

    def _start(self, slot: _Slot) -> None:
        slot.born = time.monotonic()
        try:
            slot.process = start("nas.service.worker", self._settings, str(slot.number))
        except OSError as error:
            _LOG.error("the worker of slot %d cannot be started: %s", slot.number, error)
            slot.due = time.monotonic() + _PAUSES_S[1]
