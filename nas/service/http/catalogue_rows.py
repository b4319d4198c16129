"""Rows of the catalogue, asked for once in a while."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from nas.service.http.errors import HttpError
from nas.service.requests import JobRequest

Rows = Sequence[Mapping[str, Any]]
_KEPT_S = {"devices": 5.0}  # imports add to them
_KEPT_LONG_S = 600.0


class Helper(Protocol):
    """What `nas.service.aside.Aside` does for requests: whatever needs torch."""

    async def rows(self, kind: str) -> Rows:
        """Returns the rows that `nas list` has of a kind."""

    async def check(self, request: JobRequest) -> None:
        """Raises the error of the command line for a job that cannot be run."""


class Catalogue:
    """Rows of each kind; however many requests wait for them, the helper is asked once."""

    def __init__(self, helper: Helper | None) -> None:
        self._helper = helper
        self._kept: dict[str, tuple[Rows, float]] = {}
        self._asking: dict[str, asyncio.Lock] = {}

    async def rows(self, kind: str) -> Rows:
        """Returns the rows of a kind, some seconds old at most.

        Raises:
            HttpError: 503: there is no helper.
        """
        if self._helper is None:
            raise HttpError(503, "no_catalogue", "this server was started without a catalogue")
        async with self._asking.setdefault(kind, asyncio.Lock()):
            rows, until = self._kept.get(kind, ((), 0.0))
            if time.monotonic() >= until:
                rows = await self._helper.rows(kind)
                self._kept[kind] = rows, time.monotonic() + _KEPT_S.get(kind, _KEPT_LONG_S)
            return rows
