"""Answers are what OpenAPI says of them, and views follow their logs."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from service_http import SEARCH, Server

from nas.service.event_log import EventLog
from nas.service.http import views
from nas.service.http.models import Job, JobDetail, JobPage, Me, View

COUNTS = {"sampled": 9, "early_exits": {"macs": 3}, "evaluated": 2, "failed": 0}


def tell(log: EventLog, number: int, error: float, latency_ms: float) -> None:
    log.append("progress", stage="search", done=number + 1, total=8, note="")
    log.append("trial", id=number, digest=f"{number:012x}", arch={"width": number}, final=True,
               metrics={"error": error, "latency_ms": latency_ms}, error=None, counts=COUNTS)


def test_models(http: Server) -> None:
    job = http.client.post("/api/v1/jobs", json=SEARCH).json()
    failed = http.job(state="failed")
    page = http.client.get("/api/v1/jobs").json()
    for model, answer in ((Job, job), (JobPage, page), (Me, http.client.get("/api/v1/me").json()),
                          (JobDetail, http.client.get(f"/api/v1/jobs/{failed.id}").json())):
        assert model.model_validate(answer).model_dump(mode="json") == answer  # and nothing more


def test_a_view(http: Server) -> None:
    job = http.job(state="running")
    assert view(http, job.id)["trials"] == []
    with http.log(job) as log:
        for number, (error, latency_ms) in enumerate([(9.0, 3.0), (8.0, 4.0), (9.5, 3.5)]):
            tell(log, number, error, latency_ms)
    found = view(http, job.id)
    assert found["seq"] == 6
    assert found["stages"] == [{"stage": "search", "done": 3, "total": 8, "note": ""}]
    assert found["front"] == ["0" * 11 + "1", "0" * 12]  # the best error first
    assert [trial["on_front"] for trial in found["trials"]] == [True, True, False]
    assert found["archs"]["0" * 12] == {"width": 0}
    assert found["exits"] == COUNTS
    assert found["hypervolume"]["values"]


def view(http: Server, job_id: str) -> dict[str, Any]:
    found: dict[str, Any] = http.client.get(f"/api/v1/jobs/{job_id}/view").json()
    View.model_validate(found)
    return found


def test_a_view_is_made_once_for_all(http: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    made = 0

    def counted(*arguments: Any) -> dict[str, Any]:
        nonlocal made
        made += 1
        return actual(*arguments)

    actual = views.view
    monkeypatch.setattr(views, "view", counted)
    job = http.job(state="running")
    with http.log(job) as log, ThreadPoolExecutor(8) as threads:
        for number in range(3):
            tell(log, number, 9.0 - number, 3.0)
            seen = list(threads.map(lambda _: view(http, job.id)["seq"], range(8)))
            assert seen == [2 * number + 2] * 8
    assert made == 3
    http.service.store.cancel(job.id)
    assert view(http, job.id)["seq"] == 6


def test_pages_of_jobs(http: Server) -> None:
    made = [http.job("pager").number for _ in range(7)]
    headers, query, numbers = http.auth("pager", "viewer"), "?limit=3", []
    while True:
        page = http.client.get(f"/api/v1/jobs{query}", headers=headers).json()
        assert page["counts"]["queued"] == 7
        numbers += [job["number"] for job in page["jobs"]]
        if page["next"] is None:
            break
        query = f"?limit=3&before={page['next']}"
    assert numbers == made[::-1]
    assert all("config" not in job for job in page["jobs"])
