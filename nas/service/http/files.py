"""Downloads: the files of a job, and its bundle as a zip."""

from pathlib import Path as FilePath
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Path, Response

from nas.service.http.auth import Guarded, KnownCaller
from nas.service.http.errors import HttpError, documented
from nas.service.http.headers import REPORT_POLICY
from nas.service.http.job_files import MEDIA, bundle_files, bundle_of, path_of
from nas.service.http.jobs import JobId
from nas.service.http.owned import require_own
from nas.service.http.sending import Download, opened, pieces, zipped
from nas.service.http.state import TheService

router = APIRouter(prefix="/api/v1/jobs/{job_id}", tags=["downloads"], route_class=Guarded,
                   responses=documented(401, 403, 404, 503))
_BINARY = {"schema": {"type": "string", "format": "binary"}}


@router.get("/files/{name}", summary="Download a file", response_class=Response, responses={
    200: {"content": {media.partition(";")[0]: _BINARY for media in MEDIA.values()}}})
async def file(job_id: JobId, service: TheService, caller: KnownCaller,
               name: Annotated[str, Path(description="As `files` of the job has it.")]) -> Response:
    """Returns a file as it is now; of one that grows, what is there now."""
    await service.calls(require_own, service, caller, job_id)
    path = await to_thread.run_sync(path_of, service.folder, job_id, name)
    found = None if path is None else await to_thread.run_sync(opened, path)
    if path is None or found is None:
        raise HttpError(404, "no_such_file", f"job {job_id} has no file {name[:100]!r}; "
                        "its answer has all names")
    headers = {"Content-Length": str(found.size),
               "Content-Disposition": f'inline; filename="{path.name}"'}
    if path.suffix == ".html":
        headers["Content-Security-Policy"] = REPORT_POLICY
    return Download(pieces(found), close=found.file.close, headers=headers,
                    media_type=MEDIA[path.suffix])


@router.get("/bundle", summary="Download the bundle", response_class=Response,
            responses={200: {"content": {"application/zip": _BINARY}}})
async def bundle(job_id: JobId, service: TheService, caller: KnownCaller) -> Response:
    """Returns the bundle of a search, pruning or export as a zip whose entries are stored."""
    job = await service.calls(require_own, service, caller, job_id)

    def files() -> list[tuple[str, FilePath]]:
        folder = bundle_of(service.folder, job)
        return [] if folder is None else bundle_files(folder)

    found = await to_thread.run_sync(files)
    if not found:
        raise HttpError(404, "no_bundle", f"job {job_id} has no bundle; a search, pruning or "
                        "export has one when it is done")
    headers = {"Content-Disposition": f'attachment; filename="bundle-{job.id}.zip"'}
    parts = zipped(found)
    return Download(parts, close=parts.close, headers=headers, media_type="application/zip")
