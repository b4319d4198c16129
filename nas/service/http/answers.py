"""Answers that are made of plain values, without passing through a model."""

import json
from operator import attrgetter
from typing import Any

from starlette.responses import Response

from nas.core.errors import InputError
from nas.service.logs import redacted
from nas.service.requests import read_request, title
from nas.service.store.jobs import Job

_SUMMARY = ("id", "number", "user", "kind", "state", "created", "started", "ended", "ran_s",
            "done", "total", "note", "error", "stop_request")
_VALUES = attrgetter(*_SUMMARY)


def json_bytes(body: object) -> bytes:
    """Returns a value as JSON; a float that is no number is an error of this program."""
    return json.dumps(body, allow_nan=False, separators=(",", ":")).encode()


def json_answer(body: object, *, status: int = 200) -> Response:
    """Returns a value as an answer of JSON."""
    return Response(json_bytes(body), status, media_type="application/json")


def summary(job: Job) -> dict[str, Any]:
    """Returns what lists show of a job; of errors without what looks like a secret."""
    shown = dict(zip(_SUMMARY, _VALUES(job), strict=True)) | {"title": _title(job)}
    if job.error is not None:
        shown["error"] = {**job.error, "message": redacted(job.error["message"])}
    return shown


def with_config(job: Job) -> dict[str, Any]:
    """Returns what a job's own answer shows; the password in a storage URL is hidden."""
    config = dict(job.config)
    if config.get("storage"):
        config["storage"] = redacted(config["storage"])
    return summary(job) | {"config": config}


_TITLES: dict[str, str] = {}  # by id: a job's configuration never changes


def _title(job: Job) -> str:
    if job.id not in _TITLES:
        if len(_TITLES) >= 10_000:
            _TITLES.clear()
        try:
            _TITLES[job.id] = title(read_request(job.kind, job.config))
        except InputError:  # of another version of this program
            _TITLES[job.id] = job.kind
    return _TITLES[job.id]
