"""A client that watches: each event once, through broken streams and restarts of the server."""

import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from canned_service import (
    HANG_UP,
    Asked,
    CannedService,
    Reply,
    failure,
    job,
    page,
    serving,
    stream,
)

from nas.core.errors import ConstraintError, InputError, NasError, RunInterrupted
from nas.pipeline.events import Event
from nas.service.client import Client
from nas.service.client_errors import JobFailed, ServerError

EVENTS, ONE = "GET jobs/j1/events", "GET jobs/j1"


def progress(seq: int, **changes: Any) -> dict[str, Any]:
    return {"seq": seq, "t": 1.5, "type": "progress", "stage": "search", "done": seq, "total": 9,
            "note": f"step {seq}", **changes}


def state(seq: int, name: str, error: Any = None) -> dict[str, Any]:
    return {"seq": seq, "t": 1.5, "type": "state", "state": name, "error": error}


@pytest.fixture
def service() -> Iterator[CannedService]:
    with serving({ONE: Reply(job(state="done"))}) as running:
        yield running


@pytest.fixture
def remarks() -> list[str]:
    return []


@pytest.fixture
def client(service: CannedService, remarks: list[str],
           monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.delenv("NAS_TOKEN", raising=False)
    with Client(service.url, patience_s=3, say=remarks.append) as made:
        yield made


def numbers(client: Client, after: int = 0) -> list[int]:
    return [event["seq"] for event in client.events("j1", after=after)]


def starts(service: CannedService) -> list[str]:
    return [asked.headers["last-event-id"] for asked in service.asked
            if asked.path.endswith("/events")]


def test_a_stream_that_ends_with_the_job(service: CannedService, client: Client) -> None:
    service.routes[EVENTS] = stream(progress(1), progress(2), state(3, "done"))
    assert list(client.events("j1")) == [progress(1), progress(2), state(3, "done")]
    assert starts(service) == ["0"]


def test_broken_streams_go_on_behind_the_last_event(service: CannedService, client: Client,
                                                    remarks: list[str]) -> None:
    service.routes[EVENTS] = [
        stream(progress(1), progress(2), breaks=True), HANG_UP, page(502),
        failure(503, "database_away", "the database is away", Retry_After="0"),
        stream(progress(3), state(4, "done"))]
    assert numbers(client) == [1, 2, 3, 4]
    assert starts(service) == ["0", "2", "2", "2", "2"]
    assert len(remarks) == 1


def test_an_event_that_comes_again_is_passed_over(service: CannedService,
                                                  client: Client) -> None:
    service.routes[EVENTS] = [
        stream(progress(1), progress(2), breaks=True),
        stream(progress(1), progress(2), progress(3), progress(3), state(4, "done"))]
    assert numbers(client) == [1, 2, 3, 4]


def test_an_event_that_is_missing_is_asked_for(service: CannedService, client: Client) -> None:
    service.routes[EVENTS] = [stream(progress(1), progress(3)),
                              stream(progress(2), progress(3), state(4, "done"))]
    assert numbers(client) == [1, 2, 3, 4]
    assert starts(service) == ["0", "1"]


def test_an_event_that_is_cut_off_counts_as_missing(service: CannedService,
                                                    client: Client) -> None:
    whole = stream(progress(1), progress(2)).body
    assert whole is not None
    ping, first, second = whole
    service.routes[EVENTS] = [
        Reply(body=[ping, first, second[:-2]], headers={"Content-Type": "text/event-stream"}),
        stream(progress(2), state(3, "done"))]
    assert numbers(client) == [1, 2, 3]


def test_watching_from_the_middle(service: CannedService, client: Client) -> None:
    service.routes[EVENTS] = stream(progress(6), state(7, "done"))
    assert numbers(client, after=5) == [6, 7]
    assert starts(service) == ["5"]


def test_a_job_that_was_stopped_and_goes_on_is_followed_on(service: CannedService,
                                                           client: Client) -> None:
    service.routes |= {
        ONE: [Reply(job(state="queued")), Reply(job(state="done"))],
        EVENTS: [stream(state(1, "cancelled")), stream(progress(2), state(3, "done"))]}
    assert numbers(client) == [1, 2, 3]


def test_a_job_that_ended_without_a_word(service: CannedService, client: Client) -> None:
    service.routes |= {ONE: Reply(job(state="cancelled")), EVENTS: stream()}
    assert numbers(client) == []


def test_a_server_that_starts_again(service: CannedService, client: Client,
                                    remarks: list[str]) -> None:
    def last_words(asked: Asked) -> Reply:
        del asked
        threading.Thread(target=restart).start()
        assert service.deaf.wait(5)
        return stream(progress(1))

    def restart() -> None:
        service.stop()
        service.routes |= {EVENTS: stream(progress(2), state(3, "done")),
                           ONE: Reply(job(state="done"))}
        threading.Event().wait(0.8)
        service.start()

    service.routes |= {EVENTS: last_words, ONE: Reply(job(state="running"))}
    assert numbers(client) == [1, 2, 3]
    assert any("nothing listens at" in line for line in remarks)


def test_a_server_that_stays_away(service: CannedService, client: Client) -> None:
    service.routes[EVENTS] = [stream(progress(1), breaks=True), page(504)]
    with pytest.raises(ServerError, match="a proxy answers 504") as caught:
        client.follow("j1")
    line = str(caught.value)
    assert line.endswith(f"followed again with: nas search --server {service.url} --resume j1")


def test_a_server_that_cannot_send_an_event(service: CannedService, client: Client) -> None:
    service.routes[EVENTS] = stream(progress(2))
    with pytest.raises(ServerError, match="left out events 1 to 1"):
        numbers(client)


@pytest.mark.parametrize(("reply", "said"), [
    (page(), "does not answer as nas serve"), (page(404), "answers 404 with text/html"),
    (Reply(body=[b"data: what?\n\n"], headers={"Content-Type": "text/event-stream"}), "'what?'"),
    (stream({"seq": 1, "type": "progress"}), "an event without 'stage'"),
    (failure(404, "no_such_job", "there is no job 'j1'"), "there is no job")])
def test_what_is_no_stream_of_events(service: CannedService, client: Client, reply: Reply,
                                     said: str) -> None:
    service.routes |= {EVENTS: reply, "GET me": page(404)}
    with pytest.raises(NasError) as caught:
        client.follow("j1")
    assert said in str(caught.value)


# Following -----------------------------------------------------------------------------------


def test_a_watcher_is_told_what_it_would_be_told_here(service: CannedService,
                                                      client: Client) -> None:
    trial = {"id": 0, "digest": "abc", "arch": {}, "metrics": {"error": 9.5}, "final": True,
             "error": None, "counts": {}}
    service.routes[EVENTS] = stream(
        progress(1, stage="profile", done=3, total=3), progress(2),
        {"seq": 3, "t": 1.0, "type": "trial", **trial}, state(4, "done"))
    told: list[Event] = []
    assert client.follow("j1", watch=told.append).state == "done"
    assert told == [Event("profile", 3, 3, "step 1"), Event("search", 2, 9, "step 2"),
                    Event("search", 2, 9, "step 2", trial)]


@pytest.mark.parametrize(("code", "kind", "exit_code"), [
    ("constraint", ConstraintError, 2), ("profile", InputError, 2), ("evaluation", NasError, 1),
    ("bug", JobFailed, 1), ("time_limit", JobFailed, 1)])
def test_a_job_that_fails(service: CannedService, client: Client, code: str,
                          kind: type[NasError], exit_code: int) -> None:
    error = {"code": code, "message": "this is why"}
    service.routes |= {ONE: Reply(job(state="failed", error=error)),
                       EVENTS: stream(state(1, "failed", error))}
    with pytest.raises(kind, match=r"^this is why$") as caught:
        client.follow("j1")
    assert caught.value.exit_code == exit_code


def test_a_job_that_is_cancelled(service: CannedService, client: Client) -> None:
    service.routes |= {ONE: Reply(job(state="cancelled")), EVENTS: stream(state(1, "cancelled"))}
    with pytest.raises(RunInterrupted, match=r"was cancelled; it goes on with: nas search --ser"):
        client.follow("j1")


def test_ctrl_c_stops_watching_alone(service: CannedService, client: Client) -> None:
    def interrupted(event: Event) -> None:
        del event
        signal.raise_signal(signal.SIGINT)

    service.routes[EVENTS] = stream(progress(1), state(2, "done"))
    with pytest.raises(RunInterrupted, match="job j1 goes on; follow it with: nas search --server "
                       ) as caught:
        client.follow("j1", watch=interrupted)
    assert caught.value.exit_code == 130
    assert all(asked.method == "GET" for asked in service.asked)


def test_work_that_has_no_command_is_followed_by_a_call(service: CannedService,
                                                        client: Client) -> None:
    service.routes |= {ONE: Reply(job(kind="rank", state="cancelled")), EVENTS: stream()}
    with pytest.raises(RunInterrupted) as caught:
        client.follow("j1")
    assert str(caught.value).endswith(f"nas.Client('{service.url}').follow('j1')")
