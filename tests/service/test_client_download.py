"""Downloads: whole folders or nothing, and nothing outside of them."""

import io
import json
import stat
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from canned_service import HANG_UP, CannedService, Reply, failure, job, serving, stream
from faults import full_disk

import nas
from nas.core.errors import DiskError, InputError, NasError
from nas.pipeline.config import make_config
from nas.service.client import Client
from nas.service.client_errors import ServerError

FILES = {"config.toml": b"budget = 3\n", "study.journal": b"{}\n" * 40_000,
         "pareto.json": b'{"run_dir": "jobs/j1/run", "seed": 7}', "report.html": b"<html></html>"}
BUNDLE = {"model.onnx": b"network" * 9000, "manifest.json": b"{}", "parts/decoder.onnx": b"part"}
ONE, ZIP = "GET jobs/j1", "GET jobs/j1/bundle"


def zipped(files: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED, *,
           mode: int = stat.S_IFREG | 0o644) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name)
            entry.compress_type, entry.external_attr = compression, mode << 16
            archive.writestr(entry, data)
    return buffer.getvalue()


def content(data: bytes, **more: Any) -> Reply:
    return Reply(body=[data[:100], data[100:]], headers={"Content-Type": "text/plain"}, **more)


def done(**changes: Any) -> Reply:
    files = [{"name": name, "bytes": len(data)} for name, data in FILES.items()]
    return Reply(job(**{"state": "done", "files": files, "bundle": True, "result": {}} | changes))


@pytest.fixture
def service() -> Iterator[CannedService]:
    files = {f"GET jobs/j1/files/{name}": content(data) for name, data in FILES.items()}
    with serving({ONE: done(), ZIP: content(zipped(BUNDLE)), **files}) as running:
        yield running


@pytest.fixture
def client(service: CannedService, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.delenv("NAS_TOKEN", raising=False)
    with Client(service.url, patience_s=2) as made:
        yield made


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*") if path.is_file()}


def test_the_run_folder_and_its_bundle(client: Client, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "run"
    assert client.download("j1", out) == out
    found = tree(out)
    assert json.loads(found.pop("pareto.json")) == {"run_dir": str(out), "seed": 7}
    assert found == {**{name: data for name, data in FILES.items() if name != "pareto.json"},
                     **{f"best/{name}": data for name, data in BUNDLE.items()}}
    assert list(out.parent.iterdir()) == [out]


def test_the_result_of_a_search_is_not_there_twice(service: CannedService, client: Client,
                                                   tmp_path: Path) -> None:
    service.routes |= {"GET jobs/j1/files/result.json": content(b"{}"), ONE: done(
        files=[{"name": "result.json", "bytes": 2}], bundle=False)}
    client.download("j1", tmp_path / "run")
    assert tree(tmp_path / "run") == {}


def test_a_search_gives_what_it_would_give_here(service: CannedService, client: Client,
                                                tmp_path: Path) -> None:
    service.routes |= {"POST jobs": Reply(job(), 201), "GET jobs/j1/events": stream(
        {"seq": 1, "t": 0.0, "type": "state", "state": "done", "error": None})}
    result = client.search(make_config({"budget": 3, "out": tmp_path / "run"}))
    assert isinstance(result, nas.SearchResult)
    assert result.run_dir == tmp_path / "run"
    assert result.payload == json.loads((tmp_path / "run" / "pareto.json").read_text())


def test_an_export_is_its_bundle(service: CannedService, client: Client, tmp_path: Path) -> None:
    service.routes[ONE] = done(kind="export")
    client.download("j1", tmp_path / "mine")
    assert tree(tmp_path / "mine") == BUNDLE


def test_work_without_a_bundle(service: CannedService, client: Client, tmp_path: Path) -> None:
    service.routes |= {"GET jobs/j1/files/result.json": content(b"{}"), ONE: done(
        kind="rank", files=[{"name": "result.json", "bytes": 2}], bundle=False)}
    client.download("j1", tmp_path / "rank")
    assert tree(tmp_path / "rank") == {"result.json": b"{}"}


def test_broken_connections_begin_a_file_again(service: CannedService, client: Client,
                                               tmp_path: Path) -> None:
    journal, zip_ = FILES["study.journal"], zipped(BUNDLE)
    service.routes |= {
        "GET jobs/j1/files/study.journal": [content(journal[:70_000], breaks=True), HANG_UP,
                                            content(journal)],
        ZIP: [content(zip_[:5000], breaks=True),
              failure(503, "database_away", "away", Retry_After="0"), content(zip_)]}
    client.download("j1", tmp_path / "run")
    assert tree(tmp_path / "run")["study.journal"] == journal
    assert tree(tmp_path / "run")["best/model.onnx"] == BUNDLE["model.onnx"]


def refused(client: Client, tmp_path: Path, said: str) -> NasError:
    with pytest.raises(NasError, match=said) as caught:
        client.download("j1", tmp_path / "a" / "run")
    assert "\n" not in str(caught.value)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert not (tmp_path / "a" / "run").exists()
    return caught.value


ESCAPES = ["../evil", "/etc/evil", "a/../../evil", "..", "a//b", "C:evil", "..\\evil", "a/.hidden",
           ".lock", "new\nline", "\u202egnp.exe", "a/", "./a"]


@pytest.mark.parametrize("name", ESCAPES)
def test_a_bundle_cannot_write_elsewhere(service: CannedService, client: Client, tmp_path: Path,
                                         name: str) -> None:
    service.routes[ZIP] = content(zipped({"model.onnx": b"x", name: b"evil"}))
    refused(client, tmp_path, "nothing was kept")


@pytest.mark.parametrize("name", ESCAPES)
def test_a_listed_file_cannot_either(service: CannedService, client: Client, tmp_path: Path,
                                     name: str) -> None:
    service.routes[ONE] = done(files=[{"name": name, "bytes": 1}])
    refused(client, tmp_path, "nothing was kept")
    assert service.count("GET jobs/j1/files") == 0


@pytest.mark.parametrize("archive", [
    zipped({"model.onnx": bytes(10**6)}, zipfile.ZIP_DEFLATED),
    zipped({"model.onnx": b"/etc/passwd"}, mode=stat.S_IFLNK | 0o777),
    zipped({"model.onnx": b"x" * 500}).replace(b"x" * 500, b"x" * 499 + b"y"),
    zipped(BUNDLE)[:-40], b"", b"no zip at all"],
    ids=["compressed", "link", "crc", "cut", "empty", "text"])
def test_a_bundle_that_is_damaged_or_no_bundle(service: CannedService, client: Client,
                                               tmp_path: Path, archive: bytes) -> None:
    service.routes[ZIP] = content(archive)
    assert isinstance(refused(client, tmp_path, "bundle"), ServerError)


def test_two_files_of_one_name(service: CannedService, client: Client, tmp_path: Path) -> None:
    archive = zipped({"a.onnx": b"first", "b.onnx": b"second"}).replace(b"b.onnx", b"a.onnx")
    service.routes[ZIP] = content(archive)
    refused(client, tmp_path, "overlap")


@pytest.mark.parametrize(("size", "said"), [(5, "sends more"), (10**6, "sends 13")])
def test_a_file_of_another_size(service: CannedService, client: Client, tmp_path: Path, size: int,
                                said: str) -> None:
    service.routes[ONE] = done(files=[{"name": "report.html", "bytes": size}])
    assert isinstance(refused(client, tmp_path, said), ServerError)


def test_a_file_that_is_gone(service: CannedService, client: Client, tmp_path: Path) -> None:
    service.routes["GET jobs/j1/files/report.html"] = failure(404, "no_such_file", "it is gone")
    refused(client, tmp_path, "it is gone")


def test_a_result_that_is_no_json(service: CannedService, client: Client, tmp_path: Path) -> None:
    service.routes |= {"GET me": Reply(status=404), ONE: done(files=[
        {"name": "pareto.json", "bytes": 5}]), "GET jobs/j1/files/pareto.json": content(b"{[}]!")}
    refused(client, tmp_path, "holds no JSON object")


def test_a_job_that_still_runs(service: CannedService, client: Client, tmp_path: Path) -> None:
    service.routes[ONE] = Reply(job())
    assert isinstance(refused(client, tmp_path, "is running; follow it to its end"), InputError)


def test_a_folder_that_is_there_stays_as_it_is(service: CannedService, client: Client,
                                               tmp_path: Path) -> None:
    with pytest.raises(InputError, match="exists; give another --out"):
        client.download("j1", tmp_path)
    with pytest.raises(InputError, match="exists"):
        client.search(make_config({"out": tmp_path}))
    assert service.count("POST jobs") == 0


def test_a_full_disk(client: Client, tmp_path: Path) -> None:
    with full_disk(20_000):
        error = refused(client, tmp_path, "remedy that, then: nas search --server")
    assert isinstance(error, DiskError)
    assert "study.journal" in str(error)
    assert str(error).endswith(f"--resume j1 --out {tmp_path / 'a' / 'run'}")
