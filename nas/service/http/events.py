"""What happens to a job, live: server-sent events, and the view that they add up to."""

import time
from typing import Annotated

from anyio import create_task_group
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse
from starlette.types import Receive, Scope, Send

from nas.service.http.auth import Guarded, KnownCaller
from nas.service.http.errors import HttpError, documented
from nas.service.http.feed import Feed
from nas.service.http.jobs import JobId
from nas.service.http.models import View
from nas.service.http.owned import require_own
from nas.service.http.state import Service, TheService
from nas.service.store.errors import DatabaseAway

router = APIRouter(prefix="/api/v1/jobs/{job_id}", tags=["jobs"], route_class=Guarded,
                   responses=documented(401, 403, 404, 503))

PING_S = 15.0  # of silence: proxies cut what says nothing
_AT_ONCE = 256  # events in one piece
_MOST = 2**53


@router.get("/view", response_model=View, summary="What the events of a job add up to")
async def view(job_id: JobId, service: TheService, caller: KnownCaller) -> Response:
    """Returns stages, trials, front, hypervolume and exits; of long searches not at every trial."""
    job = await service.calls(require_own, service, caller, job_id)
    return Response(await service.views.of(job), media_type="application/json")


@router.get("/events", summary="Follow a job", response_class=Response, responses={
    200: {"description": "Events: `id` is the number of each, `event` its type, `data` the JSON.",
          "content": {"text/event-stream": {"schema": {"type": "string"}}}},
    **documented(422)})
async def events(
    job_id: JobId, request: Request, service: TheService, caller: KnownCaller,
    after: Annotated[int, Query(ge=0, le=_MOST, description="Only later numbers.")] = 0,
    last_event_id: Annotated[int | None, Header(
        ge=0, le=_MOST, description="As `after`; browsers send it.")] = None,
) -> Response:
    """Sends all events so far, then those that come; ends when the job has ended.

    An event's number is the number of its line in the log of the job, so that a stream that broke
    goes on where it was. What comes at the end without an `id` is not in the log: the state of a
    job whose worker could not write it.
    """
    await service.calls(require_own, service, caller, job_id)
    return EventStream(service, job_id, request, after if last_event_id is None else last_event_id)


class EventStream(EventSourceResponse):
    """The events of a job to one client, until the job ends, the client goes, or may no longer."""

    def __init__(self, service: Service, job_id: str, request: Request, after: int) -> None:
        super().__init__(iter(()), headers={"Cache-Control": "no-store",
                                            "X-Accel-Buffering": "no"})
        self._service, self._job_id, self._request = service, job_id, request
        self._index, self._checked = after, time.monotonic()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["nas.stream"] = True
        async with create_task_group() as group:

            async def until_gone() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                group.cancel_scope.cancel()

            group.start_soon(until_gone)
            with self._service.metrics.streams.track_inprogress():
                await send({"type": "http.response.start", "status": 200,
                            "headers": self.raw_headers})
                async with self._service.feeds.of(self._job_id) as feed:
                    await self._pass_on(feed, send)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            group.cancel_scope.cancel()

    async def _pass_on(self, feed: Feed, send: Send) -> None:
        while await self._is_still_allowed():
            piece = feed.sent[self._index:self._index + _AT_ONCE]
            self._index += len(piece)
            is_over = feed.ended and not piece
            if piece:
                body = b"".join(piece)
            elif is_over:
                body = feed.farewell
            else:
                body = b"" if await feed.news(PING_S) else KEEPALIVE_COMMENT
            if body:
                await send({"type": "http.response.body", "body": body, "more_body": True})
            if is_over:
                return

    async def _is_still_allowed(self) -> bool:
        # Its token may have been revoked while the stream was open.
        if time.monotonic() - self._checked < PING_S:
            return True
        self._checked = time.monotonic()
        try:
            await self._service.authenticate(self._request)
        except DatabaseAway:
            return True
        except HttpError:
            return False
        return True
