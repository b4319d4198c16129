"""Whether the server is well: for load balancers, and for Prometheus."""

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from nas.service.http.auth import Guarded, KnownCaller
from nas.service.http.errors import documented
from nas.service.http.models import Health
from nas.service.http.state import TheService
from nas.service.store.errors import DatabaseAway

open_router = APIRouter(tags=["server"])
router = APIRouter(tags=["server"], route_class=Guarded)


@open_router.get("/healthz", summary="Whether the server and its database answer",
                 responses=documented(503))
async def healthz(service: TheService) -> Health:
    """Needs no token, and tells nothing else."""
    await service.calls(service.store.counts)
    return Health(status="ok")


@router.get("/metrics", summary="Figures for Prometheus", response_class=Response,
            responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
                       **documented(401, 403, 503)})
async def metrics(service: TheService, caller: KnownCaller) -> Response:
    """Needs a token of any role; what the database knows is missing while it does not answer."""
    del caller
    figures = service.metrics
    figures.jobs.clear()
    try:
        for state, count in (await service.calls(service.store.counts)).items():
            figures.jobs.labels(state).set(count)
        figures.database_up.set(1)
    except DatabaseAway:
        figures.database_up.set(0)
    alive = service.alive()
    figures.slots.labels("true").set(alive)
    figures.slots.labels("false").set(service.settings.slots - alive)
    return Response(figures.text(), media_type=CONTENT_TYPE_LATEST)
