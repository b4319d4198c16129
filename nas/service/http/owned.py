"""Whose jobs and uploads these are: somebody else's are as if they were not there."""

from nas.service.http.auth import Caller
from nas.service.http.errors import HttpError
from nas.service.http.state import Service
from nas.service.http.stored_uploads import uploaded_by
from nas.service.requests import JobRequest, jobs, uploads
from nas.service.store.errors import NoJob
from nas.service.store.jobs import Job


def require_own(service: Service, caller: Caller, job_id: str) -> Job:
    """Returns a job that the caller may see. Blocks.

    Raises:
        NoJob: There is none of that id, or it is somebody else's and the caller no admin.
        DatabaseAway: The database does not answer.
    """
    job = service.store.get(job_id)
    if job is None or not (caller.is_admin or job.user == caller.user):
        raise NoJob(f"there is no job {job_id[:64]!r}; the list of jobs has all ids")
    return job


def require_own_inputs(service: Service, caller: Caller, request: JobRequest) -> None:
    """Lets pass a request whose uploads and jobs are the caller's. Blocks.

    Raises:
        NoJob: It names a job that the caller may not see.
        HttpError: 422: it names an upload that the caller did not make.
        DatabaseAway: The database does not answer.
    """
    for job_id in jobs(request):
        require_own(service, caller, job_id)
    for upload_id in uploads(request):
        owner = uploaded_by(service.folder, upload_id)
        if owner is None or not (caller.is_admin or owner == caller.user):
            raise HttpError(422, "no_such_upload", f"there is no upload {upload_id!r}; upload the "
                            "file first")
