"""Without a token: only on loopback, by a loopback name, not from other sites or a proxy."""

from pathlib import Path

import pytest
from service_http import SEARCH, Server, serving

from nas.service.http.auth import COOKIE

ME, JOBS = "/api/v1/me", "/api/v1/jobs"


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "localhost", "[::1]:8000",
                                  "127.9.9.9", "LOCALHOST:1"])
def test_names_of_this_machine(http: Server, host: str) -> None:
    answer = http.client.get(ME, headers={"Host": host})
    assert answer.status_code == 200
    assert {name: answer.json()[name] for name in ("user", "role", "auth")} == {
        "user": "local", "role": "admin", "auth": "loopback"}


@pytest.mark.parametrize("host", [
    "evil.example", "evil.example:8000", "10.0.0.1:8000", "localhost.evil.example", "", "[::1",
    "127.0.0.1.evil.example", "0.0.0.0:8000", "evil.example@127.0.0.1", "127.0.0.1:8000:1", "::1"])
def test_other_names_need_a_token(http: Server, host: str) -> None:
    # A page of evil.example whose DNS leads to 127.0.0.1 must not be taken for this machine.
    assert http.client.get(ME, headers={"Host": host}).status_code == 401
    token = http.auth("ann", "runner")
    assert http.client.get(ME, headers={"Host": host, **token}).status_code == 200


@pytest.mark.parametrize("name", ["X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto",
                                  "x-forwarded-anything", "Forwarded", "Via", "X-Real-IP"])
def test_what_a_proxy_passed_on_needs_a_token(http: Server, name: str) -> None:
    assert http.client.get(ME, headers={name: "127.0.0.1"}).status_code == 401
    token = http.auth("ann", "runner")
    assert http.client.get(ME, headers={name: "127.0.0.1", **token}).status_code == 200


@pytest.mark.parametrize("origin", [
    "http://evil.example", "null", "http://127.0.0.1:8001", "http://127.0.0.1", "", "nonsense",
    "http://127.0.0.1:8000.evil.example", "file://", "http://[::1", "http://127.0.0.1:x"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_other_sites_pages_do_nothing(http: Server, method: str, origin: str) -> None:
    answer = http.client.request(method, JOBS, headers={"Origin": origin}, json=SEARCH)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "foreign_origin")


@pytest.mark.parametrize(("host", "origin"), [
    ("127.0.0.1:8000", "http://127.0.0.1:8000"), ("localhost", "http://localhost"),
    ("localhost:443", "https://localhost"), ("LocalHost:80", "http://localhost"),
    ("[::1]:8000", "http://[::1]:8000")])
def test_the_own_page_works(http: Server, host: str, origin: str) -> None:
    headers = {"Host": host, "Origin": origin}
    assert http.client.post(JOBS, headers=headers, json=SEARCH).status_code == 201


@pytest.mark.parametrize("options", [{"require_token": True}, {"host": "0.0.0.0"},
                                     {"host": "::"}, {"host": "nas.example"}])
def test_elsewhere_everybody_needs_a_token(tmp_path: Path, options: dict[str, object]) -> None:
    with serving(tmp_path / "data", **options) as server:
        assert server.client.get(ME).status_code == 401
        answer = server.client.get(ME, headers=server.auth("ann", "viewer"))
        assert (answer.json()["user"], answer.json()["auth"]) == ("ann", "token")


def test_a_browser_logs_in_and_out(tmp_path: Path) -> None:
    with serving(tmp_path / "data", require_token=True) as server:
        client, own = server.client, {"Origin": "http://127.0.0.1:8000"}
        answer = client.post("/api/v1/session", headers={**own, **server.auth("ann", "runner")})
        assert (answer.status_code, answer.json()["user"]) == (200, "ann")
        cookie = answer.headers["set-cookie"]
        assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
        assert "Secure" not in cookie
        assert client.get(ME).json()["role"] == "runner"
        assert client.post(JOBS, json=SEARCH, headers=own).status_code == 201
        for wrong in ({}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
            answer = client.post(JOBS, json=SEARCH, headers=wrong)
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "foreign_origin")
        assert client.get(ME, headers={"Origin": "http://evil.example"}).status_code == 403
        assert client.delete("/api/v1/session", headers=own).status_code == 204
        assert COOKIE not in client.cookies
        assert client.get(ME).status_code == 401


def test_behind_tls_the_cookie_is_for_tls_alone(http: Server) -> None:
    headers = {**http.auth("ann", "viewer"), "X-Forwarded-Proto": "https"}
    with_tls = http.client.post("/api/v1/session", headers=headers)
    http.client.cookies.clear()
    assert "Secure" in with_tls.headers["set-cookie"]


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_other_sites_log_nobody_in_or_out(http: Server, method: str) -> None:
    headers = {**http.auth("ann", "viewer"), "Origin": "http://evil.example"}
    answer = http.client.request(method, "/api/v1/session", headers=headers)
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_a_login_needs_a_token(http: Server) -> None:
    assert http.client.post("/api/v1/session").status_code == 401


def test_a_cookie_of_another_server_locks_nobody_out(http: Server) -> None:
    # Cookies know no ports: the one of another server on this machine comes here, too.
    cookie = {"Cookie": f"{COOKIE}=nas_00000000_{'x' * 43}"}
    assert http.client.get(ME, headers=cookie).json()["auth"] == "loopback"
    wrong = {"Authorization": f"Bearer nas_00000000_{'x' * 43}"}
    assert http.client.get(ME, headers=wrong).status_code == 401
