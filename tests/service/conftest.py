from collections.abc import Iterator

import pytest
from postgres import Server
from service_stores import Queue, emptied

from nas.service.folder import DataDir
from nas.service.store.engine import Database, open_database


@pytest.fixture(scope="session", params=["sqlite", "postgres"])
def opened_database(request: pytest.FixtureRequest,
                    tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    folder = DataDir(tmp_path_factory.mktemp("data"))
    folder.make()
    url = None
    if request.param == "postgres":
        server: Server = request.getfixturevalue("postgres")
        url = server.create("store")
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
