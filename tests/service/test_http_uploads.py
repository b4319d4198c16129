"""Uploads: checked as an import checks them, kept whole, named by an id that nobody can guess."""

import hashlib
import io
import json
import zipfile
from pathlib import Path

import pytest
from service_http import Server, serving

from hardware_profiles.bundle_manifest import BundleManifest, bundle_id
from nas.core.files import sha256

URL = "/api/v1/uploads?kind="
AGENT = b"print('measure')\n"


def manifest(**changes: object) -> dict[str, object]:
    made: dict[str, object] = {
        "schema_version": 1, "device": "board", "supernet": "mobilenet-fmnist", "resolution": None,
        "space": "mobilenet-fmnist/1", "generator": "0" * 16, "seed": 0, "codes": [],
        "calib_nets": 0,
        "runtime": {"threads": 1, "batch": 1, "precision": "fp32"}, "models": {},
        "protocol": {"warm_up": 1, "runs": 5, "passes": 2, "max_passes": 2},
        "agent": sha256(AGENT), **changes}
    return {**made, "id": bundle_id(made)}


def zipped(entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def whole_bundle() -> bytes:
    """As the program itself would read and write it: all defaults of the manifest in it."""
    plain = BundleManifest.model_validate(manifest()).model_dump(mode="json")
    return zipped({"manifest.json": json.dumps({**plain, "id": bundle_id(plain)}).encode(),
                   "agent.py": AGENT})


def test_a_bundle_is_kept(http: Server) -> None:
    data = whole_bundle()
    answer = http.client.post(f"{URL}bundle", content=data)
    assert answer.status_code == 201, answer.text
    upload = answer.json()
    assert upload["bytes"] == len(data)
    assert upload["sha256"] == hashlib.sha256(data).hexdigest()
    assert http.folder.upload(upload["id"]).read_bytes() == data
    card = json.loads(http.folder.upload_card(upload["id"]).read_bytes())
    assert {name: card[name] for name in ("kind", "user", "bytes")} == {
        "kind": "bundle", "user": "local", "bytes": len(data)}


def test_only_who_uploaded_can_name_it(http: Server) -> None:
    upload = http.client.post(f"{URL}bundle", content=whole_bundle(),
                              headers=http.auth("ann", "runner")).json()["id"]
    job = {"kind": "import", "config": {"result": upload}}
    for user, status in (("ann", 201), ("bob", 422)):
        answer = http.client.post("/api/v1/jobs", json=job, headers=http.auth(user, "runner"))
        assert answer.status_code == status
    assert http.client.post("/api/v1/jobs", json=job).status_code == 201  # an admin


@pytest.mark.parametrize("upload_id", ["..", "../x", "a/b", ".", "", "x" * 65, "\0", "a.json",
                                       "%2e%2e", "folder-id", "*"])
def test_ids_that_lead_elsewhere(http: Server, upload_id: str) -> None:
    answer = http.client.post("/api/v1/jobs", json={"kind": "import",
                                                    "config": {"result": upload_id}})
    assert answer.status_code == 422


@pytest.mark.parametrize("name", [
    "../evil.py", "/etc/passwd", "models/../../x.onnx", "..\\evil", "C:\\x", "models/x.onnx",
    "agent.py/x", "manifest.json/../x", "\u202egnp.exe", "a\nb", "models/" + "a" * 300])
def test_zips_that_would_escape(http: Server, name: str) -> None:
    data = zipped({"manifest.json": b"{}", "agent.py": AGENT, name: b"x"})
    answer = http.client.post(f"{URL}bundle", content=data)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "profile")
    assert_nothing_left(http, answer.text)


@pytest.mark.parametrize("data", [
    b"", b"PK", b"PK\x03\x04" + b"\0" * 50, zipped({}), zipped({"manifest.json": b"{}"}),
    zipped({"manifest.json": b"[" * 100_000}), zipped({"manifest.json": b"\xff"}),
    zipped({"manifest.json": json.dumps(manifest()).encode(), "agent.py": b"changed"})[:-1],
    zipped({"manifest.json": json.dumps(manifest(seed=-1)).encode(), "agent.py": AGENT})])
def test_zips_that_are_no_bundles(http: Server, data: bytes) -> None:
    answer = http.client.post(f"{URL}bundle", content=data)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "profile")
    assert_nothing_left(http, answer.text)


def test_a_zip_that_unpacks_to_too_much(tmp_path: Path) -> None:
    bomb = zipped({"manifest.json": b"{}", "agent.py": b"\0" * 3_000_000}, zipfile.ZIP_DEFLATED)
    assert len(bomb) < 10_000
    with serving(tmp_path / "data", max_upload_bytes=2_000_000) as http:
        answer = http.client.post(f"{URL}bundle", content=bomb)
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "input")
        assert "unpacks to 3000002 bytes" in answer.json()["error"]["message"]


@pytest.mark.parametrize("data", [
    b"", b"{}", b"[]", b"null", b"\xff\xfe", b"[" * 500_000, b'{"journal": 1}\n{}',
    b'{"schema_version": 99, "complete": true}', b'{"schema_version": 1, "complete": false}',
    b'{"schema_version": 1, "complete": true, "device": 7}', b"9" * 10_000])
def test_results_that_are_none(http: Server, data: bytes) -> None:
    answer = http.client.post(f"{URL}result", content=data)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "profile")
    assert_nothing_left(http, answer.text)


@pytest.mark.parametrize("query", ["", "kind=", "kind=code", "kind=..", "KIND=result"])
def test_other_kinds(http: Server, query: str) -> None:
    assert http.client.post(f"/api/v1/uploads?{query}", content=b"x").status_code == 422


def assert_nothing_left(http: Server, text: str) -> None:
    assert str(http.folder.root) not in text
    assert "upload" in text
    kept = {path.name.partition(".")[0] for path in http.folder.uploads.iterdir()}
    assert all(http.folder.upload_card(name).exists() for name in kept)


def test_a_result_of_no_agents_size_is_not_read(http: Server) -> None:
    data = b"[" + b"1," * (8 * 10**6) + b"1]"
    answer = http.client.post(f"{URL}result", content=data)
    assert answer.status_code == 422
    assert "none of an agent has more" in answer.json()["error"]["message"]


def test_a_bundle_of_more_entries_than_any(http: Server) -> None:
    data = zipped({f"{number}": b"" for number in range(20_001)})
    answer = http.client.post(f"{URL}bundle", content=data)
    assert answer.status_code == 422
    assert "more than 20000 entries" in answer.json()["error"]["message"]
    assert list(http.folder.uploads.glob(".*")) == []


def test_what_a_killed_server_left_is_swept(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data) as server:
        kept = server.client.post(f"{URL}bundle", content=whole_bundle()).json()["id"]
        for name in (f".{'a' * 32}.partial", "b" * 32):
            (data / "uploads" / name).write_bytes(b"half")
    with serving(data):
        left = {path.name for path in (data / "uploads").iterdir()}
    assert left == {kept, f"{kept}.json"}
