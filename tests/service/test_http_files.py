"""Downloads: what a job has given, and nothing else of the server's disk."""

import io
import json
import os
import re
import zipfile
from pathlib import Path

import pytest
from service_http import Server

from nas.service.http.headers import PAGE_POLICY


def url(job_id: str, name: str) -> str:
    return f"/api/v1/jobs/{job_id}/files/{name}"


@pytest.mark.parametrize(("name", "media"), [
    ("report.html", "text/html; charset=utf-8"), ("pareto.json", "application/json"),
    ("pareto.png", "image/png"), ("study.journal", "text/plain; charset=utf-8"),
    ("config.toml", "text/plain; charset=utf-8"), ("found.jsonl", "text/plain; charset=utf-8")])
def test_download(http: Server, name: str, media: str) -> None:
    job = http.job()
    content = os.urandom(700_000)
    http.write(job, name, content)
    answer = http.client.get(url(job.id, name))
    assert (answer.status_code, answer.headers["content-type"]) == (200, media)
    assert answer.headers["content-length"] == "700000"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert f'filename="{name}"' in answer.headers["content-disposition"]
    assert answer.content == content
    shown = http.client.get(f"/api/v1/jobs/{job.id}").json()
    assert shown["files"] == [{"name": name, "bytes": 700_000}]


def test_a_report_is_a_page_of_no_origin(http: Server) -> None:
    job = http.job()
    http.write(job, "report.html", b"<script>1</script>")
    policy = http.client.get(url(job.id, "report.html")).headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts")
    assert "allow-same-origin" not in policy
    assert "default-src 'none'" in policy
    http.write(job, "pareto.json", b"{}")
    assert http.client.get(url(job.id, "pareto.json")
                           ).headers["content-security-policy"] == PAGE_POLICY


def test_result(http: Server) -> None:
    job = http.job(state="running")
    folder = http.folder
    folder.job(job.id).mkdir(parents=True)
    folder.result(job.id).write_text('{"pareto": [1.5]}')
    assert http.client.get(f"/api/v1/jobs/{job.id}").json()["result"] is None
    done = http.job(state="done")
    folder.job(done.id).mkdir(parents=True)
    assert http.client.get(f"/api/v1/jobs/{done.id}").json()["result"] is None
    folder.result(done.id).write_text('{"pareto": [1.5]}')
    shown = http.client.get(f"/api/v1/jobs/{done.id}").json()
    assert shown["result"] == {"pareto": [1.5]}
    assert shown["files"] == [{"name": "result.json", "bytes": 17}]
    assert http.client.get(url(done.id, "result.json")).json() == {"pareto": [1.5]}


ESCAPES = ["...", "%2e%2e", "%2e", "%2e%2e%2fevents.jsonl", "..%2fevents.jsonl",
           "%2fetc%2fpasswd",
           "..%5cevents.jsonl", "..%252fevents.jsonl", "a%00.json", "%00", ".lock", ".hidden.json",
           "best", "best%2fmanifest.json", "best/manifest.json", "..;/events.jsonl", "pareto.json/",
           "pareto.json%2f", "pareto.json%20", "PARETO.JSON", "pareto", "x.onnx", "link.json",
           "pipe.json", "folder.json", "a" * 300 + ".json", "%c0%ae%c0%ae", "%ff.json",
           "résumé.json",
           "con.json%0a", "~root.json", "$HOME.json", "*.json", ""]


@pytest.mark.parametrize("name", ESCAPES)
def test_names_that_lead_elsewhere(http: Server, tmp_path: Path, name: str) -> None:
    job = http.job()
    http.log(job).close()
    secret = tmp_path / "secret.json"
    secret.write_text("a secret of the server")
    http.write(job, "best/manifest.json", b"a secret of the server")
    http.write(job, "pareto.json", b"{}")
    for hidden in (".lock", ".hidden.json", "x.onnx"):
        http.write(job, hidden, b"a secret of the server")
    run = http.folder.run(job.id)
    (run / "link.json").symlink_to(secret)
    (run / "folder.json").mkdir()
    os.mkfifo(run / "pipe.json")
    answer = http.client.get(url(job.id, name))
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] in ("no_such_file", "not_found")
    names = [file["name"] for file in http.client.get(f"/api/v1/jobs/{job.id}").json()["files"]]
    assert names == ["pareto.json"]


@pytest.mark.parametrize("job_id", ["..", "%2e%2e", "..%2f..%2fuploads", "x", "a" * 5000, "%00",
                                    "0123456789ABCDEF", "0123456789abcde/", "'; DROP TABLE--",
                                    "%ff%fe", "*", "%25"])
@pytest.mark.parametrize("rest", ["", "/view", "/events", "/bundle", "/files/pareto.json"])
def test_ids_that_are_none(http: Server, job_id: str, rest: str) -> None:
    answer = http.client.get(f"/api/v1/jobs/{job_id}{rest}")
    assert answer.status_code == 404
    assert len(answer.content) < 6000
    assert answer.json()["error"]["code"] in ("no_such_job", "not_found")


@pytest.mark.parametrize("path", [
    "/static/../app.py", "/static/%2e%2e/http/app.py", "/static/..%2fhttp%2fapp.py",
    "/static//etc/passwd", "/static/%2fetc%2fpasswd", "/static/docs/../../http/app.py",
    "/static/docs/%2e%2e/core.py", "/static/docs/docs.js/..", "/static/", "/static/docs",
    "/static/%00", "/static/" + "a" * 5000, "/static/\\..\\..\\x", "/static/%ff"])
def test_static_files_lead_nowhere(http: Server, path: str) -> None:
    answer = http.client.get(path)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


def bundle(http: Server, job_id: str) -> zipfile.ZipFile:
    answer = http.client.get(f"/api/v1/jobs/{job_id}/bundle")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/zip")
    assert f'filename="bundle-{job_id}.zip"' in answer.headers["content-disposition"]
    return zipfile.ZipFile(io.BytesIO(answer.content))


def test_a_bundle_is_a_zip_of_stored_files(http: Server, tmp_path: Path) -> None:
    job = http.job()
    content = {"manifest.json": b"{}", "model.onnx": os.urandom(900_000), "empty.txt": b"",
               "deeper/file.bin": b"x"}
    for name, data in content.items():
        http.write(job, f"best/{name}", data)
    http.write(job, "best/.hidden", b"no")
    http.write(job, "best/.model.onnx.partial", b"no")
    (http.folder.run(job.id) / "best" / "link.txt").symlink_to(tmp_path)
    (http.folder.run(job.id) / "best" / "link.json").symlink_to(http.folder.events(job.id))
    with bundle(http, job.id) as archive:
        assert archive.testzip() is None
        assert {entry.filename: archive.read(entry) for entry in archive.infolist()} == content
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        archive.extractall(tmp_path / "out")
    assert (tmp_path / "out" / "model.onnx").read_bytes() == content["model.onnx"]
    assert http.client.get(f"/api/v1/jobs/{job.id}").json()["bundle"]


def test_no_bundle(http: Server) -> None:
    job = http.job()
    answer = http.client.get(f"/api/v1/jobs/{job.id}/bundle")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no_bundle")
    assert not http.client.get(f"/api/v1/jobs/{job.id}").json()["bundle"]


@pytest.mark.parametrize(("place", "found"), [
    ("jobs/{id}/run/out", True), ("jobs/{id}/run", False), ("data/x", False), ("../x", False),
    ("/etc", False), ("jobs/../data/x", False), (7, False), (None, False)])
def test_the_bundle_of_a_result_lies_among_the_jobs(http: Server, place: object, found: bool
                                                     ) -> None:
    job = http.service.store.submit(user="local", kind="prune", config={"model": "timm:x"})
    http.service.store.end(http.claim(job), state="done", ran_s=1.0)
    for folder in (http.folder.run(job.id) / "out", http.folder.data / "x",
                   http.folder.root.parent / "x"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "manifest.json").write_text("{}")
    named = place.format(id=job.id) if isinstance(place, str) else place
    http.folder.result(job.id).write_text(json.dumps({"bundle": named}))
    answer = http.client.get(f"/api/v1/jobs/{job.id}/bundle")
    assert answer.status_code == (200 if found else 404)


def test_no_path_of_the_server_is_told(http: Server) -> None:
    job = http.job()
    for path in (f"/api/v1/jobs/{job.id}", url(job.id, "x.json"), f"/api/v1/jobs/{job.id}/bundle"):
        assert not re.search(re.escape(str(http.folder.root)), http.client.get(path).text)
