"""Comparisons of searches: made once for all who ask, and no oftener than their size allows."""

import asyncio
import json
import time
from collections import OrderedDict
from dataclasses import dataclass, field

from anyio import to_thread

from nas.service.http.answers import json_bytes
from nas.service.progress import compared

_KEPT = 16
_REST = 9  # as for views: times as long as one took, the next is not made


@dataclass
class _Made:
    of: tuple[bytes, ...] = ()  # the views
    body: bytes = b""
    next_at: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Comparisons:
    """The comparisons that were looked at last, each made once for all who ask."""

    def __init__(self) -> None:
        self._made: OrderedDict[tuple[str, ...], _Made] = OrderedDict()

    async def of(self, ids: tuple[str, ...], views: tuple[bytes, ...]) -> bytes:
        """Returns the comparison of some jobs as JSON, given their views as JSON."""
        made = self._made.setdefault(ids, _Made())
        self._made.move_to_end(ids)
        if len(self._made) > _KEPT:
            self._made.popitem(last=False)
        async with made.lock:
            if made.of != views:
                await asyncio.sleep(made.next_at - time.monotonic())
                began = time.monotonic()
                made.body = await to_thread.run_sync(_body, views)
                made.of = views
                made.next_at = time.monotonic() + _REST * (time.monotonic() - began)
            return made.body


def _body(views: tuple[bytes, ...]) -> bytes:
    return json_bytes(compared([json.loads(view) for view in views]))
