"""The queue of jobs. Whatever happens to servers and workers, no job is lost or run twice at once.

Each method is one short transaction. Bad input is an `InputError`, a database that does not
answer `DatabaseAway`, and one without space `DiskError`.
"""

import json
import re
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Connection, insert

from nas.core.errors import InputError
from nas.service.store.engine import Database
from nas.service.store.errors import KeyReused, NoJob, QueueFull, StateError
from nas.service.store.job import BEAT_S, LEASE_S, STATES, Job, Lease, Order
from nas.service.store.leases import Leases
from nas.service.store.rows import (
    BY_ID,
    BY_KEY,
    COLUMNS,
    QUEUED,
    changed,
    counts,
    job_of,
    page,
    storable,
    take_turns,
)
from nas.service.store.tables import JOBS

__all__ = ["BEAT_S", "LEASE_S", "STATES", "Job", "JobStore", "Lease", "Order"]

_ID = re.compile(r"[0-9a-f]{16}")
_KEY = re.compile(r"[!-~]{1,255}")
_LARGEST = 2**63 - 1  # of a database's integers


class JobStore(Leases):
    """The queue in a database: its users' side, beside that of its workers.

    Args:
        database: Opened.
        max_queue: How many may wait.
        clock: Unix seconds.
    """

    def __init__(self, database: Database, *, max_queue: int,
                 clock: Callable[[], float] = time.time) -> None:
        super().__init__(database, clock=clock)
        self._max_queue = max_queue

    def submit(self, *, user: str, kind: str, config: Mapping[str, Any],
               key: str | None = None) -> Job:
        """Puts a job at the end of the queue.

        Args:
            user: Who owns it.
            kind: Of the job.
            config: JSON values.
            key: The same one again by the same user gives the job of then.

        Raises:
            QueueFull: As many wait as may.
            KeyReused: The key came with another job.
            InputError: No usable key.
        """
        if key is not None and not _KEY.fullmatch(key):
            raise InputError("Idempotency-Key must be 1 to 255 visible ASCII characters; a UUID "
                             "is a good one")
        text = json.dumps(config, sort_keys=True)
        with self._database.writing() as connection:
            take_turns(connection)
            if key is not None:
                row = connection.execute(BY_KEY, {"user": user, "key": key}).one_or_none()
                if row is not None:
                    return _same(job_of(row), kind, text)
            self._require_room(connection)
            return job_of(connection.execute(insert(JOBS).returning(*COLUMNS), {
                "id": secrets.token_hex(8), "user": user, "kind": kind, "state": "queued",
                "config": text, "key": key, "created": self._clock()}).one())

    def get(self, job_id: str) -> Job | None:
        """Returns the job of an id, None if there is none."""
        if not _ID.fullmatch(job_id):
            return None
        with self._database.reading() as connection:
            row = connection.execute(BY_ID, {"id": job_id}).one_or_none()
        return None if row is None else job_of(row)

    def page(self, *, user: str | None, state: str | None = None, kind: str | None = None,
             before: int | None = None, limit: int = 50) -> list[Job]:
        """Returns jobs, newest first.

        Args:
            user: Whose; None: everybody's.
            state: Only these.
            kind: Only these.
            before: Only smaller numbers; the last number of a page gives the next page.
            limit: How many at most.
        """
        given = {name: value for name, value in (("user", user), ("state", state), ("kind", kind),
                                                 ("before", before)) if value is not None}
        if any(isinstance(value, str) and not storable(value) for value in given.values()):
            return []
        if before is not None:
            given["before"] = max(min(before, _LARGEST), -_LARGEST)  # beyond any job's number
        with self._database.reading() as connection:
            rows = connection.execute(page(frozenset(given)), {**given, "limit": limit}).all()
        return [job_of(row) for row in rows]

    def counts(self, *, user: str | None = None) -> dict[str, int]:
        """Returns how many jobs are in each state; of one user, or of all."""
        found: dict[str, int] = {}
        if user is None or storable(user):
            with self._database.reading() as connection:
                rows = connection.execute(counts(of_user=user is not None), {"user": user})
                found = {state: number for state, number in rows}  # noqa: C416
        return {state: found.get(state, 0) for state in STATES}

    def cancel(self, job_id: str) -> Job:
        """Cancels a queued job at once, and asks the worker of a running one to stop.

        Raises:
            NoJob: There is none of that id.
            StateError: It has ended.
        """
        with self._database.writing() as connection:
            job = _locked(connection, job_id)
            if job.state == "queued":
                return changed(connection, job, state="cancelled", ended=self._clock())
            if job.state == "running":
                return changed(connection, job, stop_request="cancel")
            raise StateError(f"job {job_id} is {job.state}; only a queued or running one can be "
                             "cancelled")

    def resume(self, job_id: str) -> Job:
        """Puts a failed or cancelled job back into the queue; it goes on where it stopped.

        Raises:
            NoJob: There is none of that id.
            StateError: It is queued, running or done.
            QueueFull: As many wait as may.
        """
        with self._database.writing() as connection:
            take_turns(connection)
            job = _locked(connection, job_id)
            if job.state not in ("failed", "cancelled"):
                raise StateError(f"job {job_id} is {job.state}; only a failed or cancelled one "
                                 "can be resumed")
            self._require_room(connection)
            return changed(connection, job, state="queued", ended=None, error=None, deaths=0)

    def _require_room(self, connection: Connection) -> None:
        waiting = connection.execute(QUEUED).scalar_one()
        if waiting >= self._max_queue:
            raise QueueFull(f"{waiting} jobs wait, as many as may; try again later")


def _same(job: Job, kind: str, config: str) -> Job:
    if (job.kind, json.dumps(job.config, sort_keys=True)) != (kind, config):
        raise KeyReused(f"this Idempotency-Key came with another job before ({job.id}); take a "
                        "new one for each job")
    return job


def _locked(connection: Connection, job_id: str) -> Job:
    row = None
    if _ID.fullmatch(job_id):
        row = connection.execute(BY_ID.with_for_update(), {"id": job_id}).one_or_none()
    if row is None:
        raise NoJob(f"there is no job {job_id!r}; the list of jobs has their ids")
    return job_of(row)
