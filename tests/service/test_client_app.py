"""The client against the service itself, where the test plays the worker."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from service_http import Server, listening

from nas.core.errors import InputError, RunInterrupted
from nas.pipeline.config import make_config
from nas.pipeline.events import Event
from nas.pipeline.rank_request import RankRequest
from nas.service.client import Client
from nas.service.client_errors import JobFailed, Refused, ServerError
from nas.service.store.jobs import Lease


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    with listening(tmp_path_factory.mktemp("service") / "data") as (server, http):
        yield server, str(http.base_url)


@pytest.fixture
def server(running: tuple[Server, str]) -> Server:
    return running[0]


@pytest.fixture
def client(running: tuple[Server, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.delenv("NAS_TOKEN", raising=False)
    with Client(running[1], patience_s=2) as made:
        yield made


def taken(server: Server, job_id: str) -> Lease:
    job = server.service.store.get(job_id)
    assert job is not None
    return server.claim(job)


def test_jobs_from_submission_to_cancellation(client: Client) -> None:
    job = client.submit(make_config({"budget": 3, "max_latency_ms": 2.5, "out": "mine"}))
    assert (job.state, job.title) == ("queued", "mobilenet-fmnist on host")
    assert job.config["budget"] == 3
    assert client.submit(RankRequest(n=5)).kind == "rank"
    assert job.id in [found.id for found in client.jobs(kind="search", state="queued")]
    assert client.cancel(job.id).state == "cancelled"
    with pytest.raises(Refused, match="cancelled") as caught:
        client.cancel(job.id)
    assert (caught.value.status, caught.value.code) == (409, "wrong_state")
    assert client.resume(job.id).state == "queued"
    client.cancel(job.id)


def test_more_jobs_than_a_page(server: Server, client: Client) -> None:
    user = {server.job("many").id for _ in range(120)}
    found = [job.id for job in client.jobs(user="many")]
    assert len(found) == 120
    assert set(found) == user


@pytest.mark.parametrize(("option", "said"), [
    ({"storage": "sqlite:///x.db"}, "--storage"), ({"supernet": "os:system"}, "--supernet"),
    ({"data": "/etc"}, "--data"), ({"budget": 10**6}, "--budget")])
def test_what_the_server_does_not_allow(client: Client, option: dict[str, object],
                                        said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        client.submit(make_config(option))
    assert caught.value.exit_code == 2


def test_a_job_that_is_not_there(client: Client) -> None:
    for ask in (client.job, client.cancel, client.resume, client.follow, client.view,
                lambda job_id: list(client.events(job_id))):
        with pytest.raises(InputError, match="there is no job 'nothere'"):
            ask("nothere")


def test_somebody_elses_job_and_a_viewers_token(server: Server, running: tuple[Server, str]
                                                ) -> None:
    job = server.job("bob")
    with Client(running[1], token=server.token("alice", "viewer")) as viewer:
        with pytest.raises(InputError, match="there is no job"):
            viewer.job(job.id)
        with pytest.raises(InputError, match="only reads"):
            viewer.submit(make_config({}))
    with Client(running[1], token="nas_00000000_" + 43 * "x") as stranger, \
            pytest.raises(InputError, match="does not know this token"):
        list(stranger.jobs())


def test_a_job_is_followed_while_it_runs_and_downloaded(server: Server, client: Client,
                                                        tmp_path: Path) -> None:
    job_id = client.submit(make_config({"budget": 2})).id

    def work() -> None:
        lease = taken(server, job_id)
        with server.log(lease.job) as log:
            for done in range(1, 4):
                log.append("progress", stage="search", done=done, total=3, note=f"{done}")
                threading.Event().wait(0.2)
            for name, data in {"pareto.json": b'{"run_dir": "jobs/x/run"}',
                               "config.toml": b"budget = 2\n", "best/manifest.json": b"{}",
                               "best/model.onnx": bytes(10**6)}.items():
                server.write(lease.job, name, data)
            server.service.store.end(lease, state="done", ran_s=1.0)
            log.append("state", state="done", error=None)

    worker = threading.Thread(target=work)
    worker.start()
    told: list[Event] = []
    result = client.result(job_id, watch=told.append, out=tmp_path / "run")
    worker.join()
    assert [event.done for event in told] == [1, 2, 3]
    assert result.payload == {"run_dir": str(tmp_path / "run")}
    assert (tmp_path / "run" / "best" / "model.onnx").read_bytes() == bytes(10**6)
    assert json.loads((tmp_path / "run" / "pareto.json").read_text()) == result.payload
    assert [event["seq"] for event in client.events(job_id, after=2)] == [3, 4]
    assert list(client.events(job_id, after=4)) == []


def test_a_job_that_ended_before_it_was_watched(server: Server, client: Client) -> None:
    with pytest.raises(JobFailed, match="it broke"):
        client.follow(server.job(state="failed").id)
    with pytest.raises(RunInterrupted, match="was cancelled"):
        client.follow(server.job(state="cancelled").id)


def test_a_worker_that_dies_and_one_that_goes_on(server: Server, client: Client) -> None:
    job_id = client.submit(make_config({"budget": 2})).id
    client.cancel(job_id)
    with server.log(server.service.store.get(job_id)) as log:  # type: ignore[arg-type]
        log.append("state", state="cancelled", error=None)
    client.resume(job_id)
    seen = []

    def work() -> None:
        threading.Event().wait(0.5)
        lease = taken(server, job_id)
        with server.log(lease.job) as log:
            log.append("progress", stage="search", done=1, total=1, note="")
            server.service.store.end(lease, state="done", ran_s=1.0)
            log.append("state", state="done", error=None)

    worker = threading.Thread(target=work)
    worker.start()
    for event in client.events(job_id):
        seen.append((event["seq"], event["type"]))
    worker.join()
    assert seen == [(1, "state"), (2, "progress"), (3, "state")]


def test_a_result_that_no_agent_wrote(client: Client, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text("{}")
    with pytest.raises((InputError, ServerError)) as caught:
        client.import_profile(tmp_path / "result.json")
    assert "\n" not in str(caught.value)
