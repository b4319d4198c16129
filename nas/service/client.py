"""`nas.Client`: searches and other work on a server that others may share."""

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from nas.core.errors import InputError, RunInterrupted
from nas.core.files import os_error_line
from nas.pipeline.config import SearchConfig
from nas.pipeline.events import Watcher, silent
from nas.pipeline.prune.request import PruneRequest
from nas.pipeline.rank_request import RankRequest
from nas.pipeline.result import SearchResult
from nas.service.client_download import PAYLOADS, download_job, new_folder
from nas.service.client_errors import Refused, error_of_job
from nas.service.client_events import ENDED, job_events
from nas.service.client_following import following, says_how_to_follow, tell
from nas.service.client_token import find_token
from nas.service.client_wait import Say
from nas.service.client_wire import Wire
from nas.service.http.models import Job, JobDetail, JobPage, JobSummary, Upload
from nas.service.requests import ExportRequest, ImportRequest

_KINDS = {SearchConfig: "search", RankRequest: "rank", PruneRequest: "prune",
          ExportRequest: "export", ImportRequest: "import"}


def _unsaid(line: str) -> None:
    del line


class Client:
    """A server of ``nas serve``, as one user sees it.

    While the server is busy or starts again, a request waits for it; one that could not be
    reached at all fails at once.

    Args:
        url: Such as ``"http://127.0.0.1:8000"``.
        token: Of the user. Without it, and without a `token_file`, it is the one in the variable
            ``NAS_TOKEN``, if that is set; a server for its own machine alone needs none.
        token_file: File that holds the token.
        timeout_s: For each answer.
        patience_s: How long to wait for a server that is busy or away.
        say: Is told in one line what there is to wait for.

    Raises:
        InputError: No such URL, or a token that cannot be one.
    """

    def __init__(self, url: str, *, token: str | None = None, token_file: Path | None = None,
                 timeout_s: float = 30.0, patience_s: float = 300.0, say: Say = _unsaid) -> None:
        self._token_file = token_file
        self._wire = Wire(url, token=find_token(token, token_file), timeout_s=timeout_s,
                          patience_s=patience_s, say=say)

    @property
    def url(self) -> str:
        """The server's address."""
        return self._wire.url

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connections; jobs go on."""
        self._wire.close()

    def submit(self, config: SearchConfig | RankRequest | PruneRequest | ExportRequest
               | ImportRequest) -> Job:
        """Puts a job into the queue; it comes there once, however often it had to be sent.

        Paths and names in the configuration are the server's; where the result goes is its
        business, too.

        Raises:
            InputError: The server refuses it; the message is that of the command line.
            ServerError: It cannot be reached, or its queue stayed full.
        """
        values = config.model_dump(mode="json", exclude_unset=True, exclude={"out"})
        try:
            return self._wire.known(Job, self._wire.post(
                "jobs", json={"kind": _KINDS[type(config)], "config": values}, again=True,
                headers={"Idempotency-Key": secrets.token_urlsafe(24)}))
        except Refused as refused:
            raise self._wire.of_versions(refused) from None
        except KeyboardInterrupt:
            raise RunInterrupted(f"stopped while {self.url} was given the job: it may have it; "
                                 "see its list of jobs") from None

    def jobs(self, *, state: str | None = None, kind: str | None = None,
             user: str | None = None) -> Iterator[JobSummary]:
        """Yields one's own jobs, of an admin all, the newest first; pages are asked for in turn.

        Args:
            state: Only those that are queued, running, done, failed or cancelled.
            kind: Only searches or other work: search, rank, prune, export or import.
            user: Only those of one user; for admins.
        """
        before = None
        while True:
            page = self._wire.known(JobPage, self._wire.get(
                "jobs", state=state, kind=kind, user=user, before=before))
            yield from page.jobs
            before = page.next
            if before is None:
                return

    def job(self, job_id: str) -> JobDetail:
        """Returns a job with its result and files, as far as it has any.

        Raises:
            InputError: There is no such job for this user.
        """
        return self._wire.known(JobDetail, self._wire.get(f"jobs/{_checked(job_id)}"))

    def cancel(self, job_id: str) -> Job:
        """Stops a job; a running one takes some seconds to stop.

        Raises:
            InputError: It has ended, or there is no such job for this user.
        """
        return self._wire.known(Job, self._wire.post(f"jobs/{_checked(job_id)}/cancel"))

    def resume(self, job_id: str) -> Job:
        """Lets a failed or cancelled job go on where it stopped.

        Raises:
            InputError: It has not stopped, or there is no such job for this user.
        """
        return self._wire.known(Job, self._wire.post(f"jobs/{_checked(job_id)}/resume"))

    def view(self, job_id: str) -> Mapping[str, Any]:
        """Returns the state of a job as its page shows it: stages, trials, front, exits."""
        found = self._wire.get(f"jobs/{_checked(job_id)}/view")
        if not isinstance(found, dict):
            raise self._wire.stranger("a view is no object")
        return found

    def events(self, job_id: str, *, after: int = 0) -> Iterator[Mapping[str, Any]]:
        """Yields what happens to a job until it has ended, each event once.

        Restarts of the server do not end it.

        Args:
            job_id: Of the job.
            after: Sequence number of the last event that is known already.
        """
        return job_events(self._wire, _checked(job_id), after=after)

    def follow(self, job_id: str, *, watch: Watcher = silent) -> JobDetail:
        """Waits until a job is done, and tells of every step meanwhile.

        Raises:
            NasError: The job failed: the error that the same work would have raised here.
            RunInterrupted: The job was cancelled; or Ctrl-C, and then the job goes on.
        """
        return self._followed(self.job(job_id), watch, None)

    def download(self, job_id: str, out: Path | str) -> Path:
        """Downloads what a job has made: the run folder of a search, with the bundle in ``best``.

        Args:
            job_id: Of a job that has ended.
            out: The folder to make; it is whole or not there.

        Raises:
            InputError: `out` exists, or the job has not ended.
            ServerError: What comes is not what the server says.
            DiskError: A file cannot be written.
        """
        out = Path(out)
        job = self.job(job_id)
        if job.state not in ENDED:
            raise InputError(f"job {job_id} is {job.state}; follow it to its end first")
        with says_how_to_follow(job_id, self._following(job, out)):
            download_job(self._wire, job, out)
        return out

    def search(self, config: SearchConfig, *, watch: Watcher = silent,
               out: Path | str | None = None) -> SearchResult:
        """Runs a search, or a comparison of searchers, on the server.

        Args:
            config: As for `nas.run_search`; names and paths in it are the server's.
            watch: Is told of every step.
            out: The run folder to make here; by default that of the configuration.

        Returns:
            What `nas.run_search` returns, with the folder here.

        Raises:
            NasError: As `nas.run_search`; or the server cannot be used.
            RunInterrupted: Ctrl-C; the job goes on, and the message says how to follow it again.
        """
        place = new_folder(config.model_copy(update={"out": Path(out) if out else config.out}))
        return self.result(self.submit(config).id, watch=watch, out=place)

    def result(self, job_id: str, *, watch: Watcher = silent, out: Path | str) -> SearchResult:
        """Follows a search to its end and downloads it, as `search` does."""
        out = Path(out)
        job = self.job(job_id)
        if job.kind != "search":
            raise InputError(f"job {job_id} is no search but of the kind {job.kind}; see "
                             "nas.Client for its result")
        self._followed(job, watch, out)
        self.download(job_id, out)
        for name in PAYLOADS:
            if (out / name).is_file():
                return SearchResult(out, json.loads((out / name).read_bytes()))
        raise self._wire.stranger(f"search {job_id} has no {PAYLOADS[0]}")

    def import_profile(self, result: Path, *, bundle: Path | None = None,
                       supernet: str | None = None) -> Job:
        """Uploads what the agent has measured on a board, and imports it as a profile there.

        Args:
            result: The agent's file.
            bundle: The bundle that was measured; needed where the server did not export it.
            supernet: Needed where it is called otherwise than at export.

        Raises:
            InputError: A file that is missing, or that the server refuses.
        """
        return self.submit(ImportRequest(
            result=self._upload(result, "result"), supernet=supernet,
            bundle=self._upload(bundle, "bundle") if bundle else None))

    def devices(self) -> Sequence[Mapping[str, Any]]:
        """Returns the devices of the server, as ``nas list devices --json`` there."""
        return self._rows("devices")

    def supernets(self) -> Sequence[Mapping[str, Any]]:
        """Returns the supernets of the server, as ``nas list supernets --json`` there."""
        return self._rows("supernets")

    def _rows(self, kind: str) -> Sequence[Mapping[str, Any]]:
        rows = self._wire.get(kind)
        if not isinstance(rows, list):
            raise self._wire.stranger(f"{kind} are no list")
        return rows

    def _upload(self, file: Path, kind: str) -> str:
        try:
            return self._wire.known(Upload, self._wire.upload("uploads", file, kind=kind)).id
        except OSError as error:
            raise InputError(f"{os_error_line(error)}; give the file that the agent wrote, or "
                             "the bundle") from None

    def _followed(self, job: Job, watch: Watcher, out: Path | None) -> JobDetail:
        with says_how_to_follow(job.id, self._following(job, out)):
            try:
                tell(self.events(job.id), watch)
            except (KeyError, ValueError) as error:
                raise self._wire.stranger(f"an event without {error}") from None
            ended = self.job(job.id)
        if ended.state == "done":
            return ended
        if ended.state == "cancelled":
            raise RunInterrupted(f"job {job.id} was cancelled; it goes on with: "
                                 f"{self._following(job, out)}")
        if ended.error is None:
            raise self._wire.stranger(f"job {job.id} is {ended.state} without an error")
        raise error_of_job(ended.error.code, ended.error.message)

    def _following(self, job: JobSummary, out: Path | None) -> str:
        return following(self.url, job.id, kind=job.kind, token_file=self._token_file, out=out)


def _checked(job_id: str) -> str:
    if not job_id or not all(sign.isalnum() or sign in "-_" for sign in job_id):
        raise InputError(f"{job_id!r} is no id of a job, such as a list of jobs shows")
    return job_id
