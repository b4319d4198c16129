"""A real `nas serve` on a free loopback port, for benchmarks that ask, load and kill it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

PATIENCE_S = 120.0


def free_port() -> int:
    """Returns a port of loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Service:
    """The server of one data folder, started again as often as it is killed.

    Attributes:
        data: Its folder.
        cache: Where profiles are stored.
        options: More of `nas serve`.
    """

    data: Path
    cache: Path
    options: Sequence[str] = ()
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts it and waits until it answers."""
        self.data.mkdir(parents=True, exist_ok=True)
        with (self.data.parent / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(Path(sys.executable).with_name("nas")), "serve", "--port", str(self.port),
                 "--data", str(self.data), *self.options],
                env=environment(self.cache), stdout=log, stderr=log)
        end = time.monotonic() + PATIENCE_S
        while not self.healthy():
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the server does not answer; see {self.data.parent}/server.log")
            time.sleep(0.1)

    def healthy(self) -> bool:
        try:
            return httpx2.get(f"{self.url}/healthz", timeout=5).status_code == 200
        except httpx2.TransportError:
            return False

    def kill(self) -> None:
        """Kills the server as the kernel does."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Asks it to end, and waits."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(PATIENCE_S)

    def workers(self) -> list[int]:
        """Returns the numbers of the processes that run jobs."""
        assert self.process is not None
        return [number for number in children(self.process.pid)
                if "nas.service.worker" in command_line(number)]

    def submit(self, kind: str, config: Mapping[str, Any]) -> str:
        """Submits a job and returns its id."""
        answer = httpx2.post(f"{self.url}/api/v1/jobs", json={"kind": kind, "config": dict(config)},
                             timeout=60)
        answer.raise_for_status()
        return str(answer.json()["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        return self.get(f"jobs/{job_id}")

    def get(self, path: str) -> dict[str, Any]:
        """Returns what is below the interface's base."""
        answer = httpx2.get(f"{self.url}/api/v1/{path}", timeout=60)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def wait_for_more(self, job_id: str, done: int) -> dict[str, Any]:
        """Returns the job once it has validated more than `done` networks, or has ended."""
        while (found := self.job(job_id))["state"] in ("queued", "running") \
                and self.validated(job_id) <= done:
            time.sleep(0.2)
        return found

    def validated(self, job_id: str) -> int:
        """Returns how many trials of a job its log of events has."""
        log = self.data / "jobs" / job_id / "events.jsonl"
        lines = log.read_bytes().split(b"\n")[:-1] if log.exists() else []
        events = [json.loads(line) for line in lines]
        return len({event["id"] for event in events if event["type"] == "trial"})

    def wait(self, job_id: str, *, states: Sequence[str] = ("done", "failed", "cancelled"),
             patience_s: float = 600.0) -> dict[str, Any]:
        """Returns the job as soon as it is in one of the states."""
        end = time.monotonic() + patience_s
        while (found := self.job(job_id))["state"] not in states:
            if time.monotonic() > end:
                raise RuntimeError(f"job {job_id} is still {found['state']}")
            time.sleep(0.2)
        return found


def environment(cache: Path) -> dict[str, str]:
    """Returns the environment of a process whose profiles lie in `cache`."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "NAS_CACHE_DIR": str(cache)}


def children(number: int) -> list[int]:
    """Returns the direct children of a process."""
    try:
        text = Path(f"/proc/{number}/task/{number}/children").read_text()
    except OSError:
        return []
    found = [int(part) for part in text.split()]
    for task in Path(f"/proc/{number}/task").iterdir():  # a thread may have started some
        if task.name != str(number):
            found += [int(part) for part in (task / "children").read_text().split()]
    return found


def command_line(number: int) -> str:
    """Returns what a process was started as; empty if it has ended."""
    try:
        return Path(f"/proc/{number}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""
