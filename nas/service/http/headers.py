"""Headers that every answer bears."""

from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

PAGE_POLICY = ("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
               "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
# A report is made of a job's own texts and pictures: its script runs, but as a page of no origin,
# which reads nothing of the service, sends nothing and has no cookie.
REPORT_POLICY = ("sandbox allow-scripts allow-downloads; default-src 'none'; "
                 "script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; "
                 "font-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")

_ALWAYS = {
    "content-security-policy": PAGE_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_OF_API = {**_ALWAYS, "cache-control": "no-store"}


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers.items()]


class SecurityHeaders:
    """Adds them to whatever answer has none of that name, errors included."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._always, self._of_api = _encoded(_ALWAYS), _encoded(_OF_API)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        wanted = self._of_api if scope["path"].startswith("/api/") else self._always

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [*message["headers"],
                                      *(pair for pair in wanted if pair[0] not in given)]
            await send(message)

        await self._app(scope, receive, send_with_headers)
