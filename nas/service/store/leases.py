"""Jobs in the hands of workers: claimed, reported on, ended or given back.

A lease has a random token. What a worker writes changes nothing once another holds the job.
"""

import json
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Connection, select, update

from nas.service.store.engine import Database
from nas.service.store.job import ENDS, LEASE_S, Job, Lease, Order
from nas.service.store.rows import ANY_TO_RUN, COLUMNS, FREE, OF_SLOT, TO_RUN, changed, held, job_of
from nas.service.store.tables import JOBS


class Leases:
    """The workers' side of the queue.

    Args:
        database: Opened.
        clock: Unix seconds.
    """

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    def claim(self, slot: int) -> Lease | None:
        """Takes the oldest job whose worker has not reported in time, or else that waits.

        After `DatabaseAway` a job may have been taken all the same: `reclaim` gives it back.

        Returns:
            None where there is none. A job is claimed by one worker only.
        """
        now = self._clock()
        with self._database.reading() as connection:  # most often there is none: do not lock
            if connection.execute(ANY_TO_RUN, {"now": now}).first() is None:
                return None
        with self._database.writing() as connection:
            for find in TO_RUN:
                while (row := connection.execute(find, {"now": now}).one_or_none()) is not None:
                    job = job_of(row)
                    if job.stop_request is None:
                        return self._leased(connection, job, slot, now)
                    self._give_back(connection, job)  # its worker was lost before it could stop
        return None

    def beat(self, lease: Lease, *, done: int, total: int, note: str, ran_s: float,
             stage: str = "") -> Order:
        """Reports progress and renews the lease.

        Args:
            lease: Of the job.
            done: Of the present stage's work.
            total: Of it.
            note: For people.
            ran_s: Running time over all its starts.
            stage: Its name. Each start goes through the same stages; only one that gets further
                in one of them, or into a new one, has made its earlier deaths good.

        Returns:
            What to do. After LOST nothing was written, and the worker must stop at once.
        """
        with self._database.writing() as connection:
            row = connection.execute(
                select(JOBS.c.stop_request, JOBS.c.farthest).where(*held(lease))
                .with_for_update()).one_or_none()
            if row is None:
                return Order.LOST
            changes: dict[str, Any] = {
                "done": done, "total": total, "note": json.dumps(note), "ran_s": ran_s,
                "lease_until": self._clock() + LEASE_S}
            farthest, key = json.loads(row.farthest), f"{stage} {total}"
            if done > farthest.get(key, 0):
                changes |= {"farthest": json.dumps({**farthest, key: done}), "deaths": 0}
            connection.execute(update(JOBS).where(*held(lease)).values(**changes))
        return Order.GO_ON if row.stop_request is None else Order.CANCEL

    def end(self, lease: Lease, *, state: str, error: Mapping[str, str] | None = None,
            ran_s: float) -> bool:
        """Ends a job; after `DatabaseAway` it can be called again.

        Args:
            lease: Of the job.
            state: "done", "failed" or "cancelled".
            error: ``code`` and ``message``.
            ran_s: Running time over all its starts.

        Returns:
            False: the lease was lost, and nothing was written.
        """
        if state not in ENDS:
            raise ValueError(f"{state!r} is not the end of a job")
        with self._database.writing() as connection:
            ended = connection.execute(update(JOBS).where(*held(lease)).values(
                state=state, error=None if error is None else json.dumps(dict(error)),
                ran_s=ran_s, ended=self._clock(), **FREE))
            # An outage may have swallowed the answer to an earlier call.
            return ended.rowcount > 0 or connection.execute(select(JOBS.c.number).where(
                JOBS.c.number == lease.job.number, JOBS.c.lease == lease.token,
                JOBS.c.state == state)).one_or_none() is not None

    def release(self, lease: Lease, *, ran_s: float) -> None:
        """Gives a job back to the queue, at its old place; nothing if the lease is lost."""
        with self._database.writing() as connection:
            row = connection.execute(update(JOBS).where(*held(lease)).values(ran_s=ran_s)
                                     .returning(*COLUMNS)).one_or_none()
            if row is not None:
                self._give_back(connection, job_of(row))

    def reclaim(self, slot: int) -> None:
        """Gives back the jobs of the earlier workers of a slot.

        To be called only by who holds the slot's kernel lock: then these workers are gone.
        """
        with self._database.writing() as connection:
            for row in connection.execute(OF_SLOT, {"slot": slot}).all():
                self._give_back(connection, job_of(row))

    def died(self, slot: int, *, limit: int = 3) -> None:
        """Notes that the process of a slot died by itself, and gives back its jobs.

        Args:
            slot: Its number.
            limit: At so many deaths without getting further than ever, a job has failed.
        """
        with self._database.writing() as connection:
            for row in connection.execute(OF_SLOT, {"slot": slot}).all():
                job = job_of(row)
                deaths = job.deaths + 1
                if deaths < limit or job.stop_request is not None:
                    self._give_back(connection, job, deaths=deaths)
                    continue
                message = (f"its process died {deaths} times without getting further; look into "
                           "the server's log and at its memory, then resume the job")
                changed(connection, job, state="failed", deaths=deaths, ended=self._clock(),
                         error=json.dumps({"code": "worker_died", "message": message}), **FREE)

    def _leased(self, connection: Connection, job: Job, slot: int, now: float) -> Lease:
        token = secrets.token_hex(16)
        job = changed(connection, job, state="running", slot=slot, lease=token,
                      lease_until=now + LEASE_S,
                      started=now if job.started is None else job.started)
        return Lease(job=job, token=token, slot=slot)

    def _give_back(self, connection: Connection, job: Job, **changes: Any) -> None:
        ends = job.stop_request is not None
        changed(connection, job, state="cancelled" if ends else "queued",
                 ended=self._clock() if ends else None, **changes, **FREE)
