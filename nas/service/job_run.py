"""One job in the hands of a worker: worked on in the main thread, reported on by another.

Imports torch when the work begins, not before.
"""

import json
import logging
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any

from nas.core.errors import DiskError, NasError
from nas.core.files import os_error_line, replace_file
from nas.core.locks import Held, exclusive
from nas.service.error_codes import code_of
from nas.service.event_log import EventLog, read_events
from nas.service.folder import DataDir
from nas.service.reporter import Reporter
from nas.service.requests import read_request
from nas.service.settings import Settings
from nas.service.store.errors import DatabaseAway
from nas.service.store.job import BEAT_S, Lease, Order
from nas.service.store.leases import Leases

_LOG = logging.getLogger(__name__)

STOP_S = 15.0  # so long a job may take to stop; then its process ends
AWAY_S = 1.0  # between two attempts to reach a database
_HELD_S = 0.2  # between two looks whether a worker that lost the job is gone

SHUTDOWN, CANCEL, TIME = "shutdown", "cancel", "time"  # why a job is to stop


@dataclass(frozen=True, slots=True)
class End:
    """How a job ends: in a state of the store, or None: it goes back into the queue."""

    state: str | None
    error: Mapping[str, str] | None = None


class JobRun:
    """A claimed job, from its first step in this process to its last.

    Args:
        store: Where it was claimed.
        lease: Of the job.
        folder: Paths relative to the working directory, which is DIR.
        settings: Of the server.
        vanish: Ends this process and its children at once; does not return.
    """

    def __init__(self, store: Leases, lease: Lease, *, folder: DataDir, settings: Settings,
                 vanish: Callable[[], None]) -> None:
        self._store, self._lease, self._job = store, lease, lease.job
        self._folder, self._settings, self._vanish = folder, settings, vanish
        self._began = time.monotonic()
        self._reason: str | None = None
        self._stop_by = float("inf")
        self._can_interrupt = False
        self._reporter: Reporter | None = None
        self._ended = threading.Event()
        self._concluding = threading.Lock()
        self._is_concluded = False

    def run(self) -> None:
        """Does the job and writes how it ended; in the main thread."""
        _LOG.info("job %s (%s) begins", self._job.id, self._job.kind)
        beats = threading.Thread(target=self._beat, daemon=True)
        beats.start()
        try:
            self._hold()
        finally:
            self._ended.set()
            beats.join()

    def stop(self, reason: str) -> None:
        """Lets the job stop soon, for the first reason that is given; from any thread."""
        if self._reason is None:
            self._stop_by = time.monotonic() + STOP_S
            self._reason = reason
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    def on_interrupt(self, number: int, frame: FrameType | None) -> None:
        """The handler of SIGINT: breaks the work off, once, where there is work to break off."""
        del number, frame
        if self._can_interrupt and not (self._reporter and self._reporter.busy):
            self._can_interrupt = False
            raise KeyboardInterrupt

    @property
    def ran_s(self) -> float:
        """Running time over all starts."""
        return self._job.ran_s + time.monotonic() - self._began

    def _hold(self) -> None:
        try:
            self._folder.job(self._job.id).mkdir(mode=0o700, exist_ok=True)
            lock = self._folder.running_lock(self._job.id)
            while self._reason is None:
                try:
                    with exclusive(lock, wait=False):
                        self._log_and_work()
                        lock.unlink(missing_ok=True)
                        return
                except Held:  # by a worker that has lost the job and not noticed yet
                    time.sleep(_HELD_S)
        except (OSError, DiskError) as error:
            if self._is_concluded:  # such as a log that cannot be closed
                _LOG.warning("job %s has ended, but: %s", self._job.id, error)
                return
            line = os_error_line(error) if isinstance(error, OSError) else str(error)
            self._conclude(End("failed", {"code": "disk", "message": line}), None)
            return
        self._conclude(self._stopped(), None)

    def _log_and_work(self) -> None:
        path = self._folder.events(self._job.id)
        with EventLog(path) as log:
            self._reporter = Reporter(log, before=read_events(path),
                                      stopping=lambda: self._reason is not None)
            log.append("state", state="running", error=None)
            end = self._work(self._reporter)
            with suppress(DiskError):
                self._reporter.flush()
            self._conclude(end, log)

    def _work(self, reporter: Reporter) -> End:
        try:
            request = read_request(self._job.kind, self._job.config)
            from nas.service.work import Missed, perform

            try:
                self._can_interrupt = True
                if self._reason is not None:
                    raise KeyboardInterrupt
                payload = perform(request, self._job.id, folder=self._folder,
                                  settings=self._settings, watch=reporter)
                self._can_interrupt = False
            except Missed as error:
                self._keep(error.payload)
                raise
            self._keep(payload)
        except (KeyboardInterrupt, Exception) as error:
            self._can_interrupt = False
            return self._failed(error) if self._reason is None else self._stopped()
        return End("done")

    def _keep(self, payload: Mapping[str, Any]) -> None:
        text = json.dumps(payload, indent=1, allow_nan=False) + "\n"
        try:
            replace_file(self._folder.result(self._job.id), text.encode())
        except OSError as error:
            raise DiskError(f"{os_error_line(error)}; remedy that, then resume the job") from None

    def _failed(self, error: BaseException) -> End:
        if isinstance(error, NasError):
            return End("failed", {"code": code_of(error), "message": str(error)})
        _LOG.error("job %s failed by a bug", self._job.id, exc_info=error)
        line = " ".join(f"{type(error).__name__}: {error}".split())
        return End("failed", {"code": "bug", "message": line})

    def _stopped(self) -> End:
        if self._reason == TIME:
            hours = self._settings.max_job_seconds / 3600
            return End("failed", {"code": "time_limit", "message": (
                f"stopped after {hours:.4g} h, as long as a job of this server may run "
                "(--max-job-hours); what it has found is kept")})
        return End("cancelled" if self._reason == CANCEL else None)

    def _conclude(self, end: End, log: EventLog | None) -> None:
        if not self._concluding.acquire(blocking=False):
            threading.Event().wait()  # the other thread ends this process
        is_written = self._write_end(end)
        self._is_concluded = True
        if is_written and log is not None:
            with suppress(DiskError):
                log.append("state", state=end.state or "queued",
                           error=None if end.error is None else dict(end.error))

    def _write_end(self, end: End) -> bool:
        """Tells the store, as soon as it can be told; returns False if the job is another's now."""
        while True:
            try:
                if end.state is None:
                    self._store.release(self._lease, ran_s=self.ran_s)
                    written = True
                else:
                    written = self._store.end(self._lease, state=end.state, error=end.error,
                                              ran_s=self.ran_s)
                break
            except (DatabaseAway, DiskError) as error:
                _LOG.warning("the end of job %s cannot be written yet: %s", self._job.id, error)
                time.sleep(AWAY_S)
        _LOG.info("job %s ends: %s", self._job.id, end.state or "back into the queue")
        return written

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_S):
            if self.ran_s > self._settings.max_job_seconds:
                self.stop(TIME)
            if time.monotonic() > self._stop_by and self._concluding.acquire(blocking=False):
                _LOG.warning("job %s does not stop; its process ends", self._job.id)
                self._write_end(self._stopped())
                self._vanish()
            self._report()

    def _report(self) -> None:
        reporter, job, order = self._reporter, self._job, Order.GO_ON
        try:
            if reporter is not None:
                reporter.flush()
            if reporter is None or reporter.last is None:  # as far as it was before
                order = self._store.beat(self._lease, done=job.done, total=job.total,
                                         note=job.note, ran_s=self.ran_s)
            else:
                last = reporter.last
                order = self._store.beat(self._lease, done=last.done, total=last.total,
                                         note=reporter.note, ran_s=self.ran_s, stage=last.stage)
        except (DatabaseAway, DiskError) as error:
            _LOG.warning("job %s goes on, but cannot be reported on: %s", self._job.id, error)
        if order is Order.CANCEL:
            self.stop(CANCEL)
        elif order is Order.LOST and not self._concluding.locked():
            _LOG.error("job %s is another worker's now", self._job.id)
            self._vanish()
