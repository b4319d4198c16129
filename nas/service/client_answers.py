"""What an answer of a server, or none, means to its client: a value, or an error in one line."""

import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2

from nas.core.errors import InputError, NasError
from nas.service.client_errors import ServerError, error_of_refusal
from nas.service.client_wait import Away

_GATEWAY = (502, 503, 504)  # of a proxy whose server is away, as while it starts again


class NotOurs(Exception):
    """An answer that the API of this version does not have; says what is wrong with it."""


def value_of(response: httpx2.Response, url: str) -> Any:
    """Returns the JSON value of an answer that has been read.

    Args:
        response: Of the server.
        url: Of the server, for messages.

    Raises:
        NotOurs: JSON, but not as this version has it.
        InputError: The server refuses it.
        Away: Later it may go well.
        ServerError: It went wrong there.
    """
    status = response.status_code
    if response.has_redirect_location:
        raise InputError(f"{url} leads on to {response.headers['location']}; give the address of "
                         "the server there")
    try:
        value = response.json()
    except ValueError:
        raise _no_json(response, url) from None
    if status < 400:
        return value
    try:
        code, message = str(value["error"]["code"]), str(value["error"]["message"])
    except (KeyError, TypeError):
        raise NotOurs(f"status {status} without an error") from None
    if status == 401:
        raise _unknown_user(response, url)
    if status in (429, 503):
        raise Away(f"{url}: {message}", is_ours=True, was_sent=False,
                   retry_after_s=_seconds(response.headers.get("Retry-After")))
    if status >= 500:
        raise ServerError(f"{url}: {message}")
    raise error_of_refusal(code, message, status=status)


def trouble(error: httpx2.TransportError, url: str, *, met: bool) -> NasError:
    """Returns the error for a request that got no answer.

    Args:
        error: Of the wire.
        url: Of the server.
        met: Whether the server has ever answered, so that its address is right.
    """
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return ServerError(f"{url}: its certificate is not trusted ({cause.verify_message}); "
                               "name the file of the authority that signed it in SSL_CERT_FILE")
        if isinstance(cause, ssl.SSLError):
            return ServerError(f"{url} does not speak TLS ({cause.reason or cause}); is its "
                               "address one with http:// ?")
        if isinstance(cause, socket.gaierror) and not met:
            return InputError(f"{url}: there is no host of this name; check the address")
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return Away(f"nothing listens at {url}; start nas serve there, or check the address",
                    was_sent=False)
    if isinstance(error, httpx2.TimeoutException):
        return Away(f"{url} does not answer in time",
                    was_sent=not isinstance(error, httpx2.ConnectTimeout))
    reason = str(error).rstrip(".") or type(error).__name__
    return Away(f"the connection to {url} failed ({reason})",
                was_sent=not isinstance(error, httpx2.ConnectError))


def _no_json(response: httpx2.Response, url: str) -> NasError:
    status = response.status_code
    if status in _GATEWAY:
        return Away(f"{url} is away: a proxy answers {status} for it", was_sent=True)
    kind = response.headers.get("Content-Type", "something").partition(";")[0]
    error = ServerError if status >= 500 else InputError
    return error(f"{url} answers {status} with {kind}, which nas serve does not: it is another "
                 "server, or a proxy that answers for it; check the address")


def _unknown_user(response: httpx2.Response, url: str) -> InputError:
    if "Authorization" in response.request.headers:
        return InputError(f"{url} does not know this token; ask whoever runs the server for "
                          "another (nas serve token create)")
    return InputError(f"{url} wants a token; put it into the variable NAS_TOKEN, or into a file "
                      "for --token-file")


def _causes(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__


def _seconds(header: str | None) -> float | None:
    # Of Retry-After: so many seconds, or a date.
    if header is None:
        return None
    if header.strip().isdecimal():
        return float(header)
    try:
        when = parsedate_to_datetime(header)
    except ValueError:
        return None
    return max((when - datetime.now(UTC)).total_seconds(), 0.0) if when.tzinfo else None
