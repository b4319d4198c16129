"""Views of jobs: made once for all who ask, and no oftener than their size allows."""

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass, field

from anyio import to_thread

from nas.service.event_log import read_events
from nas.service.folder import DataDir
from nas.service.http.answers import json_bytes
from nas.service.progress import view
from nas.service.store.jobs import Job

_KEPT = 64
_REST = 9  # times as long as a view took to make, nobody makes the next: a tenth of a core at most


@dataclass
class _Made:
    of: tuple[int, str] = (-1, "")  # bytes of the log, state of the job
    body: bytes = b""
    next_at: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Views:
    """The views of the jobs that were looked at last."""

    def __init__(self, folder: DataDir) -> None:
        self._folder = folder
        self._made: OrderedDict[str, _Made] = OrderedDict()

    async def of(self, job: Job) -> bytes:
        """Returns the view of a job as JSON."""
        made = self._made.setdefault(job.id, _Made())
        self._made.move_to_end(job.id)
        if len(self._made) > _KEPT:
            self._made.popitem(last=False)
        async with made.lock:
            if (self._log_bytes(job), job.state) != made.of:
                await asyncio.sleep(made.next_at - time.monotonic())
                began, of = time.monotonic(), (self._log_bytes(job), job.state)
                made.body = await to_thread.run_sync(self._body, job)
                made.of = of
                made.next_at = time.monotonic() + _REST * (time.monotonic() - began)
            return made.body

    def _log_bytes(self, job: Job) -> int:
        try:
            return self._folder.events(job.id).stat().st_size
        except FileNotFoundError:
            return 0

    def _body(self, job: Job) -> bytes:
        return json_bytes(view(job, read_events(self._folder.events(job.id))))
