"""Headers of every answer, logs without secrets, and documentation without a CDN."""

import io
import json
import re

import pytest
from fastapi.testclient import TestClient
from service_http import SEARCH, Server

from nas.service.http.auth import COOKIE

WANTED = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
                               "img-src 'self' data:; connect-src 'self'; form-action 'self'; "
                               "base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff", "referrer-policy": "no-referrer",
    "x-frame-options": "DENY", "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin"}


@pytest.mark.parametrize(("method", "path", "status"), [
    ("GET", "/", 200), ("GET", "/docs", 200), ("GET", "/openapi.json", 200),
    ("GET", "/static/index.html", 200), ("GET", "/healthz", 200), ("GET", "/metrics", 200),
    ("GET", "/api/v1/jobs", 200), ("POST", "/api/v1/jobs", 422), ("PUT", "/api/v1/jobs", 405),
    ("GET", "/nothing", 404), ("GET", "/api/v1/nothing", 404), ("GET", "/static/nothing", 404),
    ("DELETE", "/api/v1/session", 204), ("GET", "/api/v1/devices", 503)])
def test_every_answer_has_them(http: Server, method: str, path: str, status: int) -> None:
    answer = http.client.request(method, path)
    assert answer.status_code == status
    assert {name: answer.headers[name] for name in WANTED} == WANTED
    assert ("no-store" in answer.headers.get("cache-control", "")) == path.startswith("/api/")


def test_a_bug_has_them_too_and_says_nothing(http: Server, caplog: pytest.LogCaptureFixture
                                             ) -> None:
    @http.app.get("/api/v1/bug")
    async def bug() -> None:
        raise RuntimeError("password=s3cr3t")

    http.app.router.routes.insert(0, http.app.router.routes.pop())
    answer = http.client.get("/api/v1/bug")
    http.app.router.routes.pop(0)
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "bug"
    assert "s3cr3t" not in answer.text
    assert {name: answer.headers[name] for name in WANTED} == WANTED
    assert any(record.levelname == "ERROR" for record in caplog.records)


def test_the_page_is_asked_for_again_by_its_tag(http: Server) -> None:
    first = http.client.get("/static/index.html")
    assert first.headers["cache-control"] == "no-cache"
    again = http.client.get("/static/index.html", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_pages_need_nothing_from_elsewhere(http: Server, path: str) -> None:
    text = http.client.get(path).text
    assert not re.search(r"<script(?![^>]*\bsrc=)", text)
    assert "<style" not in text
    assert not re.search(r"\s(?:on\w+|style)=", text)
    for link in re.findall(r'(?:src|href)="([^"#]*)"', text):
        assert not re.match(r"(?:[a-z]+:)?//", link), link
        if link:
            assert http.client.get(f"/{link.removeprefix('/')}").status_code == 200, link


def test_no_secrets_in_logs(http: Server, lines: io.StringIO) -> None:
    client: TestClient = http.client
    text = http.token("ann", "runner")
    secret = text.rpartition("_")[2]
    bearer = {"Authorization": f"Bearer {text}"}
    client.post("/api/v1/jobs", json=SEARCH, headers=bearer)
    client.post("/api/v1/jobs", headers=bearer, json={
        "kind": "search", "config": {"storage": f"postgresql://u:{secret}@h/d", "study": "s"}})
    client.post(f"/api/v1/jobs?token={secret}", json=SEARCH, headers=bearer)
    client.post("/api/v1/session", headers=bearer)
    client.post("/api/v1/jobs", json=SEARCH, headers={"Cookie": f"{COOKIE}={text}"})
    client.get(f"/api/v1/jobs/{text}", headers=bearer)
    client.get("/api/v1/me", headers={"Authorization": f"Bearer {text}x"})
    client.cookies.clear()
    assert secret not in lines.getvalue()
    logged = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert {line["logger"] for line in logged} == {"nas.service.http.metrics"}
    assert {line["status"] for line in logged} >= {200, 201, 401, 403, 404, 422}
    assert {"ann"} <= {line.get("user") for line in logged}


def test_reads_are_not_logged(http: Server, lines: io.StringIO) -> None:
    http.client.get("/api/v1/jobs")
    http.client.get("/")
    assert lines.getvalue() == ""


def test_figures_hold_no_names(http: Server) -> None:
    http.job("some-user")
    text = http.client.get("/metrics").text
    assert 'nas_jobs{state="queued"}' in text
    assert 'route="/api/v1/jobs"' in text
    assert "some-user" not in text
    for _ in range(3):
        http.client.get("/some/unknown/path")
    assert "/some/unknown/path" not in http.client.get("/metrics").text


def test_openapi(http: Server) -> None:
    document = http.client.get("/openapi.json").json()
    assert document["components"]["securitySchemes"] == {"token": {
        "type": "http", "scheme": "bearer", "description": document["components"][
            "securitySchemes"]["token"]["description"]}}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            where = f"{method} {path}"
            assert operation["summary"], where
            assert operation["description"], where
            assert operation["tags"], where
            errors = {status for status in operation["responses"] if status >= "4"}
            for status in errors:
                schema = operation["responses"][status]["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/ErrorBody"}, where
            if path.startswith("/api/") and "session" not in path:
                assert operation["security"] == [{"token": []}], where
                assert {"401", "403", "503"} <= errors, where
