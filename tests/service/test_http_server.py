"""The server as a process: where it listens, what it says, how it stops, what it never imports."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

RUN = """
import json, sys
from pathlib import Path
from nas.core.errors import NasError
from nas.service.http.server import run_server
from nas.service.settings import Settings
values = json.loads(sys.argv[1])
try:
    run_server(Settings(**{**values, "data": Path(values["data"])}))
except NasError as error:
    print(f"nas: {error}", file=sys.stderr)
    sys.exit(error.exit_code)
"""
HEAVY = ("torch", "torchvision", "timm", "optuna", "onnx", "onnxruntime", "ray", "scipy",
         "matplotlib")


def command(data: Path, **options: object) -> list[str]:
    values = {"data": str(data), "port": 0, "require_token": True, **options}
    return [sys.executable, "-c", RUN, json.dumps(values)]


@contextmanager
def running(data: Path, **options: object) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Yields a server and its URL; kills it at the end if it is still there."""
    process = subprocess.Popen(command(data, **options), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if line.startswith("nas serve: http"):
                break
        else:
            raise AssertionError("it has not started")
        yield process, line.split()[2]
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def fails(data: Path, **options: object) -> str:
    done = subprocess.run(command(data, **options), capture_output=True, text=True, timeout=60,
                          check=False)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()[-1]


def test_nothing_heavy_is_imported() -> None:
    code = ("import sys, nas.service.http.app, nas.service.supervisor, nas.service.aside\n"
            f"print(sorted(set({HEAVY!r}) & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.slow
def test_a_life(tmp_path: Path, quick_profiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAS_CACHE_DIR", str(quick_profiles))
    data = tmp_path / "data"
    with running(data, require_token=False) as (process, url):
        with httpx2.Client(base_url=url, timeout=60) as client:
            assert client.get("/healthz").json() == {"status": "ok"}
            names = {row["name"] for row in client.get("/api/v1/searchers").json()}
            assert "linas" in names
            answer = client.post("/api/v1/jobs", json={"kind": "search",
                                                       "config": {"searcher": "nobody"}})
            assert (answer.status_code, answer.json()["error"]["code"]) == (422, "unknown_name")
            loaded = Path(f"/proc/{process.pid}/maps").read_text()
            assert not [name for name in ("libtorch", "onnxruntime") if name in loaded]
            assert "nas_slots{alive=\"true\"} 1.0" in client.get("/metrics").text

        assert "another server is at work" in fails(data)
        port = int(url.rpartition(":")[2])
        assert "--port" in fails(tmp_path / "other", port=port)

        children = child_processes(process.pid)
        assert len(children) == 2  # of the slot, and the one that has torch
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0
        assert time.monotonic() - began < 30
        assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
        assert not (data / ".lock").exists()


def child_processes(pid: int) -> list[str]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [child for task in tasks for child in (task / "children").read_text().split()]


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.7"])
def test_addresses_that_are_not_here(tmp_path: Path, host: str) -> None:
    assert f"--host {host}" in fails(tmp_path / "data", host=host)


def test_ctrl_c_ends_in_order(tmp_path: Path) -> None:
    with running(tmp_path / "data") as (process, url):
        port = int(url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)):  # one that says nothing
            process.send_signal(signal.SIGINT)
            assert process.wait(40) == 0


def test_all_addresses_of_a_name(tmp_path: Path) -> None:
    with running(tmp_path / "data", host="localhost") as (_, url):
        port = url.rpartition(":")[2]
        for *_, address in socket.getaddrinfo("localhost", None, type=socket.SOCK_STREAM):
            host = f"[{address[0]}]" if ":" in str(address[0]) else address[0]
            assert httpx2.get(f"http://{host}:{port}/healthz").status_code == 200


def test_ipv6(tmp_path: Path) -> None:
    if not Path("/proc/net/if_inet6").exists():
        pytest.skip("there is no IPv6 here")
    with running(tmp_path / "data", host="::1") as (_, url):
        assert url.startswith("http://[::1]:")
        assert httpx2.get(f"{url}/healthz").status_code == 200
