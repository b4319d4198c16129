"""The database goes away and comes back: requests get 503 at once, streams go on."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres import NotAvailable, server
from postgres import Server as Postgres
from service_http import SEARCH, Server, serving

from nas.core.errors import DiskError
from nas.service.store.errors import DatabaseAway


@pytest.fixture(scope="module")
def own() -> Iterator[Postgres]:
    try:
        with server() as running:
            yield running
    except NotAvailable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def http(own: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    url = own.create("http").replace("postgresql://postgres@", "postgresql://postgres:s3cr3t@")
    with serving(tmp_path_factory.mktemp("http") / "data", database=url) as running:
        yield running


def test_away_and_back(own: Postgres, http: Server, caplog: pytest.LogCaptureFixture) -> None:
    job = http.job()
    with http.log(job) as log:
        log.append("state", state="running", error=None)
    token = http.auth("ann", "viewer")
    paths = ("/healthz", "/api/v1/jobs", f"/api/v1/jobs/{job.id}", f"/api/v1/jobs/{job.id}/view",
             f"/api/v1/jobs/{job.id}/events", f"/api/v1/jobs/{job.id}/bundle")
    own.stop()
    try:
        began = time.monotonic()
        for path in paths:
            assert_away(http, "GET", path)
        assert_away(http, "POST", "/api/v1/jobs", json=SEARCH)
        assert_away(http, "POST", f"/api/v1/jobs/{job.id}/cancel")
        assert_away(http, "GET", "/api/v1/me", headers=token)
        assert time.monotonic() - began < 6  # not the database's time-out for each
        assert http.client.get("/api/v1/me").status_code == 200
        assert http.client.get("/").status_code == 200
        figures = http.client.get("/metrics")
        assert figures.status_code == 200
        assert "nas_database_up 0.0" in figures.text
    finally:
        own.start()
    time.sleep(1.1)  # for a second nobody asks it
    for path in ("/healthz", "/api/v1/jobs", f"/api/v1/jobs/{job.id}/view"):
        assert http.client.get(path).status_code == 200
    assert http.client.get("/api/v1/me", headers=token).status_code == 200
    assert "nas_database_up 1.0" in http.client.get("/metrics").text
    assert "s3cr3t" not in caplog.text


def assert_away(http: Server, method: str, path: str, **options: object) -> None:
    answer = http.client.request(method, path, **options)  # type: ignore[arg-type]
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "database_away"), path
    assert int(answer.headers["retry-after"]) > 0
    assert "s3cr3t" not in answer.text
    assert "127.0.0.1" not in answer.json()["error"]["message"]


def test_others_wait_for_nothing_while_it_hangs(tmp_path: Path) -> None:
    calls = 0

    def hangs() -> None:
        nonlocal calls
        calls += 1
        time.sleep(0.3)
        raise DatabaseAway("it does not answer")

    with serving(tmp_path / "data") as http:
        http.service.store.counts = hangs  # type: ignore[method-assign, assignment]
        began = time.monotonic()
        assert [http.client.get("/healthz").status_code for _ in range(20)] == [503] * 20
        assert (calls, time.monotonic() - began < 1) == (1, True)


def test_a_full_disk(tmp_path: Path) -> None:
    def full(**_: object) -> None:
        raise DiskError(f"database {tmp_path}/service.db has no space left; make some")

    with serving(tmp_path / "data") as http:
        http.service.store.submit = full  # type: ignore[method-assign, assignment]
        answer = http.client.post("/api/v1/jobs", json=SEARCH)
        assert (answer.status_code, answer.json()["error"]["code"]) == (507, "disk")
        assert str(tmp_path) not in answer.text


def test_a_full_queue(tmp_path: Path) -> None:
    with serving(tmp_path / "data", max_queue=2) as http:
        answers = [http.client.post("/api/v1/jobs", json=SEARCH) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [201, 201, 429]
        assert answers[2].json()["error"]["code"] == "queue_full"
        assert int(answers[2].headers["retry-after"]) > 0
        job = answers[0].json()["id"]
        assert http.client.post(f"/api/v1/jobs/{job}/cancel").json()["state"] == "cancelled"
        assert http.client.post("/api/v1/jobs", json=SEARCH).status_code == 201
        assert http.client.post(f"/api/v1/jobs/{job}/resume").status_code == 429
