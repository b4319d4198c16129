import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from postgres import Server
from sqlalchemy import text

from nas.core.errors import DiskError, InputError
from nas.service.folder import DataDir
from nas.service.settings import Settings
from nas.service.store.engine import Database, open_database
from nas.service.store.jobs import JobStore
from nas.service.store.tables import METADATA, SCHEMA, VERSION_TABLE


@pytest.fixture
def folder(tmp_path: Path) -> DataDir:
    made = DataDir(tmp_path / "data")
    made.make()
    return made


@pytest.fixture
def sqlite(folder: DataDir) -> Iterator[Database]:
    database = open_database(Settings(data=folder.root), folder)
    yield database
    database.close()


def test_migrations_make_the_tables_that_the_code_knows(database: Database) -> None:
    with database.writing() as connection:
        context = MigrationContext.configure(connection, opts={
            "version_table": VERSION_TABLE, "compare_type": True})
        assert context.get_current_revision() == SCHEMA
        assert compare_metadata(context, METADATA) == []


def test_jobs_are_there_when_it_is_opened_again(folder: DataDir, sqlite: Database) -> None:
    job = JobStore(sqlite, max_queue=1).submit(user="ann", kind="search", config={})
    sqlite.close()

    again = open_database(None, folder)
    assert JobStore(again, max_queue=1).get(job.id) == job
    again.close()


def test_the_file_is_for_the_servers_user_only(folder: DataDir, sqlite: Database) -> None:
    JobStore(sqlite, max_queue=1).submit(user="ann", kind="search", config={})

    files = list(folder.root.glob("service.db*"))
    assert len(files) == 3  # with the write-ahead log
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_a_newer_schema_is_refused(folder: DataDir, sqlite: Database) -> None:
    with sqlite.writing() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))

    with pytest.raises(InputError, match=r"newer version \(schema 9999\); upgrade nas-service"):
        open_database(None, folder)


def test_the_database_of_another_folder_is_refused(tmp_path: Path, postgres: Server) -> None:
    url = postgres.create("bound")
    folders = [DataDir(tmp_path / name) for name in "ab"]
    for made in folders:
        made.make()
    open_database(url, folders[0]).close()

    with pytest.raises(InputError, match="belongs to another data folder"):
        open_database(url, folders[1])
    open_database(url, folders[0]).close()


def test_a_moved_folder_keeps_its_database(folder: DataDir, sqlite: Database) -> None:
    sqlite.close()
    moved = DataDir(folder.root.rename(folder.root.with_name("moved")))

    open_database(None, moved).close()


def test_a_ledger_may_be_in_the_same_database(postgres: Server, folder: DataDir) -> None:
    url = postgres.create("shared")
    program = f"import optuna; optuna.create_study(storage={url!r}.replace('://', '+psycopg://'))"
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    database = open_database(url, folder)

    assert JobStore(database, max_queue=1).counts()["queued"] == 0
    database.close()


@pytest.mark.parametrize(("url", "cause"), [
    ("nonsense", "no URL"),
    ("postgresql://host:port/name", "no URL"),
    ("mysql://ann:secret@host/name", r"mysql://ann:\*\*\*@host/name is no PostgreSQL"),
    ("sqlite:///x.db", "is no PostgreSQL"),
])
def test_urls_of_nothing_served_are_refused(folder: DataDir, url: str, cause: str) -> None:
    with pytest.raises(InputError, match=cause):
        open_database(url, folder)


def test_a_file_that_is_no_database_is_named(folder: DataDir) -> None:
    folder.database.write_bytes(b"no database" * 1000)

    with pytest.raises(DiskError, match=f"{folder.database} cannot be read or written"):
        open_database(None, folder)


def test_a_file_that_cannot_be_made_is_named(folder: DataDir) -> None:
    folder.database.mkdir()

    with pytest.raises(DiskError, match=f"{folder.database}: Is a directory"):
        open_database(None, folder)


def test_no_framework_is_imported() -> None:
    program = ("import sys, nas.service.store.jobs, nas.service.store.tokens\n"
               "print(*{name.partition('.')[0] for name in sys.modules})")
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True,
                          text=True)

    assert not {"torch", "timm", "optuna", "onnx", "onnxruntime", "ray", "numpy", "alembic",
                "psycopg"} & set(said.stdout.split())
