"""The service's database: SQLite in the data folder, or PostgreSQL by URL."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from nas.core.errors import DiskError
from nas.search.storage_url import cause_line, shown
from nas.service.folder import DataDir
from nas.service.settings import Settings
from nas.service.store.errors import DatabaseAway
from nas.service.store.migrate import migrate
from nas.service.store.postgres import is_disk_full, postgres_engine
from nas.service.store.sqlite import is_of_the_disk, sqlite_engine

_PATIENCE_S = 2.0  # so long a request waits at each step, until it becomes a 503
_MIGRATING = 0x6E6173  # of PostgreSQL's advisory lock; any number


class Database:
    """Short transactions. It is usable again, by itself, as soon as the database is.

    Attributes:
        where: The database without its password, for messages.
    """

    def __init__(self, engine: Engine, *, where: str) -> None:
        self.where = where
        self._engine = engine
        self._is_sqlite = engine.dialect.name == "sqlite"
        self._turn = threading.Lock()
        self._reading = (engine if self._is_sqlite  # begins no transaction by itself
                         else engine.execution_options(isolation_level="AUTOCOMMIT"))

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Yields a connection on which each statement is a transaction of its own.

        Raises:
            DatabaseAway: It does not answer, or not in time.
            DiskError: Its disk is full or broken.
        """
        with self._translated(), self._reading.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Yields a connection in one transaction: all or nothing.

        Raises:
            DatabaseAway: It does not answer, or not in time. If that was at the very end, what
                was written may be there all the same.
            DiskError: Its disk is full or broken.
        """
        with self._translated(), self._in_turn(), self._engine.begin() as connection:
            if self._is_sqlite:  # with the right to write, or two that read first could not both
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection

    def lock(self, connection: Connection) -> None:
        """Lets transactions that call this run one after the other."""
        if not self._is_sqlite:  # where all that write do anyway
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATING})")

    def close(self) -> None:
        """Ends the connections; a later call opens new ones."""
        self._engine.dispose()

    @contextmanager
    def _in_turn(self) -> Iterator[None]:
        # SQLite tries again and again, ever more seldom: with eight threads some waited a second.
        if not self._is_sqlite:
            yield
        elif self._turn.acquire(timeout=_PATIENCE_S):
            try:
                yield
            finally:
                self._turn.release()
        else:
            raise DatabaseAway(f"database {self.where} is too busy; try again")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except PoolTimeout:
            raise DatabaseAway(f"database {self.where} is too busy; try again") from None
        except (IntegrityError, DataError):  # of this program
            raise
        except DBAPIError as error:
            raise self._named(error) from None

    def _named(self, error: DBAPIError) -> DatabaseAway | DiskError:
        cause = cause_line(error)
        if is_of_the_disk(error.orig) or is_disk_full(error.orig):
            return DiskError(f"database {self.where} cannot be read or written ({cause}); look at "
                             "its disk")
        return DatabaseAway(f"database {self.where} does not answer ({cause}); try again "
                            "later, or look at its server and its URL")


def open_database(settings_or_url: Settings | str | None, folder: DataDir) -> Database:
    """Returns the database of a data folder, with the tables of this version.

    Args:
        settings_or_url: The server's options, or the URL of a database; None: SQLite in the
            folder.
        folder: Made.

    Raises:
        InputError: No usable URL, or a database of another folder or a newer version.
        DatabaseAway: It does not answer.
        DiskError: It cannot be read or written.
    """
    url = settings_or_url.database if isinstance(settings_or_url, Settings) else settings_or_url
    if url is None:
        engine = sqlite_engine(folder.database, patience_s=_PATIENCE_S)
    else:
        engine = postgres_engine(url, patience_s=_PATIENCE_S)
    database = Database(engine, where=shown(folder.database if url is None else url))
    try:
        with database.writing() as connection:
            database.lock(connection)
            migrate(connection, folder_id=folder.folder_id, where=database.where)
    except BaseException:
        database.close()
        raise
    return database
