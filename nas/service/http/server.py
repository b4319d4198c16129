"""The server as a process: where it listens, and how it ends."""

import asyncio
import errno
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from types import FrameType

import uvicorn

from nas.core.errors import InputError
from nas.service.http.app import create_app
from nas.service.logs import configure_logging
from nas.service.settings import Settings


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
    with ExitStack() as stack:
        listeners = [stack.enter_context(closing(listener)) for listener in _listeners(settings)]
        app = create_app(settings)
        config = uvicorn.Config(
            app, lifespan="off", log_config=None, access_log=False, server_header=False,
            proxy_headers=False, timeout_graceful_shutdown=5)
        async with app.router.lifespan_context(app):
            server = _Server(config, on_stop=app.state.service.feeds.close)
            await server.serve(sockets=listeners)


def _listeners(settings: Settings) -> list[socket.socket]:
    """Returns a socket for each address of the host: ``localhost`` often has two."""
    found: list[socket.socket] = []
    port, failed = settings.port, None
    try:
        addresses = socket.getaddrinfo(settings.host, port, type=socket.SOCK_STREAM,
                                       flags=socket.AI_PASSIVE)
    except OSError as error:
        raise _no_address(settings, error) from None
    for family, _, _, _, address in sorted(addresses, key=lambda entry: entry[0]):
        try:
            found.append(socket.create_server((address[0], port), family=family, backlog=2048))
            port = found[0].getsockname()[1]
        except OSError as error:
            failed = error
            if error.errno != errno.EADDRNOTAVAIL:  # such as IPv6 where there is none
                break
    else:
        if found:
            return found
    for listener in found:
        listener.close()
    raise _no_address(settings, failed)


def _no_address(settings: Settings, error: OSError | None) -> InputError:
    reason = error.strerror if error else "it has no address"
    return InputError(f"--host {settings.host} --port {settings.port}: {reason}; give another")


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

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if sockets:  # it listens, and a signal ends it in order
            host, port = sockets[0].getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            print(f"nas serve: http://{shown}:{port}", file=sys.stderr, flush=True)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        self._on_stop()
