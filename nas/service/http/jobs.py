"""Jobs: submit, list, show, cancel, resume."""

from collections.abc import Callable
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Header, Path, Query, Response

from nas.service.http.answers import json_answer, summary, with_config
from nas.service.http.auth import Caller, Guarded, KnownCaller
from nas.service.http.body_limit import JSON_BYTES
from nas.service.http.errors import documented
from nas.service.http.job_files import bundle_of, listed, result_of
from nas.service.http.models import Job, JobDetail, JobPage, Kind, State
from nas.service.http.owned import require_own, require_own_inputs
from nas.service.http.state import Service, TheService
from nas.service.policy import permitted
from nas.service.requests import JobRequest, config_values, jobs, uploads
from nas.service.store.jobs import Job as StoredJob

router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"], route_class=Guarded,
                   responses=documented(401, 403, 503))

JobId = Annotated[str, Path(description="Of the job, as the list has it.")]
_ONE = documented(404)


@router.post("", status_code=201, response_model=Job, summary="Submit a job",
             responses=documented(400, 404, 409, 413, 422, 429, 507), max_body_size=JSON_BYTES)
async def submit(
    request: JobRequest, service: TheService, caller: KnownCaller,
    idempotency_key: Annotated[str | None, Header(
        min_length=1, max_length=200, pattern=r"^[!-~]+$",
        description="Any text, new for each job. Sent again, it gives the job of then.")] = None,
) -> Response:
    """Puts a job into the queue.

    It is checked as the command line checks it; an error has the command line's sentence.
    """
    request = await to_thread.run_sync(lambda: permitted(
        request, settings=service.settings, folder=service.folder))
    if uploads(request) or jobs(request):
        await service.calls(require_own_inputs, service, caller, request)
    if service.aside is not None:
        await service.aside.check(request)
    job = await service.calls(service.store.submit, user=caller.user, kind=request.kind,
                              config=config_values(request), key=idempotency_key)
    return json_answer(with_config(job), status=201)


@router.get("", response_model=JobPage, summary="List jobs", responses=documented(422))
async def list_jobs(
    service: TheService, caller: KnownCaller,
    state: Annotated[State | None, Query(description="Only these.")] = None,
    kind: Annotated[Kind | None, Query(description="Only these.")] = None,
    user: Annotated[str | None, Query(
        pattern=r"^[A-Za-z0-9._@+-]{1,64}$",
        description="Only this user's; of use to admins.")] = None,
    before: Annotated[int | None, Query(
        ge=1, le=2**63 - 1, description="Only smaller numbers: `next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=200, description="Jobs on a page.")] = 50,
) -> Response:
    """Returns the caller's jobs, newest first; an admin's page has everybody's."""
    whose = user if caller.is_admin else caller.user
    if user not in (None, whose):  # somebody else's: there are none to be seen
        return json_answer({"jobs": [], "next": None, "counts": {}})

    def read() -> tuple[list[StoredJob], dict[str, int]]:
        return (service.store.page(user=whose, state=state, kind=kind, before=before,
                                   limit=limit + 1), service.store.counts(user=whose))

    jobs, counts = await service.calls(read)
    more = len(jobs) > limit
    return json_answer({"jobs": [summary(job) for job in jobs[:limit]],
                        "next": jobs[limit - 1].number if more else None, "counts": counts})


@router.get("/{job_id}", response_model=JobDetail, summary="Show a job", responses=_ONE)
async def show(job_id: JobId, service: TheService, caller: KnownCaller) -> Response:
    """Returns a job, and what it has given so far."""

    def read() -> dict[str, Any]:
        job, folder = require_own(service, caller, job_id), service.folder
        return with_config(job) | {
            "result": result_of(folder, job), "bundle": bundle_of(folder, job) is not None,
            "files": [{"name": name, "bytes": size} for name, size in listed(folder, job_id)]}

    return json_answer(await service.calls(read))


@router.post("/{job_id}/cancel", response_model=Job, summary="Cancel a job",
             responses=_ONE | documented(409))
async def cancel(job_id: JobId, service: TheService, caller: KnownCaller) -> Response:
    """Cancels a queued job at once; a running one stops within seconds, what it has found stays."""
    return await _changed(service, caller, job_id, service.store.cancel)


@router.post("/{job_id}/resume", response_model=Job, summary="Resume a job",
             responses=_ONE | documented(409, 429))
async def resume(job_id: JobId, service: TheService, caller: KnownCaller) -> Response:
    """Puts a failed or cancelled job back into the queue; it goes on where it stopped."""
    return await _changed(service, caller, job_id, service.store.resume)


async def _changed(service: Service, caller: Caller, job_id: str,
                   change: Callable[[str], StoredJob]) -> Response:
    def write() -> StoredJob:
        require_own(service, caller, job_id)
        return change(job_id)

    return json_answer(with_config(await service.calls(write)))
