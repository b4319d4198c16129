import io
import logging
import secrets
from collections.abc import Iterator

import pytest
from postgres import Server
from service_http import Server as HttpServer
from service_http import serving
from service_stores import Queue, emptied

from nas.service.folder import DataDir
from nas.service.logs import configure_logging
from nas.service.store.engine import Database, open_database


@pytest.fixture(scope="session", params=["sqlite", "postgres"])
def opened_database(request: pytest.FixtureRequest,
                    tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    folder = DataDir(tmp_path_factory.mktemp("data"))
    folder.make()
    url = None
    if request.param == "postgres":
        server: Server = request.getfixturevalue("postgres")
        # pytest makes it again after the other one: each time with a name of its own.
        url = server.create(f"store_{secrets.token_hex(4)}")
    database = open_database(url, folder)
    yield database
    database.close()


@pytest.fixture
def database(opened_database: Database) -> Database:
    """Empty; SQLite, then PostgreSQL."""
    return emptied(opened_database)


@pytest.fixture
def queue(database: Database) -> Queue:
    return Queue(database)


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What the server logs."""
    before, level = logging.root.handlers[:], logging.root.level
    stream = io.StringIO()
    configure_logging(stream)
    yield stream
    logging.root.handlers[:] = before
    logging.root.setLevel(level)


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpServer]:
    """A server on loopback that runs no jobs; the tests of a module share it."""
    with serving(tmp_path_factory.mktemp("http") / "data") as server:
        yield server
