"""Who may do what: every route × nobody, viewer, runner, admin, and other users' jobs."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from service_http import SEARCH, Server, serving
from starlette.routing import Mount, Route

NOBODY, VIEWER, RUNNER, ADMIN = "nobody", "viewer", "runner", "admin"
OTHER_VIEWER, OTHER_RUNNER = "other viewer", "other runner"
WHO = (NOBODY, VIEWER, RUNNER, ADMIN, OTHER_VIEWER, OTHER_RUNNER)


@dataclass(frozen=True)
class Row:
    """What a route answers to each, in the order of `WHO`; `job` is of the user "ann"."""

    expected: tuple[int, int, int, int, int, int]
    job: str | None = None
    path: str = ""
    body: object = None


def open_to_all(status: int = 200, path: str = "") -> Row:
    return Row((status,) * 6, path=path)


def reads(path: str = "") -> Row:
    return Row((401, 200, 200, 200, 200, 200), path=path)


def reads_job(path: str = "", job: str = "cancelled") -> Row:
    return Row((401, 200, 200, 200, 404, 404), job=job, path=path)


def writes_job(job: str) -> Row:
    return Row((401, 403, 200, 200, 403, 404), job=job)


JOB = "/api/v1/jobs/{job_id}"
TABLE = {
    ("GET", "/"): open_to_all(),
    ("GET", "/docs"): open_to_all(),
    ("GET", "/openapi.json"): open_to_all(),
    ("GET", "/healthz"): open_to_all(),
    ("GET", "/static"): open_to_all(path="/static/index.html"),
    ("GET", "/static/docs"): open_to_all(path="/static/docs/swagger-ui.css"),
    ("GET", "/static/docs/docs.js"): open_to_all(),
    ("POST", "/api/v1/session"): reads(),
    ("DELETE", "/api/v1/session"): open_to_all(204),
    ("GET", "/metrics"): reads(),
    ("GET", "/api/v1/me"): reads(),
    ("GET", "/api/v1/jobs"): reads(),
    ("POST", "/api/v1/jobs"): Row((401, 403, 201, 201, 403, 201), body=SEARCH),
    ("GET", JOB): reads_job(),
    ("POST", f"{JOB}/cancel"): writes_job("queued"),
    ("POST", f"{JOB}/resume"): writes_job("cancelled"),
    ("GET", f"{JOB}/view"): reads_job(),
    ("GET", f"{JOB}/events"): reads_job(),
    ("GET", "/api/v1/compare"): reads_job("/api/v1/compare?jobs={job_id}"),
    ("GET", f"{JOB}/files/{{name}}"): reads_job(),
    ("GET", f"{JOB}/bundle"): reads_job(),
    ("POST", "/api/v1/uploads"): Row((401, 403, 422, 422, 403, 422),
                                     path="/api/v1/uploads?kind=result", body="no result"),
    **{("GET", f"/api/v1/{kind}"): reads() for kind in (
        "devices", "supernets", "searchers", "proxies", "executors")},
}


class Catalogue:
    """Stands for the process that has torch."""

    async def rows(self, kind: str) -> list[dict[str, str]]:
        return [{"name": kind}]

    async def check(self, request: object) -> None:
        """All jobs can be run."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data: Path = tmp_path_factory.mktemp("http") / "data"
    with serving(data, aside=Catalogue(), require_token=True) as server:
        yield server


def test_every_route_is_in_the_table(server: Server) -> None:
    found = set()
    for route in server.app.routes:
        assert isinstance(route, Route | Mount)
        methods = route.methods if isinstance(route, Route) else {"GET"}
        found |= {(method, route.path) for method in methods or () if method != "HEAD"}
    assert found == set(TABLE)


def test_the_documentation_has_the_table() -> None:
    page = (Path(__file__).parents[2] / "docs" / "serve.md").read_text()
    rows = [f"| `{method} {path}` | {' | '.join(map(str, row.expected))} |"
            for (method, path), row in TABLE.items()]
    assert "\n".join(rows) in page
    assert page.count("\n| `GET /") + page.count("\n| `POST /") + page.count(
        "\n| `DELETE /") == len(rows)


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize(("method", "path"), TABLE)
def test_access(server: Server, method: str, path: str, who: str) -> None:
    assert answer(server, method, path, who) == TABLE[method, path].expected[WHO.index(who)]


def answer(server: Server, method: str, path: str, who: str) -> int:
    """Returns the status of the answer to a request of somebody."""
    row = TABLE[method, path]
    url = row.path or path
    if row.job:
        job = server.job("ann", row.job)
        server.write(job, "pareto.json", b"{}")
        server.write(job, "best/manifest.json", b"{}")
        url = url.format(job_id=job.id, name="pareto.json")
    user, role = {NOBODY: ("", ""), ADMIN: ("root", "admin"), OTHER_VIEWER: ("bob", "viewer"),
                  OTHER_RUNNER: ("bob", "runner")}.get(who, ("ann", who))
    server.client.cookies.clear()  # of an earlier login
    headers = server.auth(user, role) if role else {}  # type: ignore[arg-type]
    options = {"content": row.body} if isinstance(row.body, str) else {"json": row.body}
    response = server.client.request(method, url, headers=headers, **options)  # type: ignore[arg-type]
    if response.status_code >= 400:
        assert set(response.json()["error"]) == {"code", "message", "field"}
    if response.status_code == 401:
        assert response.headers["www-authenticate"] == "Bearer"
    return response.status_code


def test_others_jobs_look_like_none(server: Server) -> None:
    mine, none = server.job("ann"), "0123456789abcdef"
    bob = server.auth("bob", "runner")
    for method, path in TABLE:
        if "{job_id}" in path:
            texts = {server.client.request(method, path.format(job_id=job_id, name="x.json"),
                                           headers=bob).text.replace(job_id, "ID")
                     for job_id in (mine.id, none)}
            assert len(texts) == 1


def test_lists_show_ones_own_jobs(server: Server) -> None:
    server.job("eve")
    server.job("zoe")

    def users(user: str, role: str, query: str = "") -> set[str]:
        headers = server.auth(user, role)  # type: ignore[arg-type]
        page = server.client.get(f"/api/v1/jobs?limit=200{query}", headers=headers).json()
        assert sum(page["counts"].values()) >= len(page["jobs"])
        return {job["user"] for job in page["jobs"]}

    assert users("eve", "viewer") == {"eve"}
    assert users("eve", "runner", "&user=eve") == {"eve"}
    assert users("eve", "runner", "&user=zoe") == set()
    assert {"eve", "zoe"} <= users("root", "admin")
    assert users("root", "admin", "&user=zoe") == {"zoe"}


def test_uploads_and_searches_of_others_cannot_be_named(server: Server) -> None:
    bob, search = server.auth("bob", "runner"), server.job("ann")
    answer = server.client.post("/api/v1/jobs", headers=bob, json={
        "kind": "export", "config": {"job": search.id, "digest": "0" * 12}})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no_such_job")
    answer = server.client.post("/api/v1/jobs", headers=bob, json={
        "kind": "import", "config": {"result": "ab" * 16}})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "no_such_upload")


@pytest.mark.parametrize("header", [
    "Bearer nas_00000000_" + "x" * 43, "Bearer", "Bearer ", "Basic YTpi", "", "nonsense",
    "Bearer nas_00000000_é", "Bearer " + "x" * 5000, "Token {token}", "{token}"])
def test_wrong_tokens(server: Server, header: str) -> None:
    text = header.format(token=server.token("ann", "runner"))
    answer = server.client.get("/api/v1/me", headers={b"Authorization": text.encode("latin-1")})
    assert answer.status_code == 401
    assert "xxxxx" not in answer.text


def test_a_revoked_token_ends(server: Server) -> None:
    token, text = server.service.tokens.create(user="leo", role="viewer")
    headers = {"Authorization": f"Bearer {text}"}
    assert server.client.get("/api/v1/me", headers=headers).status_code == 200
    server.service.tokens.revoke(token.id)
    time.sleep(2.1)  # for so long it may be remembered
    assert server.client.get("/api/v1/me", headers=headers).status_code == 401
