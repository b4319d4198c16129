"""SQLite in the data folder, for one machine."""

import os
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event

from nas.core.errors import DiskError, InputError
from nas.core.files import os_error_line

_OLDEST = (3, 35, 0)  # the first with RETURNING

# What went wrong is the file's fault, and waiting does not help.
_OF_THE_DISK = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY,
                sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def sqlite_engine(file: Path, *, patience_s: float) -> Engine:
    """Returns an engine on a file, made if absent, that this user alone can read.

    Its connections begin no transaction by themselves.

    Args:
        file: Of the database.
        patience_s: How long others that write, or a connection, are waited for.

    Raises:
        DiskError: The file cannot be made.
        InputError: Python's SQLite is too old.
    """
    if sqlite3.sqlite_version_info < _OLDEST:
        raise InputError(f"Python's SQLite is {sqlite3.sqlite_version}, which is too old; take a "
                         "Python with 3.35 or newer, or give --database postgresql+psycopg://…")
    try:
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise DiskError(f"database {os_error_line(error)}; remedy that, or give another --data"
                        ) from None
    engine = create_engine(URL.create("sqlite", database=str(file)), pool_size=8, max_overflow=8,
                           pool_timeout=patience_s, connect_args={"timeout": patience_s})

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _: Any) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode = WAL")  # readers do not wait for the writer
        connection.execute("PRAGMA synchronous = FULL")  # what was accepted survives a power cut

    return engine


def is_of_the_disk(error: BaseException | None) -> bool:
    """Returns whether an error of the driver is one of the disk or the file."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF in _OF_THE_DISK  # above is the kind of kind
