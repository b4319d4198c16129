"""The HTTP service as an ASGI application."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from typing import Any

from anyio import to_thread
from fastapi import APIRouter, FastAPI
from starlette.types import ASGIApp

from nas.core.locks import locked
from nas.service.folder import DataDir
from nas.service.http import (
    catalogue,
    compare,
    events,
    files,
    health,
    jobs,
    session,
    uploads,
)
from nas.service.http.body_limit import JSON_BYTES, DeclaredLength
from nas.service.http.catalogue_rows import Helper
from nas.service.http.errors import install_handlers
from nas.service.http.headers import SecurityHeaders
from nas.service.http.metrics import Metrics, Observed
from nas.service.http.pages import page_routes
from nas.service.http.state import Service
from nas.service.http.stored_uploads import sweep_uploads
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
        description=_DESCRIPTION, openapi_url=None, docs_url=None, redoc_url=None,
        redirect_slashes=False, max_body_size=JSON_BYTES,
        lifespan=lambda app: _lifespan(app, settings, metrics, aside, start_workers))
    for router in _routers(settings):
        app.router.routes.extend(router.routes)
    app.router.routes.extend(page_routes())
    install_handlers(app)
    return app


def _routers(settings: Settings) -> list[APIRouter]:
    return [jobs.router, events.router, compare.router, files.router,
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
        await to_thread.run_sync(sweep_uploads, folder)
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
        service.use_aside(aside)
    supervisor = Supervisor(service.settings, database)
    service.alive = lambda: sum(slot.alive for slot in supervisor.status())
    stack.push_async_callback(to_thread.run_sync, supervisor.stop)
    await to_thread.run_sync(supervisor.start)
