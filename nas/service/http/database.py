"""Calls of the database from the event loop: in few threads, and none in vain while it is away."""

import logging
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from anyio import CapacityLimiter, to_thread

from nas.service.store.errors import DatabaseAway

T = TypeVar("T")
P = ParamSpec("P")
_LOG = logging.getLogger(__name__)
_THREADS = 8  # others than those that read files: a database that hangs blocks nothing else
_REST_S = 1.0


class DatabaseCalls:
    """Runs what blocks in threads of its own.

    After a call in vain, all others of the next second fail at once: else each would wait for its
    own time-out while more of them come.
    """

    def __init__(self) -> None:
        self._limiter = CapacityLimiter(_THREADS)
        self._away_until, self._away = 0.0, ""

    async def __call__(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Returns what the function does.

        Raises:
            DatabaseAway: The database does not answer, or did not a moment ago.
        """
        def call() -> T:
            if time.monotonic() < self._away_until:
                raise DatabaseAway(self._away)
            try:
                return function(*args, **kwargs)
            except DatabaseAway as error:
                _LOG.warning("%s", error)
                self._away, self._away_until = str(error), time.monotonic() + _REST_S
                raise

        return await to_thread.run_sync(call, limiter=self._limiter)
