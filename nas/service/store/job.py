"""What the store says of a job."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LEASE_S = 30.0
BEAT_S = 2.0

STATES = ("queued", "running", "done", "failed", "cancelled")
ENDS = ("done", "failed", "cancelled")


class Order(enum.Enum):
    """What a worker is told when it reports."""

    GO_ON = "go on"
    CANCEL = "cancel"
    LOST = "lost"  # the job is another's now


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job; times are Unix seconds.

    Attributes:
        number: Counts up; the order of the queue.
        config: JSON values, as submitted and resolved; what is in them is shared, not to be
            changed.
        started: First of all starts.
        ran_s: Running time over all its starts.
        deaths: How often its process died since it last got further than ever.
        done: Last progress, of `total`.
        error: ``code`` and ``message`` of a failed job.
        stop_request: "cancel": asked for and not yet done.
        slot: Of the worker that runs it.
    """

    id: str
    number: int
    user: str
    kind: str
    state: str
    config: Mapping[str, Any]
    created: float
    started: float | None
    ended: float | None
    ran_s: float
    deaths: int
    done: int
    total: int
    note: str
    error: Mapping[str, str] | None
    stop_request: str | None
    slot: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to run a job, until it is given back or not renewed in time."""

    job: Job
    token: str
    slot: int
