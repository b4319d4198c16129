"""What jobs can name, as `nas list` has it."""

from typing import Any

from fastapi import APIRouter, Response

from nas.service.aside import KINDS
from nas.service.http.answers import json_answer
from nas.service.http.auth import Guarded, KnownCaller
from nas.service.http.errors import documented
from nas.service.http.state import TheService

router = APIRouter(prefix="/api/v1", tags=["catalogue"], route_class=Guarded)


def _list(kind: str) -> None:
    async def rows(service: TheService, caller: KnownCaller) -> Response:
        del caller
        return json_answer([dict(row) for row in await service.catalogue.rows(kind)])

    rows.__name__ = f"list_{kind}"
    rows.__doc__ = f"Returns what `nas list {kind} --json` prints: an object with `name` each."
    router.add_api_route(f"/{kind}", rows, methods=["GET"], response_model=list[dict[str, Any]],
                         summary=f"List {kind}", responses=documented(401, 403, 503))


for _kind in KINDS:
    _list(_kind)
