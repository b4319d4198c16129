"""PostgreSQL by URL."""

import time
from collections.abc import Generator
from typing import Any, TypeVar

from sqlalchemy import Dialect, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from nas.core.errors import InputError
from nas.search.storage_url import shown

T = TypeVar("T")

_EXAMPLE = "postgresql+psycopg://USER@HOST/NAME"
_DISK_FULL = "53100"


def postgres_engine(text: str, *, patience_s: float) -> Engine:
    """Returns an engine; nothing is connected yet.

    Args:
        text: A URL; of whichever driver, psycopg 3 is used.
        patience_s: How long a connection or a lock is waited for; an answer a second longer.

    Raises:
        InputError: It is no URL of PostgreSQL, or psycopg is missing.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise InputError(f"--database is no URL; give {_EXAMPLE}, or leave it out for SQLite"
                         ) from None
    if url.get_backend_name() not in ("postgresql", "postgres"):
        raise InputError(f"--database {shown(text)} is no PostgreSQL; give {_EXAMPLE}, or leave "
                         "it out for SQLite")
    try:
        import psycopg
    except ImportError as error:
        raise InputError(f"--database needs psycopg ({error}); pip install 'nas-service[serve]'"
                         ) from None

    class Impatient(psycopg.Connection[Any]):
        """Gives up a server that takes the question and never answers."""

        def wait(self, gen: Generator[Any, Any, T], *args: Any, **kwargs: Any) -> T:
            try:
                return super().wait(_in_time(gen, patience_s + 1), *args, **kwargs)
            except TimeoutError as error:
                self.pgconn.finish()  # the answer may still come, to another question
                raise psycopg.OperationalError(str(error)) from None

    engine = create_engine(
        url.set(drivername="postgresql+psycopg"), isolation_level="READ COMMITTED",
        pool_pre_ping=True, pool_size=8, max_overflow=8, pool_timeout=patience_s)

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: Dialect, _record: Any, args: Any, options: Any) -> Any:
        defaults = {"connect_timeout": round(patience_s), "application_name": "nas serve",
                    "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3,
                    "tcp_user_timeout": round(1000 * patience_s)}
        return Impatient.connect(*args, **(defaults | options))

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        # Not as options of the connection: poolers refuse these.
        connection.execute(f"SET statement_timeout = {round(1000 * patience_s)}")
        connection.execute("SET idle_in_transaction_session_timeout = '30s'")
        connection.commit()

    return engine


def is_disk_full(error: BaseException | None) -> bool:
    """Returns whether an error of the driver says that the server's disk is full."""
    return getattr(error, "sqlstate", None) == _DISK_FULL


def _in_time(gen: Generator[Any, Any, T], limit_s: float) -> Generator[Any, Any, T]:
    # psycopg sends 0 ("nothing is ready") ten times a second.
    deadline = time.monotonic() + limit_s
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() > deadline:
                gen.close()
                raise TimeoutError(f"no answer within {limit_s:g} s")
            wanted = gen.send(ready)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
