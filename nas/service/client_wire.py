"""The wire between a client and a server: requests that are tried again where that may help."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import httpx2
from pydantic import BaseModel, ValidationError

from nas.core.errors import InputError
from nas.service.client_answers import NotOurs, trouble, value_of
from nas.service.client_errors import Refused, ServerError
from nas.service.client_wait import Away, Patience, Say

Model = TypeVar("Model", bound=BaseModel)

API = "api/v1"
SILENCE_S = 60.0  # after which a stream is dead: the server sends something every 15 s


class Wire:
    """Requests to one server.

    Args:
        url: Of the server, with the path that it has behind a proxy.
        token: Of its user; None: none.
        timeout_s: For the server's next word.
        patience_s: How long to try again while the server is busy or away.
        say: Is told in one line what there is to wait for.

    Raises:
        InputError: No such URL.
    """

    def __init__(self, url: str, *, token: str | None, timeout_s: float, patience_s: float,
                 say: Say) -> None:
        parsed = _parsed(url)
        self.url = str(parsed).rstrip("/")
        self._patience_s, self._say = patience_s, say
        self._met = False  # a server that was there once comes back; a wrong address does not
        headers = {"User-Agent": f"nas-service/{version('nas-service')}"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        # A proxy of the environment does not lead to this machine itself.
        self._client = httpx2.Client(base_url=self.url, headers=headers, timeout=timeout_s,
                                     trust_env=not _is_here(parsed.host))

    def close(self) -> None:
        """Ends the connections."""
        self._client.close()

    def patience(self) -> Patience:
        """Returns what decides how long one thing is tried again."""
        return Patience(self._patience_s, self._say)

    def get(self, path: str, **params: str | int | None) -> Any:
        """Returns the JSON value at a path below the API."""
        given = {name: value for name, value in params.items() if value is not None}
        return self._asked("GET", path, again=True, params=given)

    def post(self, path: str, *, json: Any = None, headers: Mapping[str, str] | None = None,
             again: bool = False) -> Any:
        """Sends a JSON value and returns that of the answer.

        Args:
            path: Below the API.
            json: The body.
            headers: More of them.
            again: Whether sending it twice does no harm.
        """
        return self._asked("POST", path, again=again, json=json, headers=headers)

    def upload(self, path: str, file: Path, **params: str) -> Any:
        """Sends a file and returns the JSON value of the answer.

        Raises:
            OSError: The file cannot be read.
        """
        return self._asked("POST", path, again=True, file=file, params=params)

    @contextmanager
    def download(self, path: str) -> Iterator[httpx2.Response]:
        """Yields the answer at a path before its body is read; it is not tried again."""
        with self._problems(), self._client.stream("GET", f"{API}/{path}") as response:
            if response.status_code != 200:
                response.read()
                value_of(response, self.url)
                raise NotOurs(f"status {response.status_code} for a file")
            self._met = True
            yield response

    @contextmanager
    def events(self, path: str, *, after: int) -> Iterator[Iterator[httpx2.ServerSentEvent]]:
        """Yields the events of a stream that come after a number; it is not tried again."""
        timeout = httpx2.Timeout(self._client.timeout)
        timeout.read = SILENCE_S
        with (self._problems(),
              self._client.sse(f"{API}/{path}", headers={"Last-Event-ID": str(after)},
                               timeout=timeout) as source):
            if source.response.status_code != 200:
                source.response.read()
                value_of(source.response, self.url)
            self._met = True
            yield iter(source)

    def may_come_back(self, away: Away) -> bool:
        """Returns whether something that only reads makes sense to be tried again."""
        return away.is_ours or self._met

    def known(self, model: type[Model], value: Any) -> Model:
        """Returns an answer as what it is expected to be.

        Raises:
            ServerError: It is something else.
        """
        try:
            return model.model_validate(value)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "answer"
            raise self.stranger(f"{where}: {first['msg']}") from None

    def stranger(self, what: str) -> ServerError:
        """Returns the error for an answer that this version does not understand."""
        ours, theirs = version("nas-service"), self._their_version()
        if theirs in (None, ours):
            return ServerError(f"{self.url} does not answer as nas serve {ours} does ({what}); "
                               "check the address")
        return ServerError(f"{self.url} runs nas-service {theirs}, which this one, {ours}, does "
                           f"not understand ({what}); install version {theirs} here")

    def of_versions(self, refused: Refused) -> Refused:
        """Returns a refusal that says so where an option may be one of another version only."""
        if refused.code != "invalid":
            return refused
        ours, theirs = version("nas-service"), self._their_version()
        if theirs in (None, ours):
            return refused
        return Refused(f"{refused}; the server runs nas-service {theirs}, and this is {ours}",
                       code=refused.code, status=refused.status)

    def _asked(self, method: str, path: str, *, again: bool, file: Path | None = None,
               **options: Any) -> Any:
        patience = self.patience()
        while True:
            try:
                return self._once(method, path, file, options)
            except Away as away:
                if not self.may_come_back(away) or (away.was_sent and not again):
                    raise
                patience.wait(away, away.retry_after_s)

    def _once(self, method: str, path: str, file: Path | None, options: Mapping[str, Any]) -> Any:
        with self._problems():
            if file is None:
                response = self._client.request(method, f"{API}/{path}", **options)
            else:
                with file.open("rb") as content:
                    response = self._client.request(method, f"{API}/{path}", content=content,
                                                    **options)
            value = value_of(response, self.url)
            self._met = True
            return value

    @contextmanager
    def _problems(self) -> Iterator[None]:
        try:
            yield
        except NotOurs as error:
            raise self.stranger(str(error)) from None
        except httpx2.SSEError as error:
            raise self.stranger(str(error).rstrip(".")) from None
        except httpx2.TransportError as error:
            raise trouble(error, self.url, met=self._met) from None
        except httpx2.DecodingError as error:
            raise ServerError(f"{self.url} sent a damaged answer ({error})") from None

    def _their_version(self) -> str | None:
        try:
            answer = self._client.get(f"{API}/me").json()
            return str(answer["server"]["version"])
        except (httpx2.HTTPError, ValueError, KeyError, TypeError):
            return None


def _parsed(url: str) -> httpx2.URL:
    wrong = InputError(f"--server {url!r} is no address of a server, such as "
                       "http://127.0.0.1:8000")
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL:
        raise wrong from None
    if parsed.userinfo:
        raise InputError("--server: an address with a password in it; who you are is told by a "
                         "token, in the variable NAS_TOKEN or the file of --token-file")
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.query \
            or parsed.fragment or parsed.port not in (None, *range(1, 2**16)):
        raise wrong
    return parsed


def _is_here(host: str) -> bool:
    return host in ("localhost", "::1") or re.fullmatch(r"127(\.\d+){3}", host) is not None
