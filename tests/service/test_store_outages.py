"""A database that is away, busy or full: errors come soon, and all is well when it is back."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from faults import full_disk
from postgres import NotAvailable, Server, server
from service_stores import Queue
from sqlalchemy import create_engine, text

from nas.core.errors import DiskError
from nas.service.folder import DataDir
from nas.service.store.engine import Database, open_database
from nas.service.store.errors import DatabaseAway
from nas.service.store.jobs import Job, JobStore
from nas.service.store.tokens import TokenStore

_SOON_S = 6.0  # a few more than the store's patience, on a busy machine


@pytest.fixture
def folder(tmp_path: Path) -> DataDir:
    made = DataDir(tmp_path)
    made.make()
    return made


@contextmanager
def _away(match: str = "does not answer") -> Iterator[None]:
    begun = time.monotonic()
    with pytest.raises(DatabaseAway, match=match) as raised:
        yield
    assert time.monotonic() - begun < _SOON_S
    assert "\n" not in str(raised.value)


@pytest.fixture(scope="module")
def own() -> Iterator[Server]:
    """A server that tests may stop."""
    try:
        with server() as running:
            yield running
    except NotAvailable as error:
        pytest.skip(str(error))


class TestPostgres:
    @pytest.fixture
    def url(self, own: Server, request: pytest.FixtureRequest) -> str:
        return own.create(request.node.name[:60])

    @pytest.fixture
    def opened(self, url: str, folder: DataDir) -> Iterator[Database]:
        database = open_database(url, folder)
        yield database
        database.close()

    def test_it_is_used_again_when_it_is_back(self, own: Server, opened: Database) -> None:
        queue, tokens = Queue(opened), TokenStore(opened)
        job = queue.submit()
        _, secret = tokens.create(user="ann", role="admin")
        own.stop()
        try:
            for call in _calls(queue, job, tokens, secret):
                with _away():
                    call()
        finally:
            own.start()

        for call in _calls(queue, job, tokens, secret):
            call()

    def test_a_lease_outlives_an_outage(self, own: Server, opened: Database) -> None:
        queue = Queue(opened)
        job = queue.submit()
        lease = queue.store.claim(0)
        assert lease is not None
        own.stop()
        try:
            with _away():
                queue.store.end(lease, state="done", ran_s=1.0)
        finally:
            own.start()

        assert queue.store.end(lease, state="done", ran_s=1.0)
        found = queue.store.get(job.id)
        assert found is not None
        assert found.state == "done"

    def test_broken_connections_are_replaced_unnoticed(self, own: Server,
                                                       opened: Database) -> None:
        queue = Queue(opened)
        job = queue.submit()
        with _session(own.url("postgres")) as say:
            say("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'nas serve'")

        assert queue.store.get(job.id) == job

    def test_one_that_takes_questions_and_never_answers_is_given_up(
            self, own: Server, opened: Database) -> None:
        queue = Queue(opened)
        job = queue.submit()
        with _frozen(own), _away("no answer|timeout"):
            queue.store.get(job.id)

        assert queue.store.get(job.id) == job

    def test_a_row_that_somebody_holds_is_not_waited_for(self, opened: Database,
                                                         url: str) -> None:
        queue = Queue(opened)
        job = queue.submit()
        with _session(url) as say:
            say("BEGIN")
            say("UPDATE nas_jobs SET done = 1")
            with _away("statement timeout"):
                queue.store.cancel(job.id)
            assert queue.store.get(job.id) == job
            say("ROLLBACK")

        assert queue.store.cancel(job.id).state == "cancelled"

    def test_messages_have_no_password(self, own: Server, folder: DataDir) -> None:
        place = f"127.0.0.1:{own.port}/none"
        for url in (f"postgresql://ann:s3cret@{place}", f"postgres://ann:s3c@ret@{place}",
                    f"postgresql+psycopg://ann@{place}?password=s3cret"):
            with pytest.raises(DatabaseAway, match="does not answer") as raised:
                open_database(url, folder)
            assert "s3c" not in str(raised.value)


class TestSqlite:
    @pytest.fixture
    def opened(self, folder: DataDir) -> Iterator[Database]:
        database = open_database(None, folder)
        yield database
        database.close()

    def test_while_another_writes_it_can_be_read(self, folder: DataDir,
                                                 opened: Database) -> None:
        queue = Queue(opened)
        job = queue.submit()
        other = sqlite3.connect(folder.database, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with _away("locked"):
            queue.submit()
        assert queue.store.get(job.id) == job
        other.execute("ROLLBACK")
        other.close()

        assert queue.submit().number == job.number + 1

    def test_a_short_write_of_another_is_waited_for(self, folder: DataDir,
                                                    opened: Database) -> None:
        program = ("import sqlite3, sys, time\n"
                   "other = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
                   "other.execute('BEGIN IMMEDIATE')\n"
                   "print('begun', flush=True)\n"
                   "time.sleep(0.5)\n"
                   "other.execute('ROLLBACK')\n")
        with subprocess.Popen([sys.executable, "-c", program, folder.database], text=True,
                              stdout=subprocess.PIPE) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == "begun\n"
            Queue(opened).submit()

    def test_a_full_disk_is_named_and_what_was_there_stays(self, folder: DataDir,
                                                           opened: Database) -> None:
        store = JobStore(opened, max_queue=10_000)
        jobs: list[Job] = []

        def fill() -> None:
            while True:
                jobs.append(store.submit(user="ann", kind="search", config={"x": "y" * 10**5}))

        with (pytest.raises(DiskError, match=f"{folder.database} cannot be read or written"),
              full_disk(2**20)):
            fill()

        assert jobs
        assert store.page(user=None, limit=10_000) == jobs[::-1]
        store.submit(user="ann", kind="search", config={})


def _calls(queue: Queue, job: Job, tokens: TokenStore, secret: str) -> list[Callable[[], object]]:
    return [lambda: queue.store.get(job.id), lambda: queue.store.page(user=None),
            queue.store.counts, queue.submit, lambda: queue.store.reclaim(0),
            lambda: tokens.verify(secret), tokens.list]


@contextmanager
def _session(url: str) -> Iterator[Callable[[str], object]]:
    engine = create_engine(url.replace("://", "+psycopg://"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield lambda statement: connection.execute(text(statement))
    engine.dispose()


@contextmanager
def _frozen(own: Server) -> Iterator[None]:
    """Stops all processes of a server where they are; connections stay open."""
    master = int((own.folder / "data" / "postmaster.pid").read_text().split()[0])
    found = subprocess.run(["pgrep", "-P", str(master)], capture_output=True, text=True,
                           check=True)
    processes = [master, *map(int, found.stdout.split())]
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)
