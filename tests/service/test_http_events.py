"""Event streams over a real wire: from any number on, live, until the job has ended."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from service_http import Server, listening

from nas.service.http import events
from nas.service.store.jobs import Job, Lease

Listening = tuple[Server, httpx2.Client]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    with listening(tmp_path_factory.mktemp("http") / "data") as pair:
        yield pair


def path(job: Job, query: str = "") -> str:
    return f"/api/v1/jobs/{job.id}/events{query}"


@contextmanager
def stream(client: httpx2.Client, job: Job, query: str = "", **headers: str
           ) -> Iterator[Iterator[str]]:
    """Yields the lines of a stream that is open."""
    with client.stream("GET", path(job, query), headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert response.headers["cache-control"] == "no-store"
        yield response.iter_lines()


def data(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        if line.startswith("data: "):
            yield json.loads(line[6:])


def numbers(client: httpx2.Client, job: Job, query: str = "", **headers: str) -> list[int]:
    """Returns the ids in the stream of a job that has ended."""
    with stream(client, job, query, **headers) as lines:
        return [int(line[4:]) for line in lines if line.startswith("id: ")]


def running(server: Server) -> tuple[Job, Lease]:
    job = server.job()
    return job, server.claim(job)


def finished(server: Server, count: int = 5) -> Job:
    job, lease = running(server)
    with server.log(job) as log:
        for done in range(count - 1):
            log.append("progress", stage="search", done=done, total=count, note="")
        log.append("state", state="done", error=None)
    server.service.store.end(lease, state="done", ran_s=1.0)
    return job


def test_what_an_event_looks_like(live: Listening) -> None:
    server, client = live
    job = finished(server, 2)
    lines = client.get(path(job)).text.split("\n")
    first = json.loads(lines[1].removeprefix("data: "))
    assert lines[0] == "event: progress"
    assert lines[2:4] == ["id: 1", ""]
    assert (first["seq"], first["type"], first["stage"]) == (1, "progress", "search")


@pytest.mark.parametrize(("query", "headers", "expected"), [
    ("", {}, [1, 2, 3, 4, 5]), ("?after=0", {}, [1, 2, 3, 4, 5]), ("?after=3", {}, [4, 5]),
    ("", {"Last-Event-ID": "4"}, [5]), ("?after=1", {"Last-Event-ID": "3"}, [4, 5]),
    ("?after=5", {}, []), ("?after=99", {}, [])])
def test_replay(live: Listening, query: str, headers: dict[str, str], expected: list[int]) -> None:
    assert numbers(live[1], finished(live[0]), query, **headers) == expected


@pytest.mark.parametrize(("query", "headers"), [
    ("?after=-1", {}), ("?after=x", {}), ("", {"Last-Event-ID": "x"}), (f"?after={10**30}", {}),
    ("", {"Last-Event-ID": "-1"})])
def test_numbers_that_are_none(live: Listening, query: str, headers: dict[str, str]) -> None:
    assert live[1].get(path(finished(live[0]), query), headers=headers).status_code == 422


def test_live_to_all_who_watch_through_one_reader(live: Listening) -> None:
    server, client = live
    job, lease = running(server)
    with (server.log(job) as log, stream(client, job) as one, stream(client, job) as two,
          stream(client, job, "?after=1") as three):
        assert len(server.service.feeds) == 1
        all_lines = [data(lines) for lines in (one, two)]
        for done in (1, 2, 3):
            log.append("progress", stage="search", done=done, total=3, note="")
            assert [next(lines)["done"] for lines in all_lines] == [done, done]
        log.append("state", state="done", error=None)
        server.service.store.end(lease, state="done", ran_s=1.0)
        assert [next(lines)["state"] for lines in all_lines] == ["done", "done"]
        assert [event["seq"] for event in data(three)] == [2, 3, 4]
        assert [list(lines) for lines in all_lines] == [[], []]
    wait(lambda: len(server.service.feeds) == 0)


def test_who_goes_is_forgotten(live: Listening) -> None:
    server, client = live
    job, _ = running(server)
    with stream(client, job), stream(client, job):
        wait(lambda: streams(client) == 2)
    wait(lambda: streams(client) == 0 and len(server.service.feeds) == 0)


def streams(client: httpx2.Client) -> float:
    text = client.get("/metrics").text
    return float(next(line.split()[1] for line in text.splitlines()
                      if line.startswith("nas_event_streams ")))


def test_a_job_that_was_resumed_goes_on(live: Listening) -> None:
    server, client = live
    job, lease = running(server)
    with server.log(job) as log:
        log.append("state", state="cancelled", error=None)
    server.service.store.end(lease, state="cancelled", ran_s=1.0)
    assert numbers(client, job) == [1]
    server.service.store.resume(job.id)
    with stream(client, job) as lines:
        come = data(lines)
        assert next(come)["state"] == "cancelled"
        lease = server.claim(job)
        with server.log(job) as log:
            log.append("state", state="running", error=None)
            assert next(come)["state"] == "running"
            log.append("state", state="done", error=None)
        server.service.store.end(lease, state="done", ran_s=1.0)
        assert [event["state"] for event in come] == ["done"]


def test_a_job_that_never_ran(live: Listening) -> None:
    server, client = live
    job = server.job()
    with stream(client, job) as lines:
        client.post(f"/api/v1/jobs/{job.id}/cancel")
        assert [event["state"] for event in data(lines)] == ["cancelled"]
    text = client.get(path(job)).text
    assert "id:" not in text
    assert json.loads(text.split("data: ")[1])["seq"] == 0


def test_a_worker_that_could_not_say_that_it_ended(live: Listening) -> None:
    server, client = live
    job, lease = running(server)
    with server.log(job) as log:
        log.append("progress", stage="search", done=1, total=3, note="")
    server.service.store.end(lease, state="failed", ran_s=1.0,
                             error={"code": "worker_died", "message": "it died"})
    with stream(client, job) as lines:
        last = list(data(lines))[-1]
    assert (last["seq"], last["state"], last["error"]["code"]) == (1, "failed", "worker_died")


def test_half_a_line_is_waited_for(live: Listening) -> None:
    server, client = live
    job, lease = running(server)
    with server.log(job) as log:
        log.append("progress", stage="search", done=1, total=3, note="é")
    file = server.folder.events(job.id)
    whole = json.dumps({"seq": 2, "t": 1.0, "type": "state", "state": "done", "error": None})
    with stream(client, job) as lines:
        come = data(lines)
        assert next(come)["note"] == "é"
        with file.open("ab") as log_file:
            log_file.write(whole[:20].encode())
        time.sleep(0.4)
        with file.open("ab") as log_file:
            log_file.write(whole[20:].encode() + b"\n")
        server.service.store.end(lease, state="done", ran_s=1.0)
        assert [event["seq"] for event in come] == [2]


def test_silence_is_broken_by_pings(live: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "PING_S", 0.2)
    server, client = live
    job, _ = running(server)
    with stream(client, job) as lines:
        assert [next(lines) for _ in range(4)] == [": ping", "", ": ping", ""]


def test_a_revoked_token_ends_its_streams(live: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "PING_S", 0.5)
    server, client = live
    job, _ = running(server)
    token, text = server.service.tokens.create(user="ann", role="admin")
    with stream(client, job, Authorization=f"Bearer {text}") as lines:
        assert next(lines) == ": ping"
        server.service.tokens.revoke(token.id)
        assert set(lines) <= {": ping", ""}


def test_many_events_at_once(live: Listening) -> None:
    job = finished(live[0], 3000)
    assert numbers(live[1], job) == list(range(1, 3001))
    assert numbers(live[1], job, "?after=2990") == list(range(2991, 3001))


def test_a_client_that_reads_nothing_holds_up_nobody(live: Listening) -> None:
    server, client = live
    job, lease = running(server)
    with server.log(job) as log, client.stream("GET", path(job)):  # never read
        for done in range(5000):
            log.append("progress", stage="search", done=done, total=5000, note="x" * 500)
        log.append("state", state="done", error=None)
        server.service.store.end(lease, state="done", ran_s=1.0)
        with httpx2.Client(base_url=client.base_url, timeout=20) as other:
            assert len(numbers(other, job)) == 5001


def test_a_server_that_stops_ends_its_streams(tmp_path: Path) -> None:
    ended = threading.Event()

    def watch(url: httpx2.URL, job: Job) -> None:
        with httpx2.Client(base_url=url) as client, stream(client, job) as lines:
            list(lines)
        ended.set()

    began = time.monotonic()
    with listening(tmp_path / "data") as (server, client):
        job, _ = running(server)
        thread = threading.Thread(target=watch, args=(client.base_url, job))
        thread.start()
        wait(lambda: streams(client) == 1)
    thread.join(10)
    assert ended.is_set()
    assert time.monotonic() - began < 4


def wait(happened: Callable[[], bool]) -> None:
    for _ in range(200):
        if happened():
            return
        time.sleep(0.02)
    raise AssertionError("it did not happen")
