"""The service's database: SQLite in the data folder, or PostgreSQL by URL."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from nas.core.errors import DiskError, InputError
from nas.service.folder import DataDir
from nas.service.settings import Settings
from nas.service.store.errors import DatabaseAway
from nas.service.store.migrate import migrate

_PATIENCE_S = 3  # for a connection, a lock; a request must not wait longer to become a 503
_MIGRATING = 0x6E6173  # of PostgreSQL's advisory lock; any number


class Database:
    """Short transactions on an engine.

    Attributes:
        where: The database without its password, for messages.
    """

    def __init__(self, engine: Engine, *, where: str) -> None:
        self.where = where
        self._engine = engine
        self._reading = engine.execution_options(isolation_level="AUTOCOMMIT")

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Yields a connection on which each statement is a transaction of its own.

        Raises:
            DatabaseAway: It does not answer, or not in time.
            DiskError: It has no space left.
        """
        with self._translated(), self._reading.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Yields a connection in one transaction: all or nothing.

        Raises:
            DatabaseAway: It does not answer, or not in time.
            DiskError: It has no space left.
        """
        with self._translated(), self._engine.begin() as connection:
            yield connection

    def close(self) -> None:
        """Ends the connections; a later call opens new ones."""
        self._engine.dispose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except PoolTimeout:
            raise DatabaseAway(f"database {self.where} is too busy; try again") from None
        except (IntegrityError, DataError):  # of this program
            raise
        except DBAPIError as error:
            cause = f"{type(error.orig).__name__}: {' '.join(str(error.orig).split())}"
            if _disk_full(error.orig):
                raise DiskError(f"database {self.where} has no space left ({cause}); make some"
                                ) from None
            raise DatabaseAway(f"database {self.where} does not answer ({cause}); try again later"
                               ) from None


def open_database(settings_or_url: Settings | str | None, folder: DataDir) -> Database:
    """Returns the database of a data folder, with the tables of this version.

    Args:
        settings_or_url: The server's options, or the URL of a database; None: SQLite in the
            folder.
        folder: Made.

    Raises:
        InputError: No usable URL, or a database of another folder or a newer version.
        DatabaseAway: It does not answer.
        DiskError: It cannot be written.
    """
    url = settings_or_url.database if isinstance(settings_or_url, Settings) else settings_or_url
    if url is None:
        os.close(os.open(folder.database, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        engine, where = _sqlite(folder), str(folder.database)
    else:
        engine, where = _postgres(url)
    database = Database(engine, where=where)
    try:
        with database.writing() as connection:
            if engine.dialect.name == "postgresql":
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATING})")
            migrate(connection, folder_id=folder.folder_id, where=where)
    except BaseException:
        database.close()
        raise
    return database


def _sqlite(folder: DataDir) -> Engine:
    engine = create_engine(URL.create("sqlite", database=str(folder.database)),
                           connect_args={"timeout": _PATIENCE_S}, pool_timeout=_PATIENCE_S,
                           pool_size=8, max_overflow=32)

    # sqlite3 begins transactions late, so that two that read first cannot both write. Ours begin
    # with the right to write.
    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _: Any) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode = WAL")  # readers do not wait for the writer
        connection.execute("PRAGMA synchronous = FULL")  # what was accepted survives a power cut

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _postgres(text: str) -> tuple[Engine, str]:
    try:
        url = make_url(text)
    except ArgumentError:
        raise InputError("--database is no URL; give postgresql+psycopg://USER@HOST/NAME") from None
    if url.get_backend_name() != "postgresql":
        raise InputError(f"--database {url.get_backend_name()}:// is not served; give "
                         "postgresql+psycopg://USER@HOST/NAME, or leave it out for SQLite")
    url = url.set(drivername="postgresql+psycopg")
    try:
        engine = create_engine(url, pool_pre_ping=True, pool_timeout=_PATIENCE_S, pool_size=8,
                               max_overflow=32, connect_args={"connect_timeout": _PATIENCE_S})
    except (NoSuchModuleError, ModuleNotFoundError):
        raise InputError("--database: psycopg is missing; pip install 'nas-service[serve]'"
                         ) from None
    return engine, url.render_as_string(hide_password=True)


def _disk_full(error: BaseException | None) -> bool:
    return (getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
            or getattr(error, "sqlstate", None) == "53100")
