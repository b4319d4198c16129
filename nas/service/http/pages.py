"""The page, and the documentation of the interface: static files of installed packages alone."""

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import fastapi_offline
from anyio import to_thread
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from nas.service.http.answers import json_bytes

_HERE = Path(__file__).parent
_PAGE = _HERE.parent / "page"
_SWAGGER = Path(fastapi_offline.__file__).parent / "static"
# Browsers ask each time whether it is still the same: a newer server has newer files.
_FRESH = {"Cache-Control": "no-cache"}


class _Fresh(StaticFiles):
    def file_response(self, full_path: str | os.PathLike[str], stat_result: os.stat_result,
                      scope: Scope, status_code: int = 200) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(_FRESH)
        return response


def page_routes() -> list[BaseRoute]:
    """Returns the routes of what needs no token, as no data is in it."""
    return [
        Route("/", _file(_PAGE / "index.html")),
        Route("/docs", _file(_HERE / "docs.html")),
        Route("/openapi.json", _openapi),
        Route("/static/docs/docs.js", _file(_HERE / "docs.js")),
        Mount("/static/docs", _Fresh(directory=_SWAGGER)),
        Mount("/static", _Fresh(directory=_PAGE)),
    ]


async def _openapi(request: Request) -> Response:
    # Made once: it takes a tenth of a second, and the page asks for it each time.
    state = request.app.state
    if not hasattr(state, "openapi"):
        state.openapi = json_bytes(await to_thread.run_sync(request.app.openapi))
    return Response(state.openapi, headers=_FRESH, media_type="application/json")


def _file(path: Path) -> Callable[[Request], Awaitable[Response]]:
    async def send(request: Request) -> Response:
        del request
        return FileResponse(path, headers=_FRESH)

    return send
