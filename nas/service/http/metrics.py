"""Figures for Prometheus, and a log line for each request that changes something or fails."""

import logging
import time

from prometheus_client import CollectorRegistry, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LOG = logging.getLogger(__name__)
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_QUIET = ("GET", "HEAD")
_METHODS = (*_QUIET, "POST", "DELETE")  # clients may invent others, without end


class Metrics:
    """The figures of one server; users are in none of them.

    Attributes:
        requests: Seconds from a request to the end of its answer, event streams left out.
        streams: Event streams that are open.
        jobs: By state.
        slots: By whether their worker is alive.
        database_up: Whether the database has answered the scrape.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Histogram("nas_http_request_seconds", "Duration of requests",
                                  ["method", "route", "status"], buckets=_BUCKETS,
                                  registry=self.registry)
        self.streams = Gauge("nas_event_streams", "Open event streams", registry=self.registry)
        self.jobs = Gauge("nas_jobs", "Jobs by state", ["state"], registry=self.registry)
        self.slots = Gauge("nas_slots", "Worker processes", ["alive"], registry=self.registry)
        self.database_up = Gauge("nas_database_up", "Whether the database answers",
                                 registry=self.registry)
        ProcessCollector(registry=self.registry)

    def text(self) -> bytes:
        """Returns all figures in Prometheus' format."""
        return generate_latest(self.registry)


class Observed:
    """Counts each request, and logs those that changed something or failed: no bodies, no query."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            self._note(scope, status, time.perf_counter() - begun)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        method, route = scope["method"], getattr(scope.get("route"), "path", "other")
        if not scope.get("nas.stream"):
            known = method if method in _METHODS else "other"
            self._metrics.requests.labels(known, route, str(status)).observe(seconds)
        if method not in _QUIET or status >= 400:
            caller = scope.get("nas.caller")
            _LOG.log(logging.ERROR if status >= 500 else logging.INFO, "request", extra={
                "method": method, "path": scope["path"], "status": status,
                "ms": round(1000 * seconds, 1), "user": caller.user if caller else None})
