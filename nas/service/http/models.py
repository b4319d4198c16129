"""What answers look like; OpenAPI shows them."""

from typing import Any, Literal

from pydantic import BaseModel

State = Literal["queued", "running", "done", "failed", "cancelled"]
Kind = Literal["search", "rank", "prune", "import", "export"]


class Limits(BaseModel):
    """How much the server takes.

    Attributes:
        max_queue: Jobs that may wait.
        max_upload_bytes: Of one uploaded file.
        max_job_seconds: Running time of one job.
        max_job_trials: The largest budget of a search and number of a ranking.
    """

    max_queue: int
    max_upload_bytes: int
    max_job_seconds: float
    max_job_trials: int


class ServerInfo(BaseModel):
    """What a server is.

    Attributes:
        version: Of this program.
        slots: Jobs that run at once.
        limits: How much it takes.
        allow: What jobs may name: "paths", "code", "storage".
        ray: Whether trials run on a Ray cluster.
    """

    version: str
    slots: int
    limits: Limits
    allow: list[str]
    ray: bool


class Me(BaseModel):
    """Who asks, and whom.

    Attributes:
        user: Whose jobs are shown; "local" without a token.
        role: What the user may do.
        auth: How the server knows.
        server: The server.
    """

    user: str
    role: Literal["viewer", "runner", "admin"]
    auth: Literal["token", "loopback"]
    server: ServerInfo


class JobError(BaseModel):
    """Why a job failed."""

    code: str
    message: str


class JobSummary(BaseModel):
    """A job; times are Unix seconds.

    Attributes:
        id: Of the job.
        number: Counts up; newer jobs have larger ones.
        user: Who submitted it.
        kind: What is done.
        state: Where it is.
        title: A short name for people.
        created: When it was submitted.
        started: When a worker first took it.
        ended: When it was done, failed or cancelled.
        ran_s: Running time over all its starts.
        done: Last progress, of `total`.
        total: Units in all; 0: not known yet.
        note: A remark of the progress.
        error: Of a failed job.
        stop_request: "cancel" from the moment it is asked for until the worker has stopped.
    """

    id: str
    number: int
    user: str
    kind: Kind
    state: State
    title: str
    created: float
    started: float | None
    ended: float | None
    ran_s: float
    done: int
    total: int
    note: str
    error: JobError | None
    stop_request: str | None


class Job(JobSummary):
    """A job with what was asked for.

    Attributes:
        config: As submitted and resolved, with all defaults.
    """

    config: dict[str, Any]


class FileInfo(BaseModel):
    """A file of a job."""

    name: str
    bytes: int


class JobDetail(Job):
    """A job with what it has given.

    Attributes:
        result: What ``--json`` prints on the command line; null until the job has ended.
        files: That can be downloaded now.
        bundle: Whether there is a bundle to download.
    """

    result: Any
    files: list[FileInfo]
    bundle: bool


class JobPage(BaseModel):
    """Some of the jobs, newest first.

    Attributes:
        jobs: Without their options.
        next: `before` of the next page; null: this is the last one.
        counts: State → how many of the jobs that the caller may see.
    """

    jobs: list[JobSummary]
    next: int | None
    counts: dict[State, int]


class Upload(BaseModel):
    """A file that a job can name by its id."""

    id: str
    bytes: int
    sha256: str


class Health(BaseModel):
    """The server and its database answer."""

    status: Literal["ok"]


class Stage(BaseModel):
    """How far one stage of the work is."""

    stage: str
    done: int
    total: int
    note: str


class ObjectiveInfo(BaseModel):
    """What is minimised."""

    name: str
    unit: str


class TrialInfo(BaseModel):
    """A network that was looked at.

    Attributes:
        id: Of the trial.
        digest: Of the network.
        metrics: What was measured.
        final: Whether it was validated in full.
        error: Why there are no metrics.
        run: Which search of a comparison it belongs to.
        on_front: Whether no other network is better in all objectives.
    """

    id: int
    digest: str
    metrics: dict[str, float]
    final: bool
    error: str | None
    run: str | None = None
    on_front: bool


class Hypervolume(BaseModel):
    """How much of the box below `reference` the front covers.

    Attributes:
        reference: One number for each objective; null: too few networks yet.
        values: Pairs: after so many validations, this share.
    """

    reference: list[float] | None
    values: list[tuple[int, float]]


class Comparison(BaseModel):
    """Searches in one box.

    Attributes:
        objectives: Those that all of them have.
        reference: The worst value of each among all; null: too few networks yet.
        runs: Job → pairs as in `Hypervolume`; of a comparison of searchers, no job.
    """

    objectives: list[ObjectiveInfo]
    reference: list[float] | None
    runs: dict[str, list[tuple[int, float]]]


class Exits(BaseModel):
    """How many networks went how far."""

    sampled: int
    early_exits: dict[str, int]
    evaluated: int
    failed: int


class View(BaseModel):
    """What a page shows of a job.

    Attributes:
        job: Its id.
        seq: Number of the last event that is in it.
        state: Of the job.
        stages: In the order in which they began.
        objectives: Of a search; else none.
        trials: By id.
        front: Digests of the networks on the front.
        archs: Digest → genes, of these networks.
        hypervolume: Of a search of one searcher.
        exits: Of a search of one searcher; else null.
    """

    job: str
    seq: int
    state: State
    stages: list[Stage]
    objectives: list[ObjectiveInfo]
    trials: list[TrialInfo]
    front: list[str]
    archs: dict[str, dict[str, Any]]
    hypervolume: Hypervolume
    exits: Exits | None
