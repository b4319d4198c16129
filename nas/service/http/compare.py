"""Several searches in one box: only so can their hypervolumes be compared."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from nas.service.http.auth import Guarded, KnownCaller
from nas.service.http.errors import documented
from nas.service.http.models import Comparison
from nas.service.http.owned import require_own
from nas.service.http.state import TheService

router = APIRouter(prefix="/api/v1", tags=["jobs"], route_class=Guarded,
                   responses=documented(401, 403, 404, 503))

_ID = "[A-Za-z0-9][A-Za-z0-9_-]{0,63}"


@router.get("/compare", response_model=Comparison, summary="Compare searches",
            responses=documented(422))
async def compare(
    service: TheService, caller: KnownCaller,
    jobs: Annotated[str, Query(pattern=f"^{_ID}(,{_ID}){{0,3}}$",
                               description="Ids of up to four searches, with commas.")],
) -> Response:
    """Returns the hypervolume of each search over its validations, all in one box.

    The box is that of all their validations, in the objectives that they have in common.
    """
    ids = tuple(dict.fromkeys(jobs.split(",")))
    found = [await service.calls(require_own, service, caller, job_id) for job_id in ids]
    views = tuple([await service.views.of(job) for job in found])
    return Response(await service.comparisons.of(ids, views), media_type="application/json")
