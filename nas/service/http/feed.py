"""The events of jobs as they come: each log is read once, however many streams show it."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from anyio import to_thread
from fastapi.sse import format_sse_event

from nas.service.event_log import Event, EventReader
from nas.service.folder import DataDir
from nas.service.http.database import DatabaseCalls
from nas.service.store.errors import DatabaseAway
from nas.service.store.jobs import Job, JobStore

_LOG = logging.getLogger(__name__)
_ENDS = ("done", "failed", "cancelled")
_POLL_S = 0.25
_STATE_S = 2.0  # how often the database is asked whether the job has ended


class Feed:
    """The events of one job, ready to be sent.

    Attributes:
        sent: As server-sent events; the one with number n is at n − 1.
        ended: Whether no more will come.
        farewell: To be sent at the end, where the log itself does not say that the job has ended.
    """

    def __init__(self, folder: DataDir, store: JobStore, calls: DatabaseCalls, job_id: str) -> None:
        self.sent: list[bytes] = []
        self.ended, self.farewell = False, b""
        self._job_id, self._store, self._calls = job_id, store, calls
        self._reader = EventReader(folder.events(job_id))
        self._last: Event = {}
        self._changed = asyncio.Event()
        self._next_look, self._was_ended = 0.0, False

    async def news(self, seconds: float) -> bool:
        """Waits until there is more or it ends; returns False if nothing happened for so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()
                return True
        return False

    def end(self) -> None:
        """Lets all streams end."""
        self.ended = True
        self._wake()

    async def follow(self) -> None:
        """Reads until the job has ended."""
        try:
            while not self.ended:
                await self._read()
                if self._says_ended or time.monotonic() >= self._next_look:
                    await self._look()
                if not self.ended:
                    await asyncio.sleep(_POLL_S)
        except Exception:
            _LOG.exception("events of job %s cannot be followed", self._job_id)
        finally:
            self.end()

    @property
    def _says_ended(self) -> bool:
        return self._last.get("type") == "state" and self._last.get("state") in _ENDS

    async def _read(self) -> None:
        events = await to_thread.run_sync(self._reader.read)
        if events:
            self._last = events[-1]
            self.sent += [_encoded(event, with_id=True) for event in events]
            self._wake()

    async def _look(self) -> None:
        # The log tells what happens, the database what holds: a job that was cancelled and resumed
        # has "cancelled" at the end of its log and goes on; one that was cancelled in the queue
        # has no log at all.
        self._next_look = time.monotonic() + _STATE_S
        try:
            job = await self._calls(self._store.get, self._job_id)
        except DatabaseAway:
            return
        if job is not None and job.state not in _ENDS:
            self._was_ended = False
            return
        await self._read()
        if job is None or self._says_ended:
            self.end()
        elif self._was_ended or job.started is None:  # its worker has had time to say so
            self.farewell = _encoded(_state_event(job, self._reader.seq), with_id=False)
            self.end()
        self._was_ended = True

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


@dataclass
class _Watched:
    feed: Feed
    task: asyncio.Task[None]
    watchers: int = 0


class Feeds:
    """The feeds of the jobs that somebody watches."""

    def __init__(self, folder: DataDir, store: JobStore, calls: DatabaseCalls) -> None:
        self._folder, self._store, self._calls = folder, store, calls
        self._open: dict[str, _Watched] = {}
        self._closed = False

    @asynccontextmanager
    async def of(self, job_id: str) -> AsyncIterator[Feed]:
        """Yields the feed of a job; all who watch it at a time have the same."""
        watched = self._open.get(job_id)
        if watched is None or watched.feed.ended:  # the job may have been resumed since
            feed = Feed(self._folder, self._store, self._calls, job_id)
            watched = _Watched(feed, asyncio.create_task(feed.follow()))
            self._open[job_id] = watched
        if self._closed:
            watched.feed.end()
        watched.watchers += 1
        try:
            yield watched.feed
        finally:
            watched.watchers -= 1
            if not watched.watchers:
                watched.task.cancel()
                if self._open.get(job_id) is watched:
                    del self._open[job_id]

    def __len__(self) -> int:
        return len(self._open)

    def close(self) -> None:
        """Ends all streams, and those that come, so that the server can stop."""
        self._closed = True
        for watched in self._open.values():
            watched.feed.end()


def _encoded(event: Event, *, with_id: bool) -> bytes:
    return format_sse_event(data_str=json.dumps(event, separators=(",", ":")), event=event["type"],
                            id=str(event["seq"]) if with_id else None)


def _state_event(job: Job, seq: int) -> Event:
    # Not in the log, so without a number of its own.
    return {"seq": seq, "t": job.ended, "type": "state", "state": job.state,
            "error": None if job.error is None else dict(job.error)}
