"""What tests of workers share: a data folder with a queue, and looks at processes."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nas.service.event_log import Event, read_events
from nas.service.folder import DataDir
from nas.service.requests import config_values, read_request
from nas.service.settings import Settings
from nas.service.store.engine import Database, open_database
from nas.service.store.jobs import Job, JobStore
from nas.service.supervisor import Supervisor

PATIENCE_S = 120.0


@dataclass(frozen=True)
class Place:
    """A data folder, its database and its queue."""

    folder: DataDir
    database: Database

    @property
    def store(self) -> JobStore:
        return JobStore(self.database, max_queue=100)

    @property
    def settings(self) -> Settings:
        return Settings(data=self.folder.root)

    def submit(self, kind: str = "search", **config: Any) -> str:
        values = config_values(read_request(kind, config))
        return self.store.submit(user="ann", kind=kind, config=values).id

    def job(self, job_id: str) -> Job:
        found = self.store.get(job_id)
        assert found is not None
        return found

    def wait(self, job_id: str, *states: str) -> Job:
        """Waits until a job is in one of these states, by default ended."""
        until(lambda: self.job(job_id).state in (states or ("done", "failed", "cancelled")),
              lambda: f"job is {self.job(job_id)}")
        job = self.job(job_id)
        if job.ended is not None and self.events(job_id, "state"):  # which comes last of all
            until(lambda: self.events(job_id, "state")[-1]["state"] == job.state,
                  lambda: f"the log of {job} does not end")
        return job

    def events(self, job_id: str, kind: str) -> list[Event]:
        return [event for event in read_events(self.folder.events(job_id))
                if event["type"] == kind]

    def wait_for_trials(self, job_id: str, count: int) -> None:
        until(lambda: len(self.events(job_id, "trial")) >= count,
              lambda: f"job is {self.job(job_id)}")

    @contextmanager
    def supervised(self, **settings: Any) -> Iterator[Supervisor]:
        """Runs the workers of a server."""
        found = Supervisor(replace(self.settings, **settings), self.database)
        found.start()
        try:
            yield found
        finally:
            found.stop()


@contextmanager
def place(root: Path, supernet: Path) -> Iterator[Place]:
    """Makes a data folder with a supernet, ``data/tiny``."""
    folder = DataDir(root)
    folder.make()
    shutil.copytree(supernet, folder.data / "tiny")
    database = open_database(None, folder)
    try:
        yield Place(folder, database)
    finally:
        database.close()


def until(is_so: Callable[[], bool], otherwise: Callable[[], str]) -> None:
    """Waits until something is so."""
    by = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < by, otherwise()
        time.sleep(0.02)


def descendants(pid: int) -> set[int]:
    """Returns the processes that a process has started, and those that these have."""
    found: set[int] = set()
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                found |= {child, *descendants(child)}
    except (FileNotFoundError, ProcessLookupError):
        pass
    return found


def is_running(pid: int) -> bool:
    """Returns whether a process runs: one that has ended and waits for its parent does not."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def gone(pids: set[int]) -> None:
    """Waits until processes are gone."""
    until(lambda: not any(map(is_running, pids)), lambda: f"left running: {pids}")
