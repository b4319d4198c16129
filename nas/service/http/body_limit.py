"""Bodies that say they are too large are refused before a byte of them is read.

What comes without a length, or is longer than it said, is counted by FastAPI while it is read.
"""

from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from nas.service.http.errors import error_response, too_large

JSON_BYTES = 10**6


class DeclaredLength:
    """Answers 400 to a ``Content-Length`` that is no number, 413 to one over the limit.

    Args:
        app: What comes after.
        default: Bytes.
        of_paths: Path → bytes, where the limit is another one.
    """

    def __init__(self, app: ASGIApp, *, default: int, of_paths: Mapping[str, int]) -> None:
        self._app = app
        self._default, self._of_paths = default, of_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        length = Headers(scope=scope).get("content-length") if scope["type"] == "http" else None
        if length is not None:
            limit = self._of_paths.get(scope["path"], self._default)
            if not (length.isascii() and length.isdecimal()):
                response = error_response(400, "bad_request", "Content-Length is no number")
                await response(scope, receive, send)
                return
            if int(length[:20]) > limit:
                await too_large(limit)(scope, receive, send)
                return
        await self._app(scope, receive, send)
