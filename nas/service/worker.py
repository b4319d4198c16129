"""A slot's worker: takes jobs from the queue, one at a time, for as long as its server lives.

Started as ``python -m nas.service.worker SLOT`` with the settings on standard input; see
`nas.service.handover`.
"""

import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType

from nas.core.errors import DiskError, NasError
from nas.core.locks import Held, exclusive
from nas.service.folder import DataDir
from nas.service.handover import end_group, end_with_parent, read_settings
from nas.service.job_run import AWAY_S, SHUTDOWN, JobRun
from nas.service.logs import configure_logging
from nas.service.settings import Settings
from nas.service.store.engine import Database, open_database
from nas.service.store.errors import DatabaseAway
from nas.service.store.leases import Leases

_LOG = logging.getLogger("nas.service.worker")

IDLE_S = 0.5  # between two looks into the queue


class Worker:
    """The loop of a slot; its working directory is DIR.

    Args:
        settings: Of the server.
        slot: Which one.
    """

    def __init__(self, settings: Settings, slot: int) -> None:
        self._settings, self._slot = settings, slot
        self._folder = DataDir(Path())
        self._is_ending = False
        self._job: JobRun | None = None

    def run(self) -> None:
        """Works until SIGTERM; a job in hand then goes back into the queue.

        Raises:
            NasError: The folder or the database cannot be used.
        """
        signal.signal(signal.SIGTERM, self._end)
        signal.signal(signal.SIGINT, self._interrupt)
        os.chdir(self._settings.data)
        lock = self._folder.slot_lock(self._slot)
        while not self._is_ending:
            try:
                with exclusive(lock, wait=False):
                    self._open_and_work()
            except Held:  # by the worker of a server that was killed: it is about to end
                time.sleep(IDLE_S)

    def _open_and_work(self) -> None:
        database = self._opened()
        if database is not None:
            try:
                self._work(Leases(database))
            finally:
                database.close()

    def _opened(self) -> Database | None:
        while not self._is_ending:
            try:
                return open_database(self._settings, self._folder)
            except DatabaseAway as error:
                _LOG.warning("slot %d waits: %s", self._slot, error)
                time.sleep(AWAY_S)
        return None

    def _work(self, store: Leases) -> None:
        is_clear = False  # whether no job of an earlier worker of this slot is left
        while not self._is_ending:
            try:
                if not is_clear:
                    store.reclaim(self._slot)
                    is_clear = True
                lease = store.claim(self._slot)
            except (DatabaseAway, DiskError) as error:
                _LOG.warning("slot %d waits: %s", self._slot, error)
                is_clear = False  # a job may have been claimed all the same
                time.sleep(AWAY_S)
                continue
            if lease is None:
                time.sleep(IDLE_S)
                continue
            self._job = JobRun(store, lease, folder=self._folder, settings=self._settings,
                               vanish=end_group)
            self._run(self._job)
            self._job = None

    def _run(self, job: JobRun) -> None:
        if self._is_ending:  # it was told before there was a job to stop
            job.stop(SHUTDOWN)
        job.run()

    def _end(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._is_ending = True
        if self._job is not None:
            self._job.stop(SHUTDOWN)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._job is not None:
            self._job.on_interrupt(number, frame)


def main() -> None:
    """Runs a worker to its end."""
    settings = read_settings(sys.stdin.buffer.readline())
    threading.Thread(target=end_with_parent, daemon=True).start()
    configure_logging()
    try:
        Worker(settings, int(sys.argv[1])).run()
    except NasError as error:
        _LOG.error("slot %s cannot work: %s", sys.argv[1], error)
        sys.exit(error.exit_code)
    sys.stderr.flush()
    os._exit(0)  # everything is closed; torch takes a second or two to take itself apart


if __name__ == "__main__":
    main()
