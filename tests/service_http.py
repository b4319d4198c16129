"""What tests of the HTTP service share: an app on a folder of its own, its users, its jobs."""

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient

from nas.service.event_log import EventLog
from nas.service.folder import DataDir
from nas.service.http.app import create_app
from nas.service.http.catalogue_rows import Helper
from nas.service.http.state import Service
from nas.service.requests import config_values, read_request
from nas.service.settings import Settings
from nas.service.store.jobs import Job, Lease
from nas.service.store.tokens import Role

HERE = "http://127.0.0.1:8000"
SEARCH: Mapping[str, Any] = {"kind": "search", "config": {"budget": 2}}


@dataclass
class Server:
    """A server whose jobs nobody runs, unless a test plays the worker."""

    app: FastAPI
    client: TestClient
    made: dict[tuple[str, str], str] = field(default_factory=dict)

    @property
    def service(self) -> Service:
        service: Service = self.app.state.service
        return service

    @property
    def folder(self) -> DataDir:
        return self.service.folder

    def token(self, user: str, role: Role) -> str:
        """Returns a token of a user, the same each time."""
        if (user, role) not in self.made:
            self.made[user, role] = self.service.tokens.create(user=user, role=role)[1]
        return self.made[user, role]

    def auth(self, user: str, role: Role) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token(user, role)}"}

    def job(self, user: str = "local", state: str = "queued", **config: Any) -> Job:
        """Puts a job into the store, in a state."""
        store = self.service.store
        job = store.submit(user=user, kind="search",
                           config=config_values(read_request("search", config)))
        if state == "cancelled":
            return store.cancel(job.id)
        if state != "queued":
            lease = self.claim(job)
            if state != "running":
                store.end(lease, state=state, ran_s=1.0, error=(
                    {"code": "bug", "message": "it broke"} if state == "failed" else None))
        found = store.get(job.id)
        assert found is not None
        return found

    def claim(self, job: Job) -> Lease:
        """Takes a job as a worker does; those before it in the queue stay taken, too."""
        while (lease := self.service.store.claim(1)) is not None:
            if lease.job.id == job.id:
                return lease
        raise AssertionError(f"{job.id} is not in the queue")

    def log(self, job: Job) -> EventLog:
        """Opens the log of a job for writing."""
        path = self.folder.events(job.id)
        path.parent.mkdir(parents=True, exist_ok=True)
        return EventLog(path)

    def write(self, job: Job, name: str, content: bytes) -> Path:
        """Writes a file into the run folder of a job."""
        path = self.folder.run(job.id) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path


@contextmanager
def serving(data: Path, *, aside: Helper | None = None, base_url: str = HERE, **options: Any
            ) -> Iterator[Server]:
    """Yields an app and a client in this process; bugs are answers with 500, as for real."""
    app = create_app(Settings(data=data, **options), aside=aside, start_workers=False)
    with TestClient(app, base_url=base_url, raise_server_exceptions=False) as client:
        yield Server(app, client)


@contextmanager
def listening(data: Path, *, aside: Helper | None = None, **options: Any
              ) -> Iterator[tuple[Server, httpx2.Client]]:
    """Yields a server that listens on a free port, and a client of it."""
    app = create_app(Settings(data=data, **options), aside=aside, start_workers=False)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False,
                                           timeout_graceful_shutdown=5))
    started = threading.Event()
    end = server.shutdown

    async def run() -> None:
        task = asyncio.create_task(server.serve())
        while not server.started and not task.done():
            await asyncio.sleep(0.01)
        started.set()
        await task

    async def shutdown(*arguments: Any, **keywords: Any) -> None:
        app.state.service.feeds.close()
        await end(*arguments, **keywords)

    server.shutdown = shutdown  # type: ignore[method-assign]
    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    try:
        assert started.wait(20)
        assert server.started
        port = server.servers[0].sockets[0].getsockname()[1]
        with closing(httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=20)) as client:
            yield Server(app, TestClient(app)), client
    finally:
        server.should_exit = True
        thread.join(20)
