"""The events of a job, once each and in order, through restarts of the server."""

import json
from collections.abc import Iterator
from typing import Any

import httpx2

from nas.service.client_wait import Away
from nas.service.client_wire import Wire
from nas.service.http.models import JobDetail

ENDED = ("done", "failed", "cancelled")


def job_events(wire: Wire, job_id: str, *, after: int = 0) -> Iterator[dict[str, Any]]:
    """Yields the events of a job behind a sequence number, until it has ended.

    A stream that breaks is opened again behind the last event that came.

    Raises:
        InputError: There is no such job for this user.
        ServerError: The server stayed away for too long, or sends what is no stream of events.
    """
    patience, path = wire.patience(), f"jobs/{job_id}"
    while True:
        first, is_final = after, False
        try:
            with wire.events(f"{path}/events", after=after) as stream:
                for values in _following(wire, stream, after):
                    after, is_final = values["seq"], values.get("state") in ENDED
                    patience.reset()
                    yield values
        except Away as away:
            if not wire.may_come_back(away):
                raise
            patience.wait(away, away.retry_after_s)
            continue
        # The stream has ended by itself: the job has, or the server was told to stop.
        if is_final or after == first:
            if wire.known(JobDetail, wire.get(path)).state in ENDED:
                return
            patience.wait(Away(f"{wire.url} ends the events of job {job_id} all the time",
                               was_sent=True), quietly=True)


def _following(wire: Wire, stream: Iterator[httpx2.ServerSentEvent],
               after: int) -> Iterator[dict[str, Any]]:
    # Each event once; where some are missing, the stream is as good as broken.
    for event in stream:
        values = _values(wire, event)
        number = values["seq"]
        if number > after + 1:
            raise Away(f"{wire.url} left out events {after + 1} to {number - 1}", was_sent=True)
        if number == after + 1:
            after = number
            yield values


def _values(wire: Wire, event: httpx2.ServerSentEvent) -> dict[str, Any]:
    try:
        values = json.loads(event.data)
        return {**values, "seq": int(values["seq"]), "type": str(values["type"])}
    except (ValueError, KeyError, TypeError):
        raise wire.stranger(f"an event that says {event.data[:80]!r}") from None
