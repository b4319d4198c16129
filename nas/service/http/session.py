"""Who asks, and how a browser logs in and out."""

from importlib.metadata import version

from fastapi import APIRouter, Request, Response

from nas.service.http.answers import json_answer
from nas.service.http.auth import COOKIE, Caller, Guarded, KnownCaller, require_own_page
from nas.service.http.errors import HttpError, documented
from nas.service.http.models import Me
from nas.service.http.state import Service, TheService

router = APIRouter(prefix="/api/v1", tags=["session"], route_class=Guarded)
open_router = APIRouter(prefix="/api/v1", tags=["session"])

_VERSION = version("nas-service")


@router.get("/me", response_model=Me, summary="Who asks, and what the server is",
            responses=documented(401, 403, 503))
async def me(service: TheService, caller: KnownCaller) -> Response:
    """Returns the caller and the limits of the server."""
    return json_answer(_me(service, caller))


@open_router.post("/session", response_model=Me, summary="Log a browser in",
                  responses=documented(401, 403, 503))
async def log_in(request: Request, service: TheService) -> Response:
    """Takes the token in ``Authorization: Bearer`` and gives it back as a cookie.

    No script can read the cookie, and no other site's page can make the browser send it.
    """
    require_own_page(request)
    if "authorization" not in request.headers:
        raise HttpError(401, "unauthorized", "send the token as Authorization: Bearer TOKEN",
                        {"WWW-Authenticate": "Bearer"})
    answer = json_answer(_me(service, await service.authenticate(request)))
    answer.set_cookie(COOKIE, _bearer(request), httponly=True, samesite="strict", path="/",
                      secure=_encrypted(request))
    return answer


@open_router.delete("/session", status_code=204, summary="Log a browser out",
                    responses=documented(403))
async def log_out(request: Request) -> Response:
    """Removes the cookie; the token stays valid until it is revoked."""
    require_own_page(request)
    answer = Response(status_code=204)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict", path="/",
                         secure=_encrypted(request))
    return answer


def _bearer(request: Request) -> str:
    return request.headers["authorization"].partition(" ")[2].strip()


def _encrypted(request: Request) -> bool:
    # Believed without asking who says so: it can only make the cookie safer.
    return "https" in (request.url.scheme, request.headers.get("x-forwarded-proto"))


def _me(service: Service, caller: Caller) -> dict[str, object]:
    settings = service.settings
    return {"user": caller.user, "role": caller.role, "auth": caller.auth, "server": {
        "version": _VERSION, "slots": settings.slots, "allow": sorted(settings.allow),
        "ray": settings.ray_address is not None,
        "limits": {name: getattr(settings, name) for name in (
            "max_queue", "max_upload_bytes", "max_job_seconds", "max_job_trials")}}}
