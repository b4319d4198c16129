"""What tests of the service's store share."""

from dataclasses import dataclass, field

from sqlalchemy import delete

from nas.service.store.engine import Database
from nas.service.store.jobs import Job, JobStore
from nas.service.store.tables import JOBS, TOKENS


@dataclass
class Clock:
    now: float = 1e9

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Queue:
    """A store that is empty, and its clock."""

    database: Database
    clock: Clock = field(default_factory=Clock)
    max_queue: int = 100

    @property
    def store(self) -> JobStore:
        return JobStore(self.database, max_queue=self.max_queue, clock=self.clock)

    def submit(self, user: str = "ann", kind: str = "search", **config: object) -> Job:
        return self.store.submit(user=user, kind=kind, config=config)


def emptied(database: Database) -> Database:
    with database.writing() as connection:
        connection.execute(delete(JOBS))
        connection.execute(delete(TOKENS))
    return database
