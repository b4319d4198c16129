"""How large bodies may be, over a real wire: counted while they are read, whatever they say."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from service_http import SEARCH, Server, listening

LIMIT = 2_000_000
JOBS, UPLOADS = "/api/v1/jobs", "/api/v1/uploads?kind=result"
JSON = {"Content-Type": "application/json"}

Listening = tuple[Server, httpx2.Client]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    with listening(tmp_path_factory.mktemp("http") / "data", max_upload_bytes=LIMIT) as pair:
        yield pair


def pieces(total: int, size: int = 65_536) -> Iterator[bytes]:
    """Sent in chunks, without a length."""
    for _ in range(0, total, size):
        yield b" " * size


def code(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


@pytest.mark.parametrize(("path", "size"), [(JOBS, 1_000_001), (UPLOADS, LIMIT + 1)])
def test_a_length_over_the_limit(live: Listening, path: str, size: int) -> None:
    assert code(live[1].post(path, content=b" " * size, headers=JSON)) == (413, "too_large")


@pytest.mark.parametrize(("path", "size"), [(JOBS, 1_200_000), (UPLOADS, LIMIT + 200_000)])
def test_chunks_over_the_limit(live: Listening, path: str, size: int) -> None:
    assert code(live[1].post(path, content=pieces(size), headers=JSON)) == (413, "too_large")
    assert left_over(live[0]) == []


def test_what_fits_is_read(live: Listening) -> None:
    padded = json.dumps(SEARCH).encode() + b" " * 900_000
    assert live[1].post(JOBS, content=padded, headers=JSON).status_code == 201
    assert code(live[1].post(UPLOADS, content=pieces(1_900_000))) == (422, "profile")


@pytest.mark.parametrize("method", ["GET", "DELETE", "POST"])
@pytest.mark.parametrize("path", ["/", "/healthz", "/api/v1/me", "/api/v1/session", "/nothing"])
def test_bodies_that_nobody_reads(live: Listening, method: str, path: str) -> None:
    answer = live[1].request(method, path, content=b" " * 1_000_001)
    assert code(answer) == (413, "too_large")
    assert answer.headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize(("length", "body"), [
    ("-1", b"{}"), ("abc", b"{}"), ("9" * 30, b"{}"), ("1e3", b"{}"), ("5, 6", b"{}"),
    ("+2", b"{}"), ("0x10", b"{}"), ("", b"{}")])
def test_lengths_that_are_none(live: Listening, length: str, body: bytes) -> None:
    assert 400 <= raw(live[1], f"Content-Length: {length}", body) < 500


def test_a_body_longer_than_it_says(live: Listening) -> None:
    # What is too much is read as the next request, which is none.
    body = json.dumps(SEARCH).encode()
    assert raw(live[1], f"Content-Length: {len(body)}", body + b"x" * 5000) == 201
    assert raw(live[1], f"Content-Length: {len(body) - 9}", body) == 422


@pytest.mark.parametrize("header", [
    "Transfer-Encoding: chunked\r\nContent-Length: 4", "Transfer-Encoding: gzip",
    "Content-Length: 4\r\nContent-Length: 5"])
def test_smuggling(live: Listening, header: str) -> None:
    status = raw(live[1], header, b"4\r\n{}  \r\n0\r\n\r\n")
    assert 400 <= status < 502


def test_a_client_that_goes_leaves_nothing(live: Listening) -> None:
    server, client = live
    with connection(client) as there:
        there.sendall(head("POST", UPLOADS, "Content-Length: 1000000") + b" " * 300_000)
        wait(client, lambda: bool(left_over(server)))
    wait(client, lambda: not server.service.uploads_now)
    assert left_over(server) == []


def test_a_client_that_stops_a_download_is_no_error(
        live: Listening, caplog: pytest.LogCaptureFixture) -> None:
    server, client = live
    job = server.job()
    server.write(job, "study.journal", b"x" * 20_000_000)
    server.write(job, "best/manifest.json", b"x" * 20_000_000)
    for path in (f"/api/v1/jobs/{job.id}/files/study.journal", f"/api/v1/jobs/{job.id}/bundle"):
        with connection(client) as there:
            there.sendall(head("GET", path))
            assert there.recv(1000).startswith(b"HTTP/1.1 200")
    time.sleep(0.5)
    assert client.get("/healthz").status_code == 200
    assert [record.getMessage() for record in caplog.records
            if record.levelname in ("ERROR", "WARNING")] == []


def test_more_uploads_than_may_be_at_once(live: Listening) -> None:
    server, client = live
    held = [connection(client) for _ in range(8)]
    try:
        for there in held:
            there.sendall(head("POST", UPLOADS, "Content-Length: 1000000") + b" " * 1000)
        wait(client, lambda: server.service.uploads_now == 8)
        answer = client.post(UPLOADS, content=b"x")
        assert code(answer) == (429, "busy")
        assert int(answer.headers["retry-after"]) > 0
        assert client.get("/api/v1/me").status_code == 200
    finally:
        for there in held:
            there.close()
    wait(client, lambda: not server.service.uploads_now)


def test_ranges_and_odd_requests(live: Listening) -> None:
    client = live[1]
    for method in ("HEAD", "PUT", "PATCH", "OPTIONS", "TRACE", "BREW"):
        assert client.request(method, JOBS).status_code == 405
    assert client.get("/static/index.html", headers={"Range": "bytes=0-3"}).status_code == 206
    assert client.get("/static/index.html", headers={"Range": "x"}).status_code < 500


def wait(client: httpx2.Client, happened: Callable[[], bool]) -> None:
    for _ in range(1000):
        if happened():
            return
        client.get("/healthz")
    raise AssertionError("it did not happen")


def left_over(server: Server) -> list[Path]:
    return list(server.folder.uploads.iterdir())


def connection(client: httpx2.Client) -> socket.socket:
    return socket.create_connection((client.base_url.host, client.base_url.port), timeout=10)


def head(method: str, path: str, *headers: str) -> bytes:
    lines = (f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *headers, "", "")
    return "\r\n".join(lines).encode()


def raw(client: httpx2.Client, header: str, body: bytes) -> int:
    """Returns the status of the first answer to bytes that no HTTP library would send."""
    with connection(client) as there:
        there.sendall(head("POST", JOBS, "Content-Type: application/json", header) + body)
        received: Any = there.recv(65_536)
    return int(received.split(b" ")[1])


def test_what_is_kept_of_an_upload(live: Listening) -> None:
    # Not a file that is wrong: see the tests of uploads for right ones.
    answer = live[1].post(UPLOADS, content=b"{}")
    assert code(answer) == (422, "profile")
    assert str(live[0].folder.root) not in answer.text
    assert left_over(live[0]) == []
