"""The queue of jobs. Whatever happens to servers and workers, no job is lost or run twice at once.

Each method is one short transaction.
"""

import enum
import json
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, and_, func, insert, or_, select, update

from nas.service.store.engine import Database
from nas.service.store.errors import KeyReused, NoJob, QueueFull, StateError
from nas.service.store.tables import ABOUT, JOBS

LEASE_S = 30.0
BEAT_S = 2.0

STATES = ("queued", "running", "done", "failed", "cancelled")

_ID = re.compile(r"[0-9a-f]{16}")
_LARGEST = 2**63 - 1  # of a database's integers


class Order(enum.Enum):
    """What a worker is told when it reports."""

    GO_ON = "go on"
    CANCEL = "cancel"
    LOST = "lost"  # the job is another's now


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as the store knows it; times are Unix seconds.

    Attributes:
        number: Counts up; the order of the queue.
        config: JSON values, as submitted and resolved.
        ran_s: Running time over all its starts.
        deaths: How often its worker died since it last got further than ever.
        done: Last progress, of `total`.
        error: ``code`` and ``message`` of a failed job.
        stop_request: "cancel": asked for and not yet done.
        slot: Of the worker that runs it.
    """

    id: str
    number: int
    user: str
    kind: str
    state: str
    config: Mapping[str, Any]
    created: float
    started: float | None
    ended: float | None
    ran_s: float
    deaths: int
    done: int
    total: int
    note: str
    error: Mapping[str, str] | None
    stop_request: str | None
    slot: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to run a job, until it is given back or not renewed in time."""

    job: Job
    token: str
    slot: int


class JobStore:
    """Jobs in a database.

    Args:
        database: Opened.
        max_queue: How many may wait.
        clock: Unix seconds.
    """

    def __init__(self, database: Database, *, max_queue: int,
                 clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._max_queue = max_queue
        self._clock = clock

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
        """
        text = json.dumps(config)
        with self._database.writing() as connection:
            _one_at_a_time(connection)
            if key is not None:
                row = connection.execute(_SELECT.where(
                    JOBS.c.user == user, JOBS.c.key == key)).one_or_none()
                if row is not None:
                    found = _job(row)
                    if (found.kind, found.config) != (kind, json.loads(text)):
                        raise KeyReused(f"Idempotency-Key came with another job ({found.id}) "
                                        "before; use a new one for each job")
                    return found
            self._require_room(connection)
            row = connection.execute(insert(JOBS).returning(*_COLUMNS).values(
                id=secrets.token_hex(8), user=user, kind=kind, state="queued", config=text,
                key=key, created=self._clock())).one()
            return _job(row)

    def get(self, job_id: str) -> Job | None:
        """Returns the job of an id, None if there is none."""
        if not _ID.fullmatch(job_id):
            return None
        with self._database.reading() as connection:
            row = connection.execute(_SELECT.where(JOBS.c.id == job_id)).one_or_none()
        return None if row is None else _job(row)

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
        query = _SELECT.order_by(JOBS.c.number.desc()).limit(limit)
        for column, value in ((JOBS.c.user, user), (JOBS.c.state, state), (JOBS.c.kind, kind)):
            if value is not None:
                query = query.where(column == value)
        if before is not None:
            query = query.where(JOBS.c.number < min(before, _LARGEST))
        with self._database.reading() as connection:
            return [_job(row) for row in connection.execute(query)]

    def counts(self, *, user: str | None = None) -> dict[str, int]:
        """Returns how many jobs are in each state; of one user, or of all."""
        query = select(JOBS.c.state, func.count()).group_by(JOBS.c.state)
        if user is not None:
            query = query.where(JOBS.c.user == user)
        with self._database.reading() as connection:
            found = {row[0]: int(row[1]) for row in connection.execute(query)}
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
                return _changed(connection, job, state="cancelled", ended=self._clock())
            if job.state == "running":
                return _changed(connection, job, stop_request="cancel")
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
            _one_at_a_time(connection)
            job = _locked(connection, job_id)
            if job.state not in ("failed", "cancelled"):
                raise StateError(f"job {job_id} is {job.state}; only a failed or cancelled one "
                                 "can be resumed")
            self._require_room(connection)
            return _changed(connection, job, state="queued", ended=None, error=None, deaths=0,
                            stop_request=None)

    def claim(self, slot: int) -> Lease | None:
        """Takes the oldest job that waits, or whose worker has not reported in time.

        Returns:
            None where there is none. A job can be claimed by one worker only.
        """
        now = self._clock()
        waiting = or_(JOBS.c.state == "queued",
                      and_(JOBS.c.state == "running", JOBS.c.lease_until < now))
        with self._database.reading() as connection:  # most often there is none: do not lock
            if connection.execute(select(JOBS.c.number).where(waiting).limit(1)).first() is None:
                return None
        with self._database.writing() as connection:
            while True:
                row = connection.execute(
                    _SELECT.where(waiting).order_by(JOBS.c.number).limit(1)
                    .with_for_update(skip_locked=True)).one_or_none()
                if row is None:
                    return None
                job = _job(row)
                if job.stop_request is not None:  # its worker is gone before it could stop
                    self._give_back(connection, job)
                    continue
                token = secrets.token_hex(16)
                job = _changed(connection, job, state="running", slot=slot, lease=token,
                               lease_until=now + LEASE_S,
                               started=now if job.started is None else job.started)
                return Lease(job=job, token=token, slot=slot)

    def beat(self, lease: Lease, *, done: int, total: int, note: str, ran_s: float) -> Order:
        """Reports progress and renews the lease.

        Args:
            lease: Of the job.
            done: Of the work of the whole job.
            total: Of it.
            note: For people.
            ran_s: Running time over all its starts.

        Returns:
            What to do. After LOST nothing was written, and the worker must stop at once.
        """
        further = JOBS.c.farthest < done
        with self._database.writing() as connection:
            row = connection.execute(update(JOBS).where(*_held(lease)).values(
                done=done, total=total, note=json.dumps(note), ran_s=ran_s,
                lease_until=self._clock() + LEASE_S,
            ).returning(JOBS.c.stop_request, further)).one_or_none()
            if row is not None and row[1]:
                connection.execute(update(JOBS).where(*_held(lease)).values(
                    farthest=done, deaths=0))
        if row is None:
            return Order.LOST
        return Order.GO_ON if row[0] is None else Order.CANCEL

    def end(self, lease: Lease, *, state: str, error: Mapping[str, str] | None = None,
            ran_s: float) -> bool:
        """Ends a job.

        Args:
            lease: Of the job.
            state: "done", "failed" or "cancelled".
            error: ``code`` and ``message``.
            ran_s: Running time over all its starts.

        Returns:
            Whether the lease still held; else nothing was written.
        """
        if state not in ("done", "failed", "cancelled"):
            raise ValueError(f"{state} is not the end of a job")
        with self._database.writing() as connection:
            ended = connection.execute(update(JOBS).where(*_held(lease)).values(
                state=state, error=None if error is None else json.dumps(dict(error)),
                ran_s=ran_s, ended=self._clock(), **_FREE))
            if ended.rowcount:
                return True
            # Called again, because an outage swallowed the answer to the first call?
            return connection.execute(select(JOBS.c.number).where(
                JOBS.c.number == lease.job.number, JOBS.c.lease == lease.token,
                JOBS.c.state == state)).one_or_none() is not None

    def release(self, lease: Lease, *, ran_s: float) -> None:
        """Gives a job back to the queue, at its old place; nothing if the lease is lost."""
        with self._database.writing() as connection:
            row = connection.execute(update(JOBS).where(*_held(lease)).values(ran_s=ran_s)
                                     .returning(*_COLUMNS)).one_or_none()
            if row is not None:
                self._give_back(connection, _job(row))

    def reclaim(self, slot: int) -> None:
        """Gives back the jobs of the earlier workers of a slot.

        To be called only by who holds the slot's kernel lock: then these workers are gone.
        """
        with self._database.writing() as connection:
            for job in _running(connection, slot):
                self._give_back(connection, job)

    def died(self, slot: int, *, limit: int = 3) -> None:
        """Notes that the process of a slot died by itself, and gives back its jobs.

        Args:
            slot: Its number.
            limit: At so many deaths without getting further than before, a job has failed.
        """
        with self._database.writing() as connection:
            for job in _running(connection, slot):
                deaths = job.deaths + 1
                if deaths < limit or job.stop_request is not None:
                    self._give_back(connection, job, deaths=deaths)
                    continue
                error = {"code": "worker_died", "message":
                         f"its process died {deaths} times without getting further; see the "
                         "server's log and its memory, then resume the job"}
                _changed(connection, job, state="failed", deaths=deaths,
                         error=json.dumps(error), ended=self._clock(), **_FREE)

    def _give_back(self, connection: Connection, job: Job, **changes: Any) -> None:
        if job.stop_request is None:
            _changed(connection, job, state="queued", **changes, **_FREE)
        else:
            _changed(connection, job, state="cancelled", ended=self._clock(), **changes, **_FREE)

    def _require_room(self, connection: Connection) -> None:
        waiting = connection.execute(select(func.count()).where(
            JOBS.c.state == "queued")).scalar_one()
        if waiting >= self._max_queue:
            raise QueueFull(f"{waiting} jobs wait, as many as may; try again later")


_COLUMNS = [JOBS.c[name] for name in Job.__dataclass_fields__]
_SELECT = select(*_COLUMNS)
# `lease` stays, so that a repeated `end` is recognised.
_FREE: Mapping[str, Any] = {"slot": None, "lease_until": None, "stop_request": None}


def _held(lease: Lease) -> tuple[Any, ...]:
    return (JOBS.c.number == lease.job.number, JOBS.c.lease == lease.token,
            JOBS.c.state == "running")


def _one_at_a_time(connection: Connection) -> None:
    # Counting and adding must be one step. SQLite's transactions take turns anyway.
    connection.execute(select(ABOUT.c.folder).with_for_update())


def _locked(connection: Connection, job_id: str) -> Job:
    row = None
    if _ID.fullmatch(job_id):
        row = connection.execute(_SELECT.where(JOBS.c.id == job_id).with_for_update()
                                 ).one_or_none()
    if row is None:
        raise NoJob(f"there is no job {job_id!r}; the list of jobs has all ids")
    return _job(row)


def _running(connection: Connection, slot: int) -> list[Job]:
    return [_job(row) for row in connection.execute(_SELECT.where(
        JOBS.c.state == "running", JOBS.c.slot == slot).with_for_update())]


def _changed(connection: Connection, job: Job, **values: Any) -> Job:
    return _job(connection.execute(update(JOBS).where(JOBS.c.number == job.number).values(**values)
                                   .returning(*_COLUMNS)).one())


def _job(row: Row[Any]) -> Job:
    values = dict(row._mapping)
    values["config"] = json.loads(values["config"])
    values["note"] = json.loads(values["note"])
    if values["error"] is not None:
        values["error"] = json.loads(values["error"])
    return Job(**values)
