"""What a server was started with."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from nas.core.errors import InputError

ALLOWABLE = frozenset({"paths", "code", "storage"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """The options of ``nas serve``, checked.

    Attributes:
        data: The data folder, DIR below.
        host: Address to listen on.
        port: 0: any free one.
        slots: How many jobs run at once, each in a process of its own.
        database: URL of PostgreSQL; None: SQLite in DIR.
        ray_address: Of the Ray cluster that trials run on; None: on this machine.
        max_queue: How many jobs may wait; more are refused.
        max_upload_bytes: Of one uploaded file.
        max_job_seconds: Running time of one job, over all its starts.
        max_job_trials: The largest budget of a search and number of a ranking.
        allow: What jobs may name all the same: "paths" outside DIR/data, "code" as
            ``module:attribute``, "storage" URLs.
        require_token: Also on a loopback address.

    Raises:
        InputError: A value that cannot be used; names the option.
    """

    data: Path
    host: str = "127.0.0.1"
    port: int = 8000
    slots: int = 1
    database: str | None = None
    ray_address: str | None = None
    max_queue: int = 2000
    max_upload_bytes: int = 256 * 10**6
    max_job_seconds: float = 24 * 3600.0
    max_job_trials: int = 10_000
    allow: frozenset[str] = frozenset()
    require_token: bool = False

    def __post_init__(self) -> None:
        if not self.host:
            raise InputError("--host is empty; give an address, such as 127.0.0.1")
        if not 0 <= self.port <= 65535:
            raise InputError(f"--port {self.port} is none; give 0 to 65535")
        for option, value in (("--slots", self.slots), ("--max-queue", self.max_queue),
                              ("--max-upload-mb", self.max_upload_bytes),
                              ("--max-job-hours", self.max_job_seconds),
                              ("--max-job-trials", self.max_job_trials)):
            if not value > 0:  # also not a number
                raise InputError(f"{option} must be more than 0 (got {value:g})")
        if unknown := sorted(self.allow - ALLOWABLE):
            raise InputError(f"--allow {','.join(unknown)}: there is only "
                             f"{', '.join(sorted(ALLOWABLE))}")

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches the server."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:  # another name: who knows where it leads
            return False
