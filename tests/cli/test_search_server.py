"""`nas search --server` against a server whose answers are made up: what users see."""

import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from canned_service import Asked, CannedService, Reply, failure, job, page, serving, stream

from cli.main import main

PAYLOAD = {
    "run_dir": "jobs/j1/run", "supernet": "mobilenet-fmnist", "space_size": 12,
    "quality": {}, "device": {"id": "host", "kind": "measured", "note": "well"},
    "counts": {"sampled": 3, "early_exits": {}, "evaluated": 2, "partial": 0, "failed": 0},
    "learned_exits": [], "cascade": None, "stopped": None, "wall_s": 4.0,
    "pareto": [{"digest": "abc", "arch": {"stage1.width": 8},
                "metrics": {"error": 9.5, "latency_ms": 0.5, "params": 10, "macs": 20}}],
    "best": {"digest": "abc", "metrics": {"error": 9.5, "latency_ms": 0.5}, "test": {"error": 9.0},
             "measured_latency_ms": 0.4, "onnx_max_abs_diff": 1e-6}}
TEXT = json.dumps(PAYLOAD).encode()


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CannedService]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NAS_TOKEN", raising=False)
    files = [{"name": "pareto.json", "bytes": len(TEXT)}]
    with serving({
            "POST jobs": Reply(job(state="queued"), 201),
            "GET jobs/j1": Reply(job(state="done", files=files)),
            "GET jobs/j1/files/pareto.json": Reply(body=[TEXT]),
            "GET jobs/j1/events": stream(
                {"seq": 1, "t": 1.0, "type": "progress", "stage": "search", "done": 3, "total": 3,
                 "note": "error 9.5 %"},
                {"seq": 2, "t": 2.0, "type": "state", "state": "done", "error": None})}) as running:
        yield running


def search(service: CannedService, *arguments: str) -> int:
    return main(["search", "--server", service.url, *arguments])


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    line = captured.err.strip().splitlines()[-1]
    assert line.startswith("nas: ")
    return line


def submitted(service: CannedService) -> list[Any]:
    return [asked.json for asked in service.asked if asked.method == "POST"]


def test_it_prints_what_a_search_here_prints(service: CannedService, tmp_path: Path,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    assert search(service, "--budget", "3", "--out", "run", "--proxy", "naswot, synflow") == 0
    captured = capsys.readouterr()
    assert "Pareto front of mobilenet-fmnist (12 networks) on host" in captured.out
    assert captured.out.endswith("bundle: run/best\nreport: run/report.html\n")
    assert f"nas: job j1 at {service.url}; Ctrl-C stops watching, the job goes on" in captured.err
    assert "search" in captured.err
    assert "3/3" in captured.err
    assert submitted(service) == [
        {"kind": "search", "config": {"budget": 3, "proxy": ["naswot", "synflow"]}}]
    assert json.loads((tmp_path / "run" / "pareto.json").read_text())["run_dir"] == "run"


def test_json_is_that_of_the_run_folder(service: CannedService,
                                        capsys: pytest.CaptureFixture[str]) -> None:
    assert search(service, "--out", "run", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {**PAYLOAD, "run_dir": "run"}


def test_the_folder_has_a_name_of_its_own(service: CannedService, tmp_path: Path) -> None:
    assert search(service, "--json") == 0
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name.startswith("mobilenet-fmnist-host-")


def test_options_from_a_file_are_sent_but_where_the_run_is_to_be(service: CannedService,
                                                                 tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text('budget = 9\nseed = 4\nout = "mine"\n')
    assert search(service, "--config", "my.toml", "--budget", "3", "--json") == 0
    assert submitted(service) == [{"kind": "search", "config": {"budget": 3, "seed": 4}}]
    assert (tmp_path / "mine" / "pareto.json").is_file()


def test_the_server_decides_about_its_own_options(service: CannedService,
                                                  capsys: pytest.CaptureFixture[str]) -> None:
    service.routes["POST jobs"] = failure(422, "not_allowed", "--ray-address is the server's")
    assert search(service, "--executor", "ray", "--ray-address", "ray://x:1") == 2
    assert last_line(capsys) == "nas: --ray-address is the server's"
    assert submitted(service)[0]["config"] == {"executor": "ray", "ray_address": "ray://x:1"}


# Going on ------------------------------------------------------------------------------------


def test_a_job_that_is_done_is_downloaded(service: CannedService, tmp_path: Path) -> None:
    assert search(service, "--resume", "j1", "--out", "run", "--json") == 0
    assert (tmp_path / "run" / "pareto.json").is_file()
    assert submitted(service) == []


@pytest.mark.parametrize("ended", ["failed", "cancelled"])
def test_a_job_that_stopped_goes_on(service: CannedService, ended: str) -> None:
    after = service.routes["GET jobs/j1"]
    assert isinstance(after, Reply)
    service.routes |= {"GET jobs/j1": [Reply(job(state=ended)), after],
                       "POST jobs/j1/resume": Reply(job(state="queued"))}
    assert search(service, "--resume", "j1", "--json") == 0
    assert service.count("POST jobs/j1/resume") == 1


@pytest.mark.parametrize(("arguments", "said"), [
    (["--resume", "j1", "--budget", "3"], "drop --budget"),
    (["--resume", "j1", "--workers", "3"], "drop --workers"),
    (["--resume", "j1", "--config", "my.toml"], "drop --config"),
    (["--resume", "runs/first"], "'runs/first' is no id of a job"),
    (["--budget", "0"], "--budget: "), (["--token-file", "none"], "--token-file none: No such"),
    (["--out", "."], "nas: . exists; give another --out")])
def test_options_that_make_no_sense(service: CannedService, arguments: list[str], said: str,
                                    capsys: pytest.CaptureFixture[str]) -> None:
    assert search(service, *arguments) == 2
    assert said in last_line(capsys)
    assert service.asked == []


def test_a_folder_that_is_there(service: CannedService, tmp_path: Path,
                               capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").mkdir()
    assert search(service, "--resume", "j1", "--out", "run") == 2
    assert last_line(capsys) == "nas: run exists; give another --out"


def test_a_job_of_another_kind(service: CannedService, capsys: pytest.CaptureFixture[str]) -> None:
    service.routes["GET jobs/j1"] = Reply(job(kind="rank", config={"n": 3}))
    assert search(service, "--resume", "j1") == 2
    assert "job j1 is no search" in last_line(capsys)


def test_a_file_of_a_token_without_a_server(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "--token-file", "x"]) == 2
    assert "--token-file is for --server" in last_line(capsys)


def test_ctrl_c_says_how_to_follow_the_job_again(
        service: CannedService, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(asked: Asked) -> Reply:
        assert asked.headers["authorization"] == "Bearer nas_mine"
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        return page(504)

    (tmp_path / "my token").write_text("nas_mine")
    service.routes["GET jobs/j1/events"] = interrupted
    assert search(service, "--token-file", "my token", "--out", "run") == 130
    assert last_line(capsys) == (
        "nas: stopped watching, and job j1 goes on; follow it with: nas search --server "
        f"{service.url} --token-file 'my token' --resume j1 --out run")
    assert len(submitted(service)) == 1


# What goes wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize(("reply", "said", "code"), [
    (failure(422, "constraint", "--max-macs 1: the smallest has 534032"), "--max-macs 1: the", 2),
    (failure(401, "unauthorized", "no"), "wants a token; put it into the variable NAS_TOKEN", 2),
    (failure(403, "forbidden", "a viewer's token only reads"), "a viewer's token only reads", 2),
    (failure(429, "queue_full", "2000 jobs wait", Retry_After="900"), "2000 jobs wait", 1),
    (page(), "answers 200 with text/html", 2), (page(502), "a proxy answers 502", 1),
    (Reply({"job": 1}, 201), "runs nas-service 9.9.9", 1)])
def test_a_server_that_does_not_take_it(service: CannedService, reply: Reply, said: str, code: int,
                                        capsys: pytest.CaptureFixture[str]) -> None:
    service.routes |= {"POST jobs": reply, "GET me": Reply({"server": {"version": "9.9.9"}})}
    assert search(service) == code
    assert said in last_line(capsys)


@pytest.mark.parametrize(("error", "code"), [
    ({"code": "profile", "message": "no profile of pi-5"}, 2),
    ({"code": "bug", "message": "KeyError: 'x'"}, 1)])
def test_a_job_that_fails(service: CannedService, error: dict[str, str], code: int,
                          tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    service.routes["GET jobs/j1"] = Reply(job(state="failed", error=error))
    assert search(service) == code
    assert last_line(capsys) == f"nas: {error['message']}"
    assert list(tmp_path.iterdir()) == []


def test_no_server(capsys: pytest.CaptureFixture[str], service: CannedService) -> None:
    assert main(["search", "--server", "here"]) == 2
    assert "is no address of a server" in last_line(capsys)
    service.stop()
    assert search(service) == 1
    assert "nothing listens at" in last_line(capsys)
    service.start()
