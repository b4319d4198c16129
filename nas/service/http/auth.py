"""Who asks: a bearer token, the page's cookie, or somebody at this very machine."""

import ipaddress
import re
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Any, Literal

from fastapi import Request, Response, Security
from fastapi.openapi.models import HTTPBearer as HTTPBearerModel
from fastapi.routing import APIRoute
from fastapi.security.base import SecurityBase

from nas.service.http.database import DatabaseCalls
from nas.service.http.errors import HttpError
from nas.service.settings import Settings
from nas.service.store.tokens import Token, TokenStore

COOKIE = "nas_token"
Role = Literal["viewer", "runner", "admin"]
SAFE = ("GET", "HEAD", "OPTIONS")
_FORWARDED = ("forwarded", "via", "x-real-ip")  # and all x-forwarded-*
_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::([0-9]{1,5}))?")
_KNOWN_S = 2.0  # so long after a token is revoked it may still be good


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    Attributes:
        user: Whose jobs these are.
        role: Of the token.
        auth: "loopback": without a token, from this machine.
    """

    user: str
    role: Role
    auth: Literal["token", "loopback"]

    @property
    def is_admin(self) -> bool:
        return self.role == "admin"


LOCAL = Caller("local", "admin", "loopback")


class Authenticator:
    """Tells who asks, from the headers of a request.

    Args:
        settings: Say whether a token is needed at all.
        tokens: All there are.
        calls: Of the database.
    """

    def __init__(self, settings: Settings, tokens: TokenStore, calls: DatabaseCalls) -> None:
        self._local = settings.is_loopback and not settings.require_token
        self._tokens, self._calls = tokens, calls
        self._known: dict[bytes, tuple[Token, float]] = {}

    async def __call__(self, request: Request) -> Caller:
        """Returns the caller.

        Raises:
            HttpError: 401 without a valid token where one is needed; 403 where a page of another
                site has sent the request.
            DatabaseAway: Whether a token is valid cannot be told now.
        """
        headers = request.headers
        given = headers.get("authorization")
        if given is not None:
            scheme, _, text = given.partition(" ")
            if scheme.lower() == "bearer" and (token := await self.token(text.strip())):
                return _caller(token)
            raise _unauthorized("this token is not valid: it was revoked, or never made")
        own_page = _is_of_own_page(headers)
        cookie = request.cookies.get(COOKIE)
        if cookie and (token := await self.token(cookie)):
            if own_page or (own_page is None and request.method in SAFE):
                return _caller(token)
            raise _foreign(headers)
        if not (self._local and _came_directly(headers)):
            raise _unauthorized("a token is needed: send it as Authorization: Bearer TOKEN; an "
                                "admin makes one with nas serve token create")
        if own_page is False:
            raise _foreign(headers)
        return LOCAL

    async def token(self, text: str) -> Token | None:
        """Returns the token of a text, if it is valid."""
        key, now = sha256(text.encode("utf-8", "surrogateescape")).digest(), time.monotonic()
        token, until = self._known.get(key, (None, 0.0))
        if token is None or now >= until:
            token = await self._calls(self._tokens.verify, text)
            if len(self._known) >= 1000:
                self._known.clear()
            if token is None:
                self._known.pop(key, None)
            else:
                self._known[key] = token, now + _KNOWN_S
        return token


class Guarded(APIRoute):
    """A route that knows who asks before a byte of the body is read, and lets no viewer write."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            caller: Caller = await request.app.state.service.authenticate(request)
            request.scope["nas.caller"] = caller
            if request.method not in SAFE and caller.role == "viewer":
                raise HttpError(403, "forbidden", "a viewer's token only reads; ask for one with "
                                "--role runner")
            return await handle(request)

        return guarded


class _Known(SecurityBase):
    """What `Guarded` found; says in OpenAPI that a token is needed."""

    def __init__(self) -> None:
        self.model = HTTPBearerModel(description="From `nas serve token create NAME`. The page "
                                     f"has it in the cookie `{COOKIE}`.")
        self.scheme_name = "token"

    async def __call__(self, request: Request) -> Caller:
        caller: Caller = request.scope["nas.caller"]
        return caller


KnownCaller = Annotated[Caller, Security(_Known())]


def require_own_page(request: Request) -> None:
    """Lets pass what no page has sent, or one of this server.

    Raises:
        HttpError: 403.
    """
    if _is_of_own_page(request.headers) is False:
        raise _foreign(request.headers)


def _caller(token: Token) -> Caller:
    return Caller(token.user, token.role, "token")


def _is_of_own_page(headers: Mapping[str, str]) -> bool | None:
    """Returns whether the page that sent the request is this server's; None: no page says so."""
    origin = headers.get("origin")
    if origin is None:
        return None
    scheme, _, rest = origin.partition("://")
    there, own = _host(rest), _host(headers.get("host", ""))
    if there is None or own is None or scheme not in _PORTS:
        return False
    usual = _PORTS[scheme]
    return (there[0], there[1] or usual) == (own[0], own[1] or usual)


def _host(text: str) -> tuple[str, int | None] | None:
    """Returns name and port of what a Host header says; None: it says nonsense."""
    found = _HOST.fullmatch(text)
    if found is None:
        return None
    return (found[1] or found[2]).lower(), int(found[3]) if found[3] else None


def _came_directly(headers: Mapping[str, str]) -> bool:
    """Returns whether a request is for a loopback name and no proxy says that it passed it on.

    A name that somebody else's DNS leads here is none of a loopback.
    """
    if any(name in _FORWARDED or name.startswith("x-forwarded-") for name in headers):
        return False
    host = _host(headers.get("host", ""))
    if host is None:
        return False
    try:
        return host[0] == "localhost" or ipaddress.ip_address(host[0]).is_loopback
    except ValueError:
        return False


def _unauthorized(message: str) -> HttpError:
    return HttpError(401, "unauthorized", message, {"WWW-Authenticate": "Bearer"})


def _foreign(headers: Mapping[str, str]) -> HttpError:
    return HttpError(403, "foreign_origin", f"a page of {headers.get('origin', 'nowhere')[:200]} "
                     f"may not do this on {headers.get('host', '')[:200]}; a proxy in between must "
                     "pass the Host header on")
