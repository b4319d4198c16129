"""Every error as ``{"error": {"code", "message", "field"}}``: one line, the command line's."""

import errno
import json
import logging
import re
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response

from nas.core.errors import DiskError, InputError, NasError
from nas.core.files import os_error_line
from nas.pipeline.config import Wrong
from nas.service.error_codes import code_of
from nas.service.requests import wrong_request
from nas.service.store.errors import DatabaseAway, QueueFull, ServiceError

_LOG = logging.getLogger(__name__)
_OF_STATUS = {400: "bad_request", 404: "not_found", 405: "method_not_allowed", 413: "too_large"}
_OPTION = re.compile(r"--([a-z][a-z0-9-]*)")
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
AWAY_S = 5  # when a database that does not answer is asked for again


class ErrorDetail(BaseModel):
    """What went wrong.

    Attributes:
        code: For programs; never changes with the wording.
        message: One line: the cause and the remedy.
        field: The option that is wrong, where it is one.
    """

    code: str
    message: str
    field: str | None = None


class ErrorBody(BaseModel):
    """The body of every error."""

    error: ErrorDetail


class HttpError(ServiceError):
    """An error that only HTTP knows.

    Args:
        status: Of HTTP.
        code: For programs.
        message: One line.
        headers: Of the answer.
    """

    def __init__(self, status: int, code: str, message: str,
                 headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.headers = status, code, headers


def error_response(status: int, code: str, message: str, *, field: str | None = None,
                   headers: Mapping[str, str] | None = None) -> Response:
    """Returns an error's answer; the message is made one line."""
    body = {"error": {"code": code, "message": " ".join(message.split()), "field": field}}
    # ASCII: what the request said may hold half a surrogate pair, which has no UTF-8.
    return Response(json.dumps(body).encode(), status, headers, media_type="application/json")


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Returns what OpenAPI says of these errors."""
    return {status: {"model": ErrorBody, "description": _DESCRIPTIONS[status]}
            for status in statuses}


_DESCRIPTIONS = {
    400: "The body cannot be read", 401: "No token, or one that is not valid",
    403: "The role does not allow it, or another site's page asked for it",
    404: "There is nothing of that name, or it is somebody else's",
    408: "Nothing came for too long",
    409: "The job is in a state that this makes no sense in", 413: "The body is too large",
    422: "An option is wrong; the message is the command line's",
    429: "Too much waits; try again after Retry-After seconds",
    500: "A bug", 503: "The database does not answer now", 507: "The disk is full"}


def install_handlers(app: FastAPI) -> None:
    """Lets every error of an app take this form."""
    app.add_exception_handler(NasError, _of_nas_error)
    app.add_exception_handler(OSError, _of_os_error)
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(Exception, _of_bug)


async def _of_nas_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, NasError)
    if isinstance(error, DatabaseAway | DiskError):
        return _of_the_server(request, error)
    message, status = str(error), 422 if isinstance(error, InputError) else 500
    headers: Mapping[str, str] | None = getattr(error, "headers", None)
    if isinstance(error, ServiceError):
        status = error.status
    if isinstance(error, QueueFull):
        headers = {"Retry-After": str(error.retry_after_s)}
    option = _OPTION.search(message) if status == 422 else None
    field = getattr(error, "field", None) or (option[1].replace("-", "_") if option else None)
    return error_response(status, code_of(error), message, field=field, headers=headers)


def _of_the_server(request: Request, error: DatabaseAway | DiskError) -> Response:
    # Where its database and its files are is nothing to those who ask.
    if isinstance(error, DatabaseAway):
        return error_response(503, code_of(error), "the database does not answer now; try again",
                              headers={"Retry-After": str(AWAY_S)})
    _LOG.error("%s %s: %s", request.method, request.url.path, error)
    return error_response(507, code_of(error), "the server's disk is full or fails; its admin "
                          "finds the cause in its log")


async def _of_os_error(request: Request, error: Exception) -> Response:
    if isinstance(error, OSError) and error.errno in _DISK_FULL:
        return _of_the_server(request, DiskError(os_error_line(error)))
    raise error


async def _of_validation(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, RequestValidationError)
    wrong = _wrong(error.errors()[0])
    code = "invalid_json" if error.errors()[0]["type"] == "json_invalid" else "invalid"
    return error_response(422, code, wrong.message, field=wrong.field)


def _wrong(error: Mapping[str, Any]) -> Wrong:
    source, *location = error["loc"]
    if error["type"] == "json_invalid":
        return Wrong(f"the body is no JSON: {error['ctx']['error']}", None)
    if source == "body":
        if isinstance(error["input"], bytes):
            return Wrong("the body must be JSON, sent as Content-Type: application/json", None)
        return wrong_request([{**error, "input": _shallow(error["input"])}])
    name = str(location[-1])
    return Wrong(f"{name}: {str(error['msg']).removeprefix('Value error, ')}", name)


def _shallow(value: object) -> object:
    """Returns the value itself, unless it is nested so deeply that Python cannot show it."""
    try:
        repr(value)
    except RecursionError:
        return "…"
    return value


async def _of_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = error.status_code
    message = {404: f"there is no {request.url.path}",
               405: f"{request.method} is not for {request.url.path}",
               413: "the body is too large"}.get(status, str(error.detail))
    return error_response(status, _OF_STATUS.get(status, "http"), message, headers=error.headers)


async def _of_bug(request: Request, error: Exception) -> Response:
    del request, error  # the server logs it
    return error_response(500, "bug", "the server failed; its log says why")


def too_large(limit: int) -> Response:
    """Returns the answer to a body of more bytes than may be."""
    return error_response(413, "too_large", f"the body is larger than {limit} bytes")
