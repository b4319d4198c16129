"""A real HTTP server on loopback that answers as it is told, for tests of clients."""

import json
import ssl
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

API = "/api/v1"


@dataclass(frozen=True)
class Asked:
    """One request that came."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]  # names in small letters
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    """One answer.

    Attributes:
        value: JSON that is the body, where there is no other one.
        status: Of HTTP; 0: the connection ends without an answer.
        body: Its pieces, sent one by one.
        breaks: Whether the connection ends before the body has.
    """

    value: Any = None
    status: int = 200
    body: Iterable[bytes] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    breaks: bool = False


def failure(status: int, code: str, message: str, **headers: str) -> Reply:
    """Returns an error as the service has it."""
    return Reply({"error": {"code": code, "message": message, "field": None}}, status,
                 headers={name.replace("_", "-"): value for name, value in headers.items()})


HANG_UP = Reply(status=0)


def page(status: int = 200, text: str = "<html>not what you want</html>") -> Reply:
    """Returns what a proxy or another server answers."""
    return Reply(status=status, body=[text.encode()], headers={"Content-Type": "text/html"})


def stream(*events: Mapping[str, Any], breaks: bool = False) -> Reply:
    """Returns server-sent events."""
    body = [f"id: {event['seq']}\nevent: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
            for event in events]
    return Reply(body=[b": ping\n\n", *body], headers={"Content-Type": "text/event-stream"},
                 breaks=breaks)


def job(**changes: Any) -> dict[str, Any]:
    """Returns a job as the service shows it."""
    return {"id": "j1", "number": 1, "user": "local", "kind": "search", "state": "running",
            "title": "mobilenet-fmnist on host", "created": 1.0, "started": 2.0, "ended": None,
            "ran_s": 3.0, "done": 4, "total": 8, "note": "", "error": None, "stop_request": None,
            "config": {"supernet": "mobilenet-fmnist", "device": "host"}, "result": None,
            "files": [], "bundle": False, **changes}


Answer = Callable[[Asked], Reply]


class CannedService:
    """The server; `routes` may be changed while it runs.

    Attributes:
        routes: ``"GET jobs/j1"`` → a reply, a function of the request, or several replies, one
            for each request, of which the last stays.
        asked: The requests so far.
        deaf: Set while nothing listens.
    """

    def __init__(self, routes: Mapping[str, Reply | Answer | list[Reply]]) -> None:
        self.routes = dict(routes)
        self.asked: list[Asked] = []
        self.deaf = threading.Event()
        self._server: ThreadingHTTPServer | None = None
        self._port = 0
        self._tls: ssl.SSLContext | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    def count(self, route: str) -> int:
        method, _, path = route.partition(" ")
        return sum(asked.method == method and asked.path == f"{API}/{path}"
                   for asked in self.asked)

    def start(self, tls: ssl.SSLContext | None = None) -> None:
        """Listens, on the port of before if there was one."""
        server = _Server(("127.0.0.1", self._port), _handler(self))
        self._tls = tls
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        self._server, self._port = server, server.server_address[1]
        self.deaf.clear()
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()

    def stop(self) -> None:
        """Listens no more; a connection ends with its answer."""
        assert self._server is not None
        self._server.shutdown()
        self._server.socket.close()
        self.deaf.set()
        self._server.server_close()  # waits for the answers

    def answer(self, asked: Asked) -> Reply:
        self.asked.append(asked)
        route = f"{asked.method} {asked.path.removeprefix(API).removeprefix('/')}"
        found = self.routes.get(route, failure(404, "not_found", f"there is no {asked.path}"))
        if isinstance(found, list):
            found = found.pop(0) if len(found) > 1 else found[0]
        return found if isinstance(found, Reply) else found(asked)


@contextmanager
def serving(routes: Mapping[str, Reply | Answer | list[Reply]],
            tls: ssl.SSLContext | None = None) -> Iterator[CannedService]:
    """Runs a server for a while."""
    service = CannedService(routes)
    service.start(tls)
    try:
        yield service
    finally:
        service.stop()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # clients that go away are no news
            super().handle_error(request, client_address)


def _handler(service: CannedService) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"  # a connection for each request: stopping ends them all

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(self.command, url.path, dict(parse_qsl(url.query)), headers,
                          self._body(headers))
            self._send(service.answer(asked))

        do_POST = do_GET

        def _body(self, headers: Mapping[str, str]) -> bytes:
            if "chunked" not in headers.get("transfer-encoding", ""):
                return self.rfile.read(int(headers.get("content-length", 0)))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def _send(self, reply: Reply) -> None:
            if reply.status == 0:
                return
            body = [json.dumps(reply.value).encode()] if reply.body is None else list(reply.body)
            self.send_response(reply.status)
            for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                self.send_header(name, value)
            # One byte more than comes makes the client see that something is missing.
            size = sum(map(len, body)) + reply.breaks
            self.send_header("Content-Length", str(size))
            self.end_headers()
            for chunk in body:
                self.wfile.write(chunk)
                self.wfile.flush()

        def log_message(self, format: str, *args: Any) -> None:
            del format, args

    return Handler
