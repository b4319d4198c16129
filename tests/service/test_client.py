"""The client against a real server whose answers are made up."""

import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from canned_service import HANG_UP, Asked, CannedService, Reply, failure, job, page, serving

import nas
from nas.core.errors import ConstraintError, InputError, NasError
from nas.pipeline.config import make_config
from nas.pipeline.rank_request import RankRequest
from nas.service.client import Client
from nas.service.client_errors import Refused, ServerError
from nas.service.requests import ExportRequest

JOBS, ONE = "GET jobs", "GET jobs/j1"


@pytest.fixture(autouse=True)
def _no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NAS_TOKEN", raising=False)


@pytest.fixture
def service() -> Iterator[CannedService]:
    with serving({"POST jobs": Reply(job(state="queued"), 201), ONE: Reply(job()),
                  "GET me": Reply({"server": {"version": "9.9.9"}})}) as running:
        yield running


@pytest.fixture
def remarks() -> list[str]:
    return []


@pytest.fixture
def client(service: CannedService, remarks: list[str]) -> Iterator[Client]:
    with Client(service.url, patience_s=5, timeout_s=5, say=remarks.append) as made:
        yield made


def one_line(error: NasError) -> str:
    line = str(error)
    assert "\n" not in line
    return line


# Submitting ----------------------------------------------------------------------------------


def test_a_search_is_sent_as_it_was_asked_for(service: CannedService, client: Client) -> None:
    config = make_config({"budget": 3, "max_latency_ms": 1.5, "out": "here",
                          "searcher_options": ["population=4"]})
    submitted = client.submit(config)
    assert (submitted.id, submitted.state) == ("j1", "queued")
    assert service.asked[0].json == {"kind": "search", "config": {
        "budget": 3, "max_latency_ms": 1.5, "searcher_options": {"population": 4}}}
    assert "authorization" not in service.asked[0].headers


def test_other_work_is_sent_under_its_kind(service: CannedService, client: Client) -> None:
    client.submit(RankRequest(n=5))
    client.submit(ExportRequest(job="j1", precision="int8"))
    assert [asked.json for asked in service.asked] == [
        {"kind": "rank", "config": {"n": 5}},
        {"kind": "export", "config": {"job": "j1", "precision": "int8"}}]


def test_a_submission_that_had_to_be_repeated_bears_the_same_key(
        service: CannedService, client: Client, remarks: list[str]) -> None:
    client.job("j1")  # so the address is known to be right
    service.routes["POST jobs"] = [
        failure(503, "database_away", "the database is away", Retry_After="0"), HANG_UP,
        page(502), Reply(job(), 201)]
    client.submit(make_config({}))
    client.submit(make_config({}))
    *repeated, other = (asked.headers["idempotency-key"] for asked in service.asked[1:])
    assert len(repeated) == 4
    assert len(set(repeated)) == 1
    assert other != repeated[0]
    assert len(remarks) == 1
    assert "the database is away; trying again in" in remarks[0]


def test_a_cancellation_is_not_sent_twice(service: CannedService, client: Client) -> None:
    client.job("j1")
    service.routes["POST jobs/j1/cancel"] = HANG_UP
    with pytest.raises(ServerError, match="connection"):
        client.cancel("j1")
    assert service.count("POST jobs/j1/cancel") == 1


def test_a_full_queue_is_waited_for(service: CannedService, client: Client,
                                    remarks: list[str]) -> None:
    full = failure(429, "queue_full", "2000 jobs wait already", Retry_After="1")
    service.routes["POST jobs"] = [full, Reply(job(), 201)]
    client.submit(make_config({}))
    assert remarks == [f"{service.url}: 2000 jobs wait already; trying again in 1 s, for up to 5 s"]


@pytest.mark.parametrize("later", ["60", "Wed, 21 Oct 2099 07:28:00 GMT"])
def test_a_queue_that_stays_full_too_long_is_not(service: CannedService, client: Client,
                                                 later: str, remarks: list[str]) -> None:
    service.routes["POST jobs"] = failure(429, "queue_full", "too many jobs wait",
                                          Retry_After=later)
    with pytest.raises(ServerError, match="too many jobs wait") as caught:
        client.submit(make_config({}))
    assert caught.value.exit_code == 1
    assert (service.count("POST jobs"), remarks) == (1, [])


@pytest.mark.parametrize("later", ["soon", "-3", "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_a_strange_retry_after_is_as_good_as_none(service: CannedService, client: Client,
                                                  later: str) -> None:
    service.routes["POST jobs"] = [failure(429, "queue_full", "full", Retry_After=later),
                                   Reply(job(), 201)]
    assert client.submit(make_config({})).id == "j1"


# Refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "kind"), [
    ("constraint", ConstraintError), ("input", InputError), ("not_allowed", Refused),
    ("unknown_name", nas.NasError)])
def test_a_refused_search_has_the_sentence_and_the_error_of_the_command_line(
        service: CannedService, client: Client, code: str, kind: type[NasError]) -> None:
    sentence = "--max-macs 1000: the smallest network has 534032"
    service.routes["POST jobs"] = failure(422, code, sentence)
    with pytest.raises(kind) as caught:
        client.submit(make_config({}))
    assert (str(caught.value), caught.value.exit_code) == (sentence, 2)


def test_an_option_of_another_version(service: CannedService, client: Client) -> None:
    service.routes["POST jobs"] = failure(422, "invalid", "--budget: Extra inputs are forbidden")
    with pytest.raises(Refused, match=r"are forbidden; the server runs nas-service 9\.9\.9, and"):
        client.submit(make_config({}))


@pytest.mark.parametrize(("status", "code", "exit_code"), [
    (403, "forbidden", 2), (404, "no_such_job", 2), (409, "wrong_state", 2),
    (413, "too_large", 2), (500, "bug", 1), (507, "disk_full", 1)])
def test_a_refusal_is_passed_on(service: CannedService, client: Client, status: int, code: str,
                                exit_code: int) -> None:
    service.routes["POST jobs/j1/resume"] = failure(status, code, "this is why")
    with pytest.raises(NasError, match="this is why") as caught:
        client.resume("j1")
    assert caught.value.exit_code == exit_code


@pytest.mark.parametrize("job_id", ["", "../me", "a b", "j1/cancel"])
def test_what_is_no_id_is_not_sent(service: CannedService, client: Client, job_id: str) -> None:
    with pytest.raises(InputError, match="no id of a job"):
        client.job(job_id)
    assert service.asked == []


# Tokens --------------------------------------------------------------------------------------


def whoever_asks(asked: Asked) -> Reply:
    if asked.headers.get("authorization") == "Bearer nas_secret":
        return Reply(job())
    return failure(401, "unauthorized", "no", WWW_Authenticate="Bearer")


def test_where_a_token_may_be(service: CannedService, tmp_path: Path,
                              monkeypatch: pytest.MonkeyPatch) -> None:
    service.routes[ONE] = whoever_asks
    (tmp_path / "token").write_text("nas_secret\n")
    monkeypatch.setenv("NAS_TOKEN", "nas_other")
    with Client(service.url, token="nas_secret") as client:
        assert client.job("j1").id == "j1"
    with Client(service.url, token_file=tmp_path / "token") as client:
        assert client.job("j1").id == "j1"
    monkeypatch.setenv("NAS_TOKEN", "nas_secret")
    with Client(service.url) as client:
        assert client.job("j1").id == "j1"


@pytest.mark.parametrize(("token", "said"), [
    (None, "wants a token; put it into the variable NAS_TOKEN"),
    ("nas_old", "does not know this token; ask whoever runs the server")])
def test_a_missing_and_a_wrong_token(service: CannedService, token: str | None,
                                     said: str) -> None:
    service.routes[ONE] = whoever_asks
    with Client(service.url, token=token) as client, \
            pytest.raises(InputError, match=said) as caught:
        client.job("j1")
    assert "nas_old" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "two words", "two\nlines", "nas_ünlaut", "\x00"])
def test_a_file_without_a_token(tmp_path: Path, text: str) -> None:
    (tmp_path / "token").write_text(text)
    with pytest.raises(InputError, match="token: this is no token") as caught:
        Client("http://127.0.0.1:1", token_file=tmp_path / "token")
    assert not text or text not in one_line(caught.value)


def test_no_file_of_a_token(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none: No such file"):
        Client("http://127.0.0.1:1", token_file=tmp_path / "none")


# Servers that are none -----------------------------------------------------------------------


@pytest.mark.parametrize("url", ["", "here", "localhost:8000", "ftp://x", "http://", "http://x:0",
                                 "http://x:99999", "http://x/?a=b", "http://x/#a", "http://\0",
                                 "http://alice:secret@x"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(InputError, match="--server") as caught:
        Client(url)
    assert "secret" not in one_line(caught.value)


def test_nobody_listens(service: CannedService, remarks: list[str]) -> None:
    service.stop()
    try:
        with Client(service.url, say=remarks.append) as client, \
                pytest.raises(ServerError, match="nothing listens at http") as caught:
            client.submit(make_config({}))
    finally:
        service.start()
    assert caught.value.exit_code == 1
    assert remarks == []


def test_no_such_host() -> None:
    with Client("http://nowhere.invalid:8000") as client, \
            pytest.raises(InputError, match="no host of this name"):
        client.submit(make_config({}))


def test_a_server_that_says_nothing(service: CannedService) -> None:
    def slowly(asked: Asked) -> Reply:
        del asked
        time.sleep(0.3)
        return Reply(job())

    service.routes[ONE] = slowly
    with Client(service.url, timeout_s=0.1) as client, \
            pytest.raises(ServerError, match="does not answer in time"):
        client.job("j1")


@pytest.mark.parametrize(("reply", "said"), [
    (page(200), "answers 200 with text/html, which nas serve does not"),
    (page(404), "answers 404 with text/html"), (page(502), "a proxy answers 502 for it"),
    (page(500), "answers 500 with text/html"),
    (Reply({"detail": "Not Found"}, 404), "runs nas-service 9.9.9"),
    (Reply({"id": "j1"}), "runs nas-service 9.9.9"), (Reply([]), "install version 9.9.9"),
    (Reply(job(state="paused")), "state: Input should be"),
    (Reply(None, 308, headers={"Location": "https://elsewhere/"}), "leads on to https://elsewhere")])
def test_an_answer_that_is_not_ours(service: CannedService, client: Client, reply: Reply,
                                    said: str) -> None:
    service.routes[ONE] = reply
    with pytest.raises(NasError) as caught:
        client.job("j1")
    assert said in one_line(caught.value)
    assert service.url in str(caught.value)


def test_another_server_without_a_version(service: CannedService, client: Client) -> None:
    service.routes |= {ONE: Reply({}), "GET me": page(404)}
    with pytest.raises(ServerError, match="does not answer as nas serve"):
        client.job("j1")


@pytest.fixture(scope="module")
def own_certificate(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    folder = tmp_path_factory.mktemp("tls")
    try:
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=localhost",
                        "-keyout", "key.pem", "-out", "cert.pem"], cwd=folder, check=True,
                       capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl makes the certificate")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


def test_a_certificate_that_nobody_trusts(own_certificate: ssl.SSLContext,
                                          capfd: pytest.CaptureFixture[str]) -> None:
    with serving({ONE: Reply(job())}, own_certificate) as service, \
            Client(service.url) as client, \
            pytest.raises(ServerError, match="certificate is not trusted") as caught:
        client.job("j1")
    assert "SSL_CERT_FILE" in one_line(caught.value)
    capfd.readouterr()  # what the server thinks of it


def test_tls_where_there_is_none(service: CannedService) -> None:
    with Client(service.url.replace("http:", "https:")) as client, \
            pytest.raises(ServerError, match="does not speak TLS"):
        client.job("j1")


# Lists and uploads ---------------------------------------------------------------------------


def test_all_pages_of_a_list(service: CannedService, client: Client) -> None:
    def pages(asked: Asked) -> Reply:
        first = "before" not in asked.query
        shown = [job(number=number) for number in ((5, 4) if first else (3,))]
        return Reply({"jobs": shown, "next": 4 if first else None, "counts": {"running": 3}})

    service.routes[JOBS] = pages
    assert [found.number for found in client.jobs(state="running", user="bob")] == [5, 4, 3]
    assert [asked.query for asked in service.asked] == [
        {"state": "running", "user": "bob"}, {"state": "running", "user": "bob", "before": "4"}]


def test_a_profile_is_uploaded_and_imported(service: CannedService, client: Client,
                                            tmp_path: Path) -> None:
    (tmp_path / "result.json").write_bytes(b"measured")
    (tmp_path / "bundle.zip").write_bytes(b"zipped" * 50_000)
    sizes: list[Any] = []

    def upload(asked: Asked) -> Reply:
        sizes.append((asked.query["kind"], len(asked.body)))
        return Reply({"id": f"u{len(sizes)}", "bytes": len(asked.body), "sha256": "0"}, 201)

    service.routes["POST uploads"] = upload
    client.import_profile(tmp_path / "result.json", bundle=tmp_path / "bundle.zip")
    assert sizes == [("result", 8), ("bundle", 300_000)]
    assert service.asked[-1].json == {
        "kind": "import", "config": {"result": "u1", "bundle": "u2", "supernet": None}}


def test_a_file_that_is_not_there_is_not_uploaded(client: Client, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.json: No such file"):
        client.import_profile(tmp_path / "none.json")


def test_devices_and_supernets(service: CannedService, client: Client) -> None:
    service.routes |= {"GET devices": Reply([{"name": "host"}]), "GET supernets": Reply({})}
    assert client.devices() == [{"name": "host"}]
    with pytest.raises(ServerError, match="supernets are no list"):
        client.supernets()


def test_an_address_below_a_path(service: CannedService) -> None:
    service.routes["GET nas/api/v1/jobs/j1"] = Reply(job())
    with Client(f"{service.url}/nas/") as client:
        assert client.job("j1").id == "j1"
