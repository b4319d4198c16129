"""What all requests share."""

from collections.abc import Callable
from typing import Annotated

from anyio import CapacityLimiter
from fastapi import Depends, Request

from nas.service.folder import DataDir
from nas.service.http.auth import Authenticator
from nas.service.http.catalogue_rows import Catalogue, Helper
from nas.service.http.comparisons import Comparisons
from nas.service.http.database import DatabaseCalls
from nas.service.http.feed import Feeds
from nas.service.http.metrics import Metrics
from nas.service.http.views import Views
from nas.service.settings import Settings
from nas.service.store.engine import Database
from nas.service.store.jobs import JobStore
from nas.service.store.tokens import TokenStore

UPLOADS_AT_ONCE = 8  # each holds a thread for as long as its client takes


class Service:
    """The server, to a request.

    Attributes:
        alive: Tells how many slots have a worker.

    Args:
        settings: What it was started with.
        folder: Its data.
        database: Opened.
        aside: None: nothing can be listed, and jobs are checked by their workers only.
        metrics: Of this server.
    """

    def __init__(self, settings: Settings, folder: DataDir, database: Database, *,
                 aside: Helper | None, metrics: Metrics) -> None:
        self.settings, self.folder, self.metrics = settings, folder, metrics
        self.alive: Callable[[], int] = lambda: 0
        self.store = JobStore(database, max_queue=settings.max_queue)
        self.tokens = TokenStore(database)
        self.calls = DatabaseCalls()
        self.authenticate = Authenticator(settings, self.tokens, self.calls)
        self.views, self.comparisons = Views(folder), Comparisons()
        self.feeds = Feeds(folder, self.store, self.calls)
        self.use_aside(aside)
        self.upload_threads, self.uploads_now = CapacityLimiter(UPLOADS_AT_ONCE), 0

    def use_aside(self, aside: Helper | None) -> None:
        """Lets this one answer from now on."""
        self.aside, self.catalogue = aside, Catalogue(aside)


async def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


TheService = Annotated[Service, Depends(_service)]
