"""The HTTP service as an ASGI application."""

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from importlib.metadata import version
from types import FrameType
from typing import Any

import uvicorn
from anyio import to_thread
from fastapi import APIRouter, FastAPI
from starlette.types import ASGIApp

from nas.core.errors import InputError
from nas.core.locks import locked
from nas.service.folder import DataDir
from nas.service.http import catalogue, events, files, health, jobs, session, uploads
from nas.service.http.body_limit import JSON_BYTES, DeclaredLength
from nas.service.http.catalogue_rows import Helper
from nas.service.http.errors import install_handlers
from nas.service.http.headers import SecurityHeaders
from nas.service.http.metrics import Metrics, Observed
from nas.service.http.pages import page_routes
from nas.service.http.state import Service
from nas.service.logs import configure_logging
from nas.service.settings import Settings
from nas.service.store.engine import Database, open_database

_DESCRIPTION = """Searches, rankings, prunings, exports and imports of profiles as jobs of a queue.

Every error has the form `{"error": {"code", "message", "field"}}`; the message is one line, the
command line's. Bound to a loopback address, the service needs no token from this machine."""


def create_app(settings: Settings, *, aside: Helper | None = None, start_workers: bool = True
               ) -> FastAPI:
    """Returns the application; its lifespan holds the data folder.

    Args:
        settings: What the server is started with.
        aside: What answers questions that need torch; with `start_workers`, one is made if absent.
        start_workers: Whether jobs are run, too.
    """
    metrics = Metrics()
    app = _Application(
        settings, metrics, title="nas serve", version=version("nas-service"),
        description=_DESCRIPTION, docs_url=None, redoc_url=None, redirect_slashes=False,
        max_body_size=JSON_BYTES,
        lifespan=lambda app: _lifespan(app, settings, metrics, aside, start_workers))
    for router in _routers(settings):
        app.router.routes.extend(router.routes)
    app.router.routes.extend(page_routes())
    install_handlers(app)
    return app


def _routers(settings: Settings) -> list[APIRouter]:
    return [jobs.router, events.router, files.router,
            uploads.upload_router(settings.max_upload_bytes), catalogue.router, session.router,
            session.open_router, health.router, health.open_router]


class _Application(FastAPI):
    def __init__(self, settings: Settings, metrics: Metrics, **options: object) -> None:
        self._uploads, self._metrics = settings.max_upload_bytes, metrics
        super().__init__(**options)  # type: ignore[arg-type]

    def build_middleware_stack(self) -> ASGIApp:
        # Around Starlette's own middleware for errors, whose answers need the headers, too.
        app = DeclaredLength(super().build_middleware_stack(), default=JSON_BYTES,
                             of_paths={uploads.PATH: self._uploads})
        return SecurityHeaders(Observed(app, self._metrics))

    def openapi(self) -> dict[str, Any]:
        # FastAPI's own form of errors is in answers to none of them: see `errors`.
        document = super().openapi()
        for operation in (one for path in document["paths"].values() for one in path.values()):
            if "HTTPValidationError" in str(operation["responses"].get("422")):
                del operation["responses"]["422"]
        for name in ("HTTPValidationError", "ValidationError"):
            document["components"]["schemas"].pop(name, None)
        return document


@asynccontextmanager
async def _lifespan(app: FastAPI, settings: Settings, metrics: Metrics, aside: Helper | None,
                    start_workers: bool) -> AsyncIterator[None]:
    folder = DataDir(settings.data)
    await to_thread.run_sync(folder.make)
    async with AsyncExitStack() as stack:
        stack.enter_context(locked(folder.root, "server"))
        database = await to_thread.run_sync(open_database, settings, folder)
        stack.push_async_callback(to_thread.run_sync, database.close)
        service = Service(settings, folder, database, aside=aside, metrics=metrics)
        if start_workers:
            await _start_workers(stack, service, database)
        app.state.service = service
        stack.callback(service.feeds.close)
        yield


async def _start_workers(stack: AsyncExitStack, service: Service, database: Database) -> None:
    from nas.service.aside import Aside
    from nas.service.supervisor import Supervisor

    if service.aside is None:
        aside = Aside(service.settings)
        stack.push_async_callback(to_thread.run_sync, aside.close)
        aside.start()
        aside.start()
        service.use_aside(aside)
    supervisor = Supervisor(service.settings, database)
    service.alive = lambda: sum(slot.alive for slot in supervisor.status())
    stack.push_async_callback(to_thread.run_sync, supervisor.stop)
    await to_thread.run_sync(supervisor.start)


def run_server(settings: Settings) -> None:
    """Serves until SIGINT or SIGTERM; running jobs are then put back into the queue.

    Args:
        settings: What the server is started with.

    Raises:
        InputError: The address cannot be listened on, another server has the data folder, or the
            database is another folder's.
    """
    configure_logging()
    asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    listener = _listener(settings)
    with closing(listener):
        app = create_app(settings)
        config = uvicorn.Config(
            app, lifespan="off", log_config=None, access_log=False, server_header=False,
            proxy_headers=False, timeout_graceful_shutdown=5)
        async with app.router.lifespan_context(app):
            server = _Server(config, on_stop=app.state.service.feeds.close)
            host, port = listener.getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            print(f"nas serve: http://{shown}:{port}", file=sys.stderr, flush=True)
            await server.serve(sockets=[listener])


def _listener(settings: Settings) -> socket.socket:
    where = f"--host {settings.host} --port {settings.port}"
    try:
        family, _, _, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=2048)
    except OSError as error:
        raise InputError(f"{where}: {error.strerror or error}; give another") from None


class _Server(uvicorn.Server):
    """Ends event streams when it is told to stop, and then returns instead of dying by the signal.

    What holds the data folder must still be put in order after that.
    """

    def __init__(self, config: uvicorn.Config, *, on_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_stop = on_stop

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield
        # They stay: a second Ctrl-C must not kill what is being put in order.

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        self._on_stop()
