"""Where a ledger may live: a journal file, or a database that SQLAlchemy reaches by its URL."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage

from nas.core.errors import LedgerError
from nas.search.database import Database
from nas.search.journal import open_journal, read_journal
from nas.search.storage_url import cause_line, is_url, shown

PATIENCE_S = 20.0

_CONNECT_S = 10
_LONGEST_PAUSE_S = 2.0
_MAKING_ATTEMPTS = 6
# Dialect → modules that serve its plain URL, and the next driver's name if only that is there.
_DRIVERS = {"postgresql": ("psycopg2", "psycopg", "psycopg[binary]"),
            "mysql": ("MySQLdb", "pymysql", "pymysql")}
# So that a server that vanished without a word is noticed.
_SERVER_OPTIONS: dict[str, dict[str, Any]] = {
    "postgresql": {"connect_timeout": _CONNECT_S, "keepalives_idle": 10, "keepalives_interval": 5,
                   "keepalives_count": 3, "tcp_user_timeout": 30_000},
    "mysql": {"connect_timeout": _CONNECT_S},
}

T = TypeVar("T")


def open_storage(storage: Path | str, *, write: bool) -> BaseStorage:
    """Returns the storage of a path or URL.

    A plain ``postgresql://`` (or ``postgres://``) URL works with psycopg 3 as with psycopg2, and
    ``mysql://`` with PyMySQL as with mysqlclient: whichever is installed.

    Args:
        storage: A journal file, or any Optuna storage URL.
        write: Whether a journal is made if absent and mended if torn. A database must exist, and
            gets its tables when it is first opened.

    Raises:
        LedgerError: It cannot be used; the message has the cause and the remedy, no password. An
            unreachable server is given up after ten seconds an address.
    """
    if not is_url(storage):
        path = Path(storage)
        return open_journal(path) if write else read_journal(path)
    url = _with_driver(str(storage))
    try:
        # Two processes may make the tables of a new database at once: one of them then fails.
        for attempt in range(_MAKING_ATTEMPTS):
            try:
                return optuna.storages.get_storage(
                    Database(url, engine_kwargs=_engine_options(url)))
            except Exception as error:
                if attempt == _MAKING_ATTEMPTS - 1 or not _made_meanwhile(error):
                    raise
                time.sleep(random.uniform(0.05, 0.3))
    except Exception as error:  # of SQLAlchemy, its drivers and the server behind them
        cause = cause_line(error)
        raise LedgerError(f"storage {shown(storage)} cannot be used ({cause}); "
                          f"{_remedy(cause, url)}") from None
    raise AssertionError("unreachable")


@dataclass(frozen=True, slots=True)
class Access:
    """Runs calls to the storage of one study; what goes wrong is one line.

    Attributes:
        where: Path or URL without password, for messages.
        study_name: Of the study.
        patience_s: How long an outage of a database is waited out.
    """

    where: str
    study_name: str
    patience_s: float = PATIENCE_S

    def __call__(self, call: Callable[[], T]) -> T:
        """Returns what the call returns; it is made again, with growing pauses, in an outage.

        An outage may begin when a call has had its effect but not yet its answer: calls must
        bear being made twice.

        Raises:
            LedgerError: The study was deleted, or the storage fails for longer than patience.
        """
        deadline: float | None = None
        pause = 0.1
        while True:
            try:
                return call()
            except KeyError:
                raise LedgerError(
                    f"ledger {self.where}: study {self.study_name!r} was deleted while the search "
                    "ran; restore it from a copy and resume, or start a new search") from None
            except (OSError, StorageInternalError) as error:
                now = time.monotonic()
                deadline = now + self.patience_s if deadline is None else deadline
                if now + pause > deadline or not _may_pass(error):
                    raise LedgerError(f"ledger {self.where} cannot be written "
                                      f"({cause_line(error)}); remedy that and resume") from None
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, _LONGEST_PAUSE_S)


def _with_driver(url: str) -> str:
    dialect, rest = url.split("://", 1)
    dialect = "postgresql" if dialect == "postgres" else dialect
    usual, other, _ = _DRIVERS.get(dialect, ("", "", ""))
    if usual and find_spec(usual) is None and find_spec(other) is not None:
        dialect = f"{dialect}+{other}"
    return f"{dialect}://{rest}"


def _engine_options(url: str) -> dict[str, Any]:
    dialect, _, driver = url.split("://", 1)[0].partition("+")
    options = _SERVER_OPTIONS.get(dialect)
    if options is None or driver not in ("", "psycopg", "psycopg2", "pymysql"):
        return {}
    given = url.partition("?")[2]
    return {"pool_pre_ping": True,
            "connect_args": {key: value for key, value in options.items()
                             if f"{key}=" not in given}}


def _made_meanwhile(error: Exception) -> bool:
    text = cause_line(error).lower()
    return any(part in text for part in ("already exists", "duplicate key", "unique constraint",
                                         "duplicate entry", "database is locked"))


def _may_pass(error: Exception) -> bool:
    # A full disk or a broken statement will not pass; a server that restarts, or a lock, may.
    from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

    cause = error.__cause__
    if not isinstance(cause, DBAPIError):
        return False
    if type(cause.orig).__module__.startswith("sqlite3"):
        return "locked" in str(cause.orig) or "busy" in str(cause.orig)
    return cause.connection_invalidated or isinstance(cause, OperationalError | InterfaceError)


def _remedy(cause: str, url: str) -> str:
    dialect = url.split("://", 1)[0].partition("+")[0]
    if cause.startswith(("ModuleNotFoundError", "ImportError")) and dialect in _DRIVERS:
        return f"install its driver: pip install '{_DRIVERS[dialect][2]}'"
    if "does not exist" in cause or "Unknown database" in cause:
        return "make that database or role first, or correct the URL"
    return "check the URL, its driver and its server"
