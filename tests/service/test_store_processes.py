"""Several processes at one queue."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from postgres import Server

from nas.service.folder import DataDir
from nas.service.store.engine import Database, open_database
from nas.service.store.jobs import JobStore

# Claims until nothing is left, and gives one of four back.
_WORKER = """
import sys
from pathlib import Path
from nas.service.folder import DataDir
from nas.service.store.engine import open_database
from nas.service.store.jobs import JobStore

data, url, slot = sys.argv[1], sys.argv[2] or None, int(sys.argv[3])
store = JobStore(open_database(url, DataDir(Path(data))), max_queue=1)
print("ready", flush=True)
sys.stdin.readline()
count = 0
while (lease := store.claim(slot)) is not None:
    count += 1
    if count % 4 == 0:
        store.release(lease, ran_s=0.0)
    else:
        store.beat(lease, done=1, total=1, note="", ran_s=0.0)
        assert store.end(lease, state="done", ran_s=0.0)
        print(lease.job.id, flush=True)
"""

# Opens a database that has no tables yet.
_OPENER = """
import sys
from pathlib import Path
from nas.service.folder import DataDir
from nas.service.store.engine import open_database

print("ready", flush=True)
sys.stdin.readline()
folder = DataDir(Path(sys.argv[1]))
folder.make()
open_database(sys.argv[2] or None, folder)
print(folder.folder_id)
"""


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "sqlite":
        return ""
    server: Server = request.getfixturevalue("postgres")
    return server.create(request.node.name.split("[")[0][:60])


def test_each_job_is_ended_by_one(tmp_path: Path, url: str) -> None:
    folder = DataDir(tmp_path)
    folder.make()
    database: Database = open_database(url or None, folder)
    store = JobStore(database, max_queue=100)
    ids = [store.submit(user="ann", kind="search", config={}).id for _ in range(60)]

    said = _together(_WORKER, tmp_path, url, 3)

    assert Counter(line for lines in said for line in lines) == Counter(ids)
    assert store.counts()["done"] == 60
    database.close()


def test_tables_are_made_once_by_whoever_is_first(tmp_path: Path, url: str) -> None:
    said = _together(_OPENER, tmp_path / "new", url, 3)

    assert len({tuple(lines) for lines in said}) == 1


def _together(program: str, folder: Path, url: str, count: int) -> list[list[str]]:
    """Runs a program several times at once, and returns what each has said."""
    workers = [subprocess.Popen(
        [sys.executable, "-c", program, str(folder), url, str(slot)], text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE) for slot in range(count)]
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        said = [worker.communicate(timeout=60)[0].split() for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    assert [worker.returncode for worker in workers] == [0] * count
    return said
