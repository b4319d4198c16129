"""The process behind `nas.service.aside`: answers questions that need torch."""

import json
import logging
import os
import sys
import threading
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

from nas.core.errors import InputError, NasError
from nas.service.aside import KINDS
from nas.service.handover import end_with_parent, read_settings
from nas.service.logs import configure_logging
from nas.service.requests import (
    ExportJob,
    ImportJob,
    JobRequest,
    PruneJob,
    RankJob,
    SearchJob,
    read_request,
)

_LOG = logging.getLogger("nas.service.aside")


def main() -> None:
    """Answers until the server is gone."""
    settings = read_settings(sys.stdin.buffer.readline())
    threading.Thread(target=end_with_parent, daemon=True).start()
    configure_logging()
    os.chdir(settings.data)  # paths in jobs are relative to it
    connection = Connection(int(sys.argv[1]))
    import nas.pipeline.catalogue
    import nas.pipeline.precheck  # noqa: F401  # before the first question

    while True:
        question = json.loads(connection.recv_bytes())
        connection.send_bytes(json.dumps(_answer(question)).encode())


def _answer(question: Mapping[str, Any]) -> dict[str, Any]:
    try:
        if "rows" in question:
            return {"found": _rows(question["rows"])}
        _check(read_request(question["check"], question["config"]))
    except NasError as error:
        return {"error": {"name": type(error).__name__, "message": str(error),
                          "of_input": isinstance(error, InputError)}}
    except Exception:
        _LOG.exception("a question has no answer")
        if "rows" in question:
            return {"error": {"name": "NasError", "of_input": False,
                              "message": "the list cannot be made; the server's log says why"}}
    return {"found": None}  # what a check cannot do, the worker will find out


def _rows(kind: str) -> list[dict[str, Any]]:
    from nas.pipeline import catalogue

    if kind not in KINDS:
        raise InputError(f"there is no list of {kind!r}; there are {', '.join(KINDS)}")
    rows: list[dict[str, Any]] = getattr(catalogue, kind)()
    return rows


def _check(request: JobRequest) -> None:
    from nas.pipeline import precheck

    match request:
        case SearchJob(config=search):
            precheck.check_search(search)
        case RankJob(config=rank):
            precheck.check_rank(rank)
        case PruneJob(config=prune):
            precheck.check_prune(prune)
        case ImportJob(config=wanted):
            if wanted.supernet is not None:
                precheck.check_supernet(wanted.supernet)
        case ExportJob():
            pass  # what it needs is in the search's folder, which may not be finished yet


if __name__ == "__main__":
    main()
