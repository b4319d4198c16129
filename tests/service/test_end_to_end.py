"""A real `nas serve`, its worker, and the ways to it: the same search, the same front."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

import nas
from cli.main import main
from hardware_profiles.store import CACHE_VARIABLE
from nas.core.errors import RunInterrupted
from nas.pipeline.events import Event

BUDGET, LONG = 4, 12
STARTS_S = 60.0
SUPERNET = "tiny"  # a folder of the server's data


@dataclass
class Service:
    """The server of one folder, on one port through all of its starts."""

    data: Path
    cache: Path
    port: int = 0
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.data.with_name("server.log")

    def start(self) -> None:
        code = "import sys; from cli.main import run; sys.argv[0] = 'nas'; run()"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code, "serve", "--data", str(self.data), "--port",
                 str(self.port)], stderr=log,
                env={**os.environ, CACHE_VARIABLE: str(self.cache), "OMP_NUM_THREADS": "1"})
        end = time.monotonic() + STARTS_S
        while not (said := re.search(r"^nas serve: http://[^:]+:(\d+)$", self.log.read_text(),
                                     re.MULTILINE)):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end
            time.sleep(0.05)
        self.port = int(said[1])

    def end(self, number: int) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(STARTS_S)


@pytest.fixture(scope="module")
def service(tiny_folder: Path, quick_profiles: Path,
            tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("serve") / "data"
    shutil.copytree(tiny_folder, folder / "data" / SUPERNET)
    running = Service(folder, quick_profiles)
    running.start()
    yield running
    assert running.end(signal.SIGTERM) == 0


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile_cache: None) -> None:
    del profile_cache
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NAS_TOKEN", raising=False)


def front(payload: Any) -> list[Any]:
    return [(point["digest"], point["arch"], point["metrics"]) for point in payload["pareto"]]


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main(["search", *arguments, "--budget", str(BUDGET), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def over_http(service: Service) -> Any:
    with httpx2.Client(base_url=f"{service.url}/api/v1", timeout=60) as http:
        job = http.post("jobs", json={"kind": "search", "config": {
            "supernet": SUPERNET, "budget": BUDGET}}).raise_for_status().json()
        while (found := http.get(f"jobs/{job['id']}").json())["state"] in ("queued", "running"):
            time.sleep(0.2)
        return found["result"]


@pytest.mark.slow
def test_every_way_gives_the_same_front(service: Service, tiny_folder: Path, tmp_path: Path,
                                        capsys: pytest.CaptureFixture[str]) -> None:
    here = printed(capsys, "--supernet", str(tiny_folder))
    there = printed(capsys, "--supernet", SUPERNET, "--server", service.url, "--out", "run")
    api = nas.run_search(nas.SearchConfig(supernet=str(tiny_folder), budget=BUDGET))
    for payload in (there, api.payload, over_http(service)):
        assert front(payload) == front(here)
        assert payload.keys() == here.keys()
        assert payload["counts"] == here["counts"]
    assert there["run_dir"] == "run"
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {
        "config.toml", "pareto.json", "pareto.png", "report.html", "study.journal",
        "profile.json", "best"}
    assert main(["verify", "run/best"]) == 0
    assert main(["report", "run"]) == 0


@pytest.mark.slow
def test_a_server_that_is_killed_while_a_client_watches(service: Service, tiny_folder: Path,
                                                        tmp_path: Path) -> None:
    remarks: list[str] = []
    kills = threading.Thread(target=kill_and_start, args=(service,))
    with nas.Client(service.url, say=remarks.append) as client:
        job = client.submit(nas.SearchConfig(supernet=SUPERNET, budget=LONG))
        seen = []
        for event in client.events(job.id):
            seen.append(event["seq"])
            if len(seen) == 3:
                kills.start()
        kills.join()
        told: list[Event] = []
        result = client.result(job.id, watch=told.append, out=tmp_path / "run")
    assert seen == list(range(1, len(seen) + 1))
    assert len(remarks) >= 1
    assert ("search", LONG, LONG) in {(event.stage, event.done, event.total) for event in told}
    assert {event.trial["id"] for event in told if event.trial} == set(range(LONG))
    whole = nas.run_search(nas.SearchConfig(supernet=str(tiny_folder), budget=LONG))
    assert front(result.payload) == front(whole.payload)


def kill_and_start(service: Service) -> None:
    service.end(signal.SIGKILL)
    service.start()


@pytest.mark.slow
def test_ctrl_c_stops_watching_and_the_job_goes_on(service: Service, tmp_path: Path) -> None:
    def interrupted(event: Event) -> None:
        del event
        signal.raise_signal(signal.SIGINT)

    with nas.Client(service.url) as client:
        with pytest.raises(RunInterrupted) as caught:
            client.search(nas.SearchConfig(supernet=SUPERNET, budget=2), watch=interrupted,
                          out=tmp_path / "run")
        command = str(caught.value).partition("follow it with: nas ")[2]
        assert main(command.split()) == 0
    assert (tmp_path / "run" / "best" / "model.onnx").is_file()
