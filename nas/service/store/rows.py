"""Rows of the table of jobs: statements that find and change them, and what they mean.

Statements are built once: building one takes longer than running it.
"""

import functools
import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    bindparam,
    func,
    or_,
    select,
    update,
)

from nas.service.store.job import Job, Lease
from nas.service.store.tables import ABOUT, JOBS

_NAMES = tuple(Job.__dataclass_fields__)
COLUMNS = [JOBS.c[name] for name in _NAMES]

ALL = select(*COLUMNS)
BY_ID = ALL.where(JOBS.c.id == bindparam("id"))
BY_KEY = ALL.where(JOBS.c.user == bindparam("user"), JOBS.c.key == bindparam("key"))
OF_SLOT = ALL.where(JOBS.c.state == "running", JOBS.c.slot == bindparam("slot")).with_for_update()

_QUEUED = JOBS.c.state == "queued"
_LOST = and_(JOBS.c.state == "running", JOBS.c.lease_until < bindparam("now"))
ANY_TO_RUN = select(JOBS.c.number).where(or_(_QUEUED, _LOST)).limit(1)
# In two, as each has an index that is in order. A job that another worker is just taking is passed
# over.
TO_RUN = tuple(ALL.where(condition).order_by(JOBS.c.number).limit(1)
               .with_for_update(skip_locked=True) for condition in (_LOST, _QUEUED))

_THE_FOLDER = select(ABOUT.c.folder).with_for_update()
QUEUED = select(func.count()).where(_QUEUED)

# What a job loses with its worker. `lease` stays, so that a repeated `end` is recognised.
FREE: Mapping[str, Any] = {"slot": None, "lease_until": None, "stop_request": None}


@functools.cache
def page(filters: frozenset[str]) -> Select[Any]:
    """Returns the newest jobs.

    Args:
        filters: Of "user", "state", "kind" and "before"; parameters, beside "limit".
    """
    query = ALL.order_by(JOBS.c.number.desc()).limit(bindparam("limit"))
    for name in sorted(filters):
        query = query.where(JOBS.c.number < bindparam(name) if name == "before"
                            else JOBS.c[name] == bindparam(name))
    return query


@functools.cache
def counts(*, of_user: bool) -> Select[Any]:
    """Returns the number of jobs in each state; those of the parameter "user", or all."""
    query = select(JOBS.c.state, func.count()).group_by(JOBS.c.state)
    return query.where(JOBS.c.user == bindparam("user")) if of_user else query


def held(lease: Lease) -> tuple[ColumnElement[bool], ...]:
    """Returns the conditions that a lease holds."""
    return (JOBS.c.number == lease.job.number, JOBS.c.lease == lease.token,
            JOBS.c.state == "running")


def take_turns(connection: Connection) -> None:
    """Lets transactions that count and add jobs run one after the other."""
    # In SQLite all that write take turns anyway.
    connection.execute(_THE_FOLDER)


def changed(connection: Connection, job: Job, **values: Any) -> Job:
    """Returns the job with columns changed."""
    return job_of(connection.execute(update(JOBS).where(JOBS.c.number == job.number)
                                     .values(**values).returning(*COLUMNS)).one())


def storable(text: str) -> bool:
    """Returns whether a column could have this text at all."""
    # PostgreSQL has no NUL, UTF-8 no half of a surrogate pair.
    return "\0" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)


def job_of(row: Row[Any]) -> Job:
    """Returns the job of a row of `COLUMNS`."""
    values = dict(zip(_NAMES, row, strict=True))
    values["config"] = dict(_parsed(values["config"]))
    values["note"] = json.loads(values["note"])
    if values["error"] is not None:
        values["error"] = json.loads(values["error"])
    return Job(**values)


@functools.lru_cache(maxsize=1024)
def _parsed(config: str) -> Any:
    # Never changes, and the same jobs are listed over and over.
    return json.loads(config)
